"""The virtual DDSY1352-NK, asked by our driver and by somebody else's Modbus client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerType

from backend.kernel.money import Money
from workers.drivers.modbus import ModbusDriver
from workers.drivers.ports import Relay
from workers.links.errors import LinkDown, NoAnswer
from workers.profiles.loader import profile_of
from workers.protocols import modbus
from workers.protocols.errors import MeterRefused

from .conftest import START, Field

FORCED_FRAMES = {
    "keep_power": "01 10 00 57 00 02 04 00 01 00 00 E6 B5",  # con-open-10
    "trip": "01 10 00 57 00 02 04 00 01 00 01 27 75",  # con-open-11
    "release": "01 10 00 57 00 02 04 00 00 00 00 B7 75",  # con-open-12
}


@pytest.fixture
async def foreign(field: Field) -> AsyncIterator[AsyncModbusTcpClient]:
    """pymodbus's own client, RTU over TCP."""
    client = AsyncModbusTcpClient(
        "127.0.0.1", port=field.gateway.port, framer=FramerType.RTU, timeout=1, retries=0
    )
    await client.connect()
    yield client
    client.close()


async def test_a_foreign_client_reads_the_prepaid_poll(
    field: Field, foreign: AsyncModbusTcpClient
) -> None:
    answer = await foreign.read_holding_registers(0x0200, count=48, device_id=1)
    assert not answer.isError()
    registers = list(answer.registers)
    assert registers[0] == 7
    assert (registers[0x15] << 16 | registers[0x16]) == 123456
    assert (registers[0x1F] << 16 | registers[0x20]) == 2000
    assert registers[0x21] == 4
    assert registers[0x24] >> 8 == 0x20
    # 2026-11-22 10:00:00 in China, a Sunday.
    clock = b"".join(word.to_bytes(2, "big") for word in registers[0x28:0x2C])[:7]
    assert list(clock) == [26, 11, 22, 1, 10, 0, 0]


async def test_a_foreign_client_reads_the_vendors_measurement_table(
    foreign: AsyncModbusTcpClient,
) -> None:
    answer = await foreign.read_holding_registers(0x0000, count=17, device_id=1)
    assert (answer.registers[0] << 16 | answer.registers[1]) == 123456
    assert answer.registers[0x0B] == 2200


async def test_registers_outside_the_map_and_other_functions_are_refused(
    foreign: AsyncModbusTcpClient,
) -> None:
    outside = await foreign.read_holding_registers(0x0700, count=2, device_id=1)
    across = await foreign.read_holding_registers(0x022F, count=2, device_id=1)
    coils = await foreign.read_coils(0, count=8, device_id=1)
    readonly = await foreign.write_registers(0x021F, [0, 9999], device_id=1)
    nonsense = await foreign.write_registers(0x0057, [1, 2], device_id=1)
    refusals = [outside, across, coils, readonly, nonsense]
    assert [answer.exception_code for answer in refusals] == [2, 2, 1, 2, 3]


async def test_a_foreign_client_trips_and_our_driver_sees_it(
    field: Field, foreign: AsyncModbusTcpClient
) -> None:
    answer = await foreign.write_registers(0x0057, [1, 1], device_id=1)
    assert not answer.isError()
    assert (await field.driver().read()).relay is Relay.OPEN


@pytest.mark.parametrize("state", FORCED_FRAMES)
async def test_a_switch_command_is_exactly_the_frame_in_the_reference(state: str) -> None:
    sent: list[bytes] = []

    async def record(request: bytes, expected: object, /) -> bytes:
        sent.append(request)
        return request[:6] + bytes.fromhex("F018")  # the echo of unit 1, 0x0057, 2 registers

    driver = ModbusDriver(profile_of("DDSY1352-NK"), 1, record)
    await getattr(driver, state)()
    assert sent == [bytes.fromhex(FORCED_FRAMES[state])]


async def test_the_sweep_question_is_exactly_the_frame_in_the_reference() -> None:
    question = modbus.read_registers(unit=1, address=0x0200, count=48)
    assert question.request == bytes.fromhex("01 03 02 00 00 30 44 66")  # con-open-13
    assert question.expected.size == 101


async def test_keep_power_holds_the_relay_through_arrears_and_release_gives_it_back(
    field: Field,
) -> None:
    driver = field.driver(2)
    await driver.keep_power()
    field.clock.advance(timedelta(hours=2))
    kept = await driver.read()
    assert kept.relay is Relay.CLOSED
    assert kept.remaining is not None
    assert kept.remaining < Money(0)
    await driver.release()
    assert (await driver.read()).relay is Relay.OPEN


async def test_energy_runs_money_falls_and_the_relay_opens_at_zero(field: Field) -> None:
    driver = field.driver()
    first = await driver.read()
    field.clock.advance(timedelta(hours=6))
    second = await driver.read()
    used_wh = second.total - first.total
    assert used_wh > 1000
    assert first.remaining is not None
    assert second.remaining is not None
    # 0.60 yuan per kWh: 6 hao per 10 Wh, within the register's 0.01 kWh and 0.01 yuan.
    spent_hao = (first.remaining - second.remaining).hao
    assert abs(spent_hao - used_wh * 6 // 10 * 10) <= 200
    assert second.meter_clock == START + timedelta(hours=6)
    field.clock.advance(timedelta(days=30))
    empty = await driver.read()
    assert (empty.remaining, empty.relay, empty.flags.arrears) == (Money(0), Relay.OPEN, True)
    assert empty.power_w == 0
    field.clock.advance(timedelta(days=1))
    assert (await driver.read()).total == empty.total
    # 20 yuan at 0.60 buy 33.333 kWh.
    assert abs(empty.total - first.total - 33_330) <= 20


async def test_nobody_at_a_bus_address_is_silence(field: Field) -> None:
    with pytest.raises(NoAnswer):
        await field.driver(77).wallet()


async def test_a_gateway_off_the_network_is_link_down_and_comes_back(field: Field) -> None:
    driver = field.driver()
    await driver.wallet()
    await field.gateway.set_offline(True)
    with pytest.raises((LinkDown, NoAnswer)):
        await driver.wallet()  # the old connection may only now be found dead
    with pytest.raises(LinkDown):
        await driver.wallet()
    await field.gateway.set_offline(False)
    assert (await driver.wallet()).purchase_count == 4


async def test_a_request_torn_over_many_packets_is_heard(field: Field) -> None:
    question = modbus.read_registers(unit=1, address=0x0221, count=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", field.gateway.port)
    for byte in question.request:
        writer.write(bytes([byte]))
        await writer.drain()
    async with asyncio.timeout(5):
        frame = await reader.readexactly(question.expected.size)
    assert modbus.registers_of(frame) == b"\x00\x04"
    writer.close()


async def test_a_sale_to_another_register_or_of_another_size_is_refused(field: Field) -> None:
    for address, values in ((0x0101, [0, 1, 5, 0]), (0x0100, [0, 1, 5])):
        question = modbus.private_write(unit=1, address=address, values=values)
        frame = await field.link.exchange(question.request, question.expected)
        with pytest.raises(MeterRefused) as refused:
            modbus.accepted(frame)
        assert refused.value.refusal == 2
