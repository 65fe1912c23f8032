"""Meters are read and credited through a DTU, the listener, the door and a worker's link."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from backend.kernel.money import Money
from workers.links.dialin.line import LineBusy
from workers.links.dialin.ports import DialInRow
from workers.links.door import DoorAddress, DoorRefused, open_bus
from workers.links.door_link import DoorLink
from workers.links.errors import LinkDown, NoAnswer
from workers.protocols import modbus
from workers.protocols.errors import FrameError
from workers.virtual.dialin import Packing

from .yard import FAST, HOST, WITHIN_S, Yard

ICCID = b"89860428221900423610"
COUNT, NEXT = (modbus.read_registers(unit=1, address=at, count=1) for at in (0x0221, 0x0222))
OWN_COUNT = 4


def value_of(frame: bytes) -> int:
    """The register of an answer that has one."""
    return int.from_bytes(modbus.registers_of(frame), "big")


@pytest.mark.parametrize("prefix", [False, True], ids=["once", "before every packet"])
@pytest.mark.parametrize(
    "packing",
    [
        Packing(),
        Packing(before=b"ping", after=b"ping"),
        Packing(before=b"pingping", after=b"ping", pieces=3),
        Packing(pieces=1),
    ],
    ids=["plain", "glued", "glued and cut", "byte by byte"],
)
async def test_a_meter_behind_a_dtu_is_read_and_credited(
    yard: Yard, packing: Packing, prefix: bool
) -> None:
    row = yard.allow(ICCID, heartbeat=b"ping", prefix=prefix)
    dtu = await yard.dtu(row, heartbeat=b"ping", prefix=prefix)
    dtu.packing = packing
    driver = yard.driver(row)
    before = await driver.wallet()
    assert (before.remaining, before.purchase_count) == (Money.parse("11.00"), 4)
    await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    after = await driver.wallet()
    assert (after.remaining, after.purchase_count) == (Money.parse("61.00"), 5)
    assert (await driver.read()).total == 1_001_500


@pytest.mark.parametrize("heartbeat", [b"ping", b"\x68", b"\xfe\xfe", b"h" * 12])
async def test_meters_of_every_protocol_are_read_through_one_dtu(
    yard: Yard, heartbeat: bytes
) -> None:
    row = yard.allow(ICCID, heartbeat=heartbeat)
    dtu = await yard.dtu(row, serial="GW-3", heartbeat=heartbeat)
    dtu.packing = Packing(before=heartbeat, after=heartbeat, pieces=5)
    for unit, model in (
        ("112233445566", "GENERIC-645-2007"),
        ("00000012345678", "GENERIC-188-WATER"),
        ("1", "DDSY1352-NK"),
    ):
        driver = yard.driver(row, unit=unit, model=model)
        dtu.beat()
        assert (await driver.read()).total == 0
        assert (await driver.read()).raw


async def test_two_dtus_carry_two_buses_at_once(yard: Yard) -> None:
    rows = [yard.allow(b"DTU-000%d" % number) for number in (1, 2)]
    for row, serial in zip(rows, ("GW-1", "GW-2"), strict=True):
        await yard.dtu(row, serial=serial)
    drivers = [yard.driver(row, unit=unit) for row in rows for unit in (1, 2)]
    for _ in range(5):
        answers = []
        for pair in (drivers[0::2], drivers[1::2]):
            answers += await asyncio.gather(*(driver.read() for driver in pair))
        assert [answer.total for answer in answers] == [1_001_500, 2_001_500, 1_002_500, 2_002_500]


async def test_a_gateway_that_has_not_dialled_in_is_a_link_that_is_down(yard: Yard) -> None:
    row = yard.allow(ICCID)
    with pytest.raises(LinkDown, match="not connected"):
        await yard.driver(row).read()
    await yard.dtu(row)
    assert (await yard.driver(row).read()).total == 1_001_500


async def test_a_line_that_drops_under_a_question_leaves_it_without_an_answer_and_then_is_down(
    yard: Yard,
) -> None:
    row = yard.allow(ICCID)
    dtu = await yard.dtu(row)
    driver = yard.driver(row)
    await driver.wallet()
    yard.gateway().bus.delay_ms = 10_000
    dtu.asked.clear()
    asked = asyncio.create_task(driver.wallet())
    await dtu.asked.wait()
    await dtu.hang_up()
    with pytest.raises(NoAnswer):
        await asked
    await yard.told.until("disconnected")
    with pytest.raises(LinkDown):
        await driver.wallet()


async def piped(yard: Yard, row: DialInRow) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection that is joined to a gateway's bus."""
    reader, writer = await asyncio.open_connection(HOST, yard.door.port)
    writer.write(f"BUS {yard.token} {row.gateway_id}\n".encode())
    assert await reader.readline() == b"OK\n"
    return reader, writer


async def test_the_end_of_a_line_is_the_end_of_its_pipe_at_once(yard: Yard) -> None:
    row = yard.allow(ICCID)
    dtu = await yard.dtu(row)
    reader, writer = await piped(yard, row)
    await dtu.hang_up()
    async with asyncio.timeout(WITHIN_S):
        assert await reader.read() == b""
    writer.close()


async def test_a_question_that_never_ends_costs_its_asker_the_pipe_and_nobody_else(
    yard: Yard,
) -> None:
    row = yard.allow(ICCID)
    await yard.dtu(row)
    reader, writer = await piped(yard, row)
    writer.write(b"x" * 1000)
    async with asyncio.timeout(WITHIN_S):
        assert await reader.read() == b""
    writer.close()
    assert (await yard.driver(row).wallet()).purchase_count == OWN_COUNT


async def test_an_idle_line_that_drops_is_down_for_the_next_question_which_is_not_sent(
    yard: Yard,
) -> None:
    row = yard.allow(ICCID)
    dtu = await yard.dtu(row)
    driver = yard.driver(row)
    await driver.wallet()
    await dtu.hang_up()
    await yard.told.until("disconnected")
    with pytest.raises((LinkDown, NoAnswer)):
        await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    with pytest.raises(LinkDown):
        await driver.credit(amount=Money.parse("50.00"), purchase_count=5)
    await dtu.dial()
    await yard.told.until("connected", times=2)
    assert (await driver.wallet()).purchase_count == OWN_COUNT


async def test_the_newest_connection_of_an_id_wins_and_the_old_one_is_closed(yard: Yard) -> None:
    row = yard.allow(ICCID)
    old = await yard.dtu(row, serial="GW-1")
    driver = yard.driver(row)
    assert (await driver.read()).total == 1_001_500
    await yard.dtu(row, serial="GW-2")
    async with asyncio.timeout(WITHIN_S):
        await old.ended.wait()
    _, _, replaced = await yard.told.until("connected", times=2)
    assert replaced
    again = yard.driver(row)
    assert (await again.read()).total == 2_001_500
    assert not [said for said in yard.told.said if said[0] == "disconnected"]


async def test_a_late_answer_is_not_taken_for_the_answer_to_the_next_users_question(
    yard: Yard,
) -> None:
    """Both questions ask for one register of one meter: only the order tells their answers apart."""
    row = yard.allow(ICCID)
    await yard.dtu(row)
    first, second = yard.link(row.gateway_id), yard.link(row.gateway_id)
    right = value_of(await second.exchange(NEXT.request, NEXT.expected))
    assert right != OWN_COUNT
    yard.gateway().bus.delay_ms = 500
    with pytest.raises(NoAnswer):
        await first.exchange(COUNT.request, COUNT.expected)
    await first.close()
    yard.gateway().bus.delay_ms = 0
    assert value_of(await second.exchange(NEXT.request, NEXT.expected)) == right


async def test_a_silent_meter_costs_the_line_a_wait_and_not_its_connection(yard: Yard) -> None:
    row = yard.allow(ICCID)
    await yard.dtu(row)
    yard.gateway().meters["1"].faults.silent = True
    with pytest.raises(NoAnswer):
        await yard.driver(row, unit=1).wallet()
    assert (await yard.driver(row, unit=2).wallet()).purchase_count == OWN_COUNT
    assert [said[0] for said in yard.told.said].count("connected") == 1


async def test_a_corrupted_answer_is_a_frame_error_and_the_next_one_is_right(yard: Yard) -> None:
    row = yard.allow(ICCID)
    await yard.dtu(row)
    driver = yard.driver(row)
    yard.gateway().meters["1"].faults.corrupt_answers = 1
    with pytest.raises(FrameError):
        await driver.wallet()
    assert (await driver.wallet()).purchase_count == OWN_COUNT


async def test_one_user_at_a_time_an_idle_one_gives_way_and_a_third_is_told_busy(
    yard: Yard,
) -> None:
    row = yard.allow(ICCID)
    dtu = await yard.dtu(row)
    first, second, third = (yard.link(row.gateway_id) for _ in range(3))
    await first.exchange(COUNT.request, COUNT.expected)
    await second.exchange(COUNT.request, COUNT.expected)  # the first one was idle
    yard.gateway().bus.delay_ms = 200
    dtu.asked.clear()
    asked = asyncio.ensure_future(second.exchange(NEXT.request, NEXT.expected))
    await dtu.asked.wait()
    others = await asyncio.gather(
        *(link.exchange(COUNT.request, COUNT.expected) for link in (first, third)),
        return_exceptions=True,
    )
    assert [type(other) for other in others if not isinstance(other, bytes)] == [LineBusy]
    assert [value_of(other) for other in others if isinstance(other, bytes)] == [OWN_COUNT]
    assert value_of(await asked) != OWN_COUNT


async def test_a_wrong_token_opens_nothing(yard: Yard) -> None:
    row = yard.allow(ICCID)
    await yard.dtu(row)
    wrong = DoorAddress(HOST, yard.door.port, yard.token[:-1] + "x")
    link = DoorLink(wrong, row.gateway_id, timing=FAST)
    with pytest.raises(DoorRefused):
        await link.exchange(COUNT.request, COUNT.expected)
    assert (await yard.driver(row).wallet()).purchase_count == OWN_COUNT
    assert yard.token not in repr(yard.address)


@pytest.mark.parametrize(
    "opening",
    ["", "BUS", "BUS {token}", "BUS {token} no-uuid", "GET / HTTP/1.1", "bus {token} {id}", "\xff"],
)
async def test_a_malformed_opening_is_refused(yard: Yard, opening: str) -> None:
    row = yard.allow(ICCID)
    await yard.dtu(row)
    reader, writer = await asyncio.open_connection(HOST, yard.door.port)
    text = opening.format(token=yard.token, id=row.gateway_id)
    writer.write(text.encode("latin-1") + b"\n")
    async with asyncio.timeout(WITHIN_S):
        assert await reader.read() == b"NO REFUSED\n"
    writer.close()


@pytest.mark.parametrize("said", [b"", b"BUS without an end", b"x" * 100_000])
async def test_the_door_waits_for_nobody_and_reads_no_endless_line(yard: Yard, said: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, yard.door.port)
    writer.write(said)
    async with asyncio.timeout(WITHIN_S):
        with contextlib.suppress(ConnectionResetError):  # closed with our bytes unread
            assert await reader.read() == b""
    writer.close()


async def test_opening_a_bus_gives_up_in_time_and_leaves_no_connection(yard: Yard) -> None:
    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        closed.set_result(None)

    server = await asyncio.start_server(mute, HOST, 0)
    door = DoorAddress(HOST, server.sockets[0].getsockname()[1], yard.token)
    row = yard.allow(ICCID)
    with pytest.raises(LinkDown):
        await open_bus(door, asyncio.Protocol, gateway_id=row.gateway_id, timeout_s=0.1)
    async with asyncio.timeout(WITHIN_S):
        await closed
    server.close()
