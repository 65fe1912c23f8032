"""A virtual line: many meters, noise, broadcasts, tongues of other protocols, boxes with many users."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backend.kernel.clock import SetClock
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.drivers.modbus import ModbusDriver
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.profiles.modbus_map import ModbusMap
from workers.protocols import modbus
from workers.virtual.bus import BusLine, BusMeter, VirtualBus
from workers.virtual.faults import MeterFaults
from workers.virtual.rtu import RTU, sealed
from workers.virtual.site import VirtualSite, parse_site

from .conftest import FAST, START, Field

COUNT = modbus.read_registers(unit=1, address=0x0221, count=1)


class _Parrot:
    """A meter of another protocol: it hears lines like `?7!` and repeats them."""

    def __init__(self, number: str) -> None:
        self.faults = MeterFaults()
        self.serial = f"parrot-{number}"
        self.bus_address = number
        self.dialect = _PARROTS

    async def answer(self, request: bytes, /) -> bytes | None:
        return b"<" + request + self.bus_address.encode() + b">"

    def memory(self) -> dict[str, Any]:
        return {}

    def take_up(self, memory: dict[str, Any], /) -> None: ...

    def view(self) -> dict[str, Any]:
        return {"serial": self.serial}

    def act(self, action: str, arguments: dict[str, Any], /) -> bool:
        return False


class _ParrotTongue:
    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        start, end = buffer.find(b"?"), buffer.find(b"!")
        if start < 0 or end < start:
            return None, buffer[max(start, 0) :] if start >= 0 else b""
        return buffer[start : end + 1], buffer[end + 1 :]

    def address(self, request: bytes, /) -> str | None:
        return request[1:-1].decode() or None

    def writes(self, request: bytes, /) -> bool:
        return False


_PARROTS = _ParrotTongue()


class _Heard(list[bytes]):
    async def __call__(self, frame: bytes) -> None:
        self.append(frame)


def _line(field: Field, *more: BusMeter) -> BusLine:
    return BusLine(VirtualBus([field.meter(1), field.meter(2), *more], clock=field.clock))


async def test_meters_of_two_tongues_share_a_line(field: Field) -> None:
    line, heard = _line(field, _Parrot("7"), _Parrot("8")), _Heard()
    await line.hear(b"?8!" + COUNT.request + b"?7!", heard)
    assert heard == [b"<?8!8>", sealed(b"\x01\x03\x02\x00\x04"), b"<?7!7>"]
    heard.clear()
    await line.hear(b"?!", heard)  # for all of that tongue, and for no other
    assert heard == [b"<?!7>", b"<?!8>"]


async def test_noise_before_a_request_is_passed_over_and_a_broken_one_is_not_answered(
    field: Field,
) -> None:
    line, heard = _line(field), _Heard()
    broken = COUNT.request[:-1] + bytes([COUNT.request[-1] ^ 1])
    await line.hear(b"\xff\x00\xfe" + broken + COUNT.request, heard)
    assert heard == [sealed(b"\x01\x03\x02\x00\x04")]


async def test_a_request_in_any_pieces_is_heard_once(field: Field) -> None:
    request = modbus.private_write(unit=1, address=0x0100, values=[0, 500, 5, 0]).request
    for cut in range(1, len(request)):
        line, heard = _line(field), _Heard()
        await line.hear(request[:cut], heard)
        assert heard == []
        await line.hear(request[cut:] + COUNT.request, heard)
        assert len(heard) == 2
    assert field.meter(1).state().purchase_count == 5  # taken once, refused as a repeat ever after


async def test_a_broadcast_is_obeyed_by_all_and_answered_by_none(field: Field) -> None:
    line, heard = _line(field), _Heard()
    trip = sealed(bytes.fromhex("00 10 0057 0002 04 0001 0001"))
    await line.hear(trip, heard)
    assert heard == []
    assert not field.meter(1).state().closed
    assert not field.meter(2).state().closed


def test_what_is_no_request_is_never_taken_for_one() -> None:
    assert RTU.take(b"") == (None, b"")
    assert RTU.take(b"\x01") == (None, b"\x01")
    assert RTU.take(COUNT.request[:7]) == (None, COUNT.request[:7])
    answer = sealed(b"\x01\x83\x02")
    assert RTU.take(answer)[0] is None
    assert RTU.take(b"\xff" * 300)[0] is None


async def test_a_write_whose_counts_disagree_changes_nothing(field: Field) -> None:
    line, heard = _line(field), _Heard()
    await line.hear(sealed(bytes.fromhex("01 10 0057 0001 04 0001 0001")), heard)
    assert heard == [sealed(bytes.fromhex("01 90 03"))]
    assert field.meter(1).state().closed


async def test_a_private_write_that_would_set_the_money_itself_is_refused(field: Field) -> None:
    line, heard = _line(field), _Heard()
    for enable in (2, 7, 10, 15, 51, 53):  # remaining, count, total, base, .., number
        data = bytearray(60)
        data[enable] = 1
        await line.hear(sealed(bytes.fromhex("01 20 0200 001e 3c") + data), heard)
    assert heard == [sealed(bytes.fromhex("01 a0 03"))] * 6


BOX = {
    "gateways": [
        {
            "serial": "G",
            "boxes": [
                {"serial": "BOX-9", "three_phase": 2, "single_phase": 4, "remaining": "10.00"},
                {"serial": "BOX-8", "box": 2, "single_phase": 1, "remaining": "10.00"},
            ],
        }
    ]
}


async def test_every_user_of_a_box_has_a_meter_of_its_own(tmp_path: Path) -> None:
    layout = profile_of("ADF300").map
    assert isinstance(layout, ModbusMap)
    assert layout.circuits is not None
    rule = layout.circuits.addresses(size=36, box=1, counts={"three_phase": 2, "single_phase": 4})
    async with VirtualSite(parse_site(BOX), data_dir=tmp_path, clock=SetClock(START)) as site:
        gateway = site.gateways["G"]
        # what the profile says of addresses is where the box's circuits are
        assert [str(c.address) for c in rule] + ["37"] == list(gateway.meters)
        link = TcpLink("127.0.0.1", gateway.port, timing=FAST)
        models = {"three_phase": "ADF300-3P", "single_phase": "ADF300"}
        drivers = [
            ModbusDriver(profile_of(models[c.group]), c.address, link.exchange) for c in rule
        ]
        await drivers[0].credit(amount=Money.parse("5.00"), purchase_count=1)
        await drivers[3].trip()
        wallets = [(await driver.wallet()).remaining for driver in drivers]
        relays = [(await driver.read()).relay for driver in drivers]
        config = modbus.read_registers(unit=1, address=0x0903, count=2)
        frame = await link.exchange(config.request, config.expected)
        await link.close()
    assert wallets == [Money.parse("15.00")] + [Money.parse("10.00")] * 5
    assert [relay.value for relay in relays] == ["CLOSED"] * 3 + ["OPEN"] + ["CLOSED"] * 2
    assert modbus.registers_of(frame) == b"\x00\x02\x00\x04"


def test_a_wrong_site_file_names_the_box_or_the_meter() -> None:
    for meter, message in (
        ({"boxes": [{"serial": "B", "single_phase": 37}]}, "37 addresses in a box of 36"),
        ({"boxes": [{"serial": "B", "box": 8, "single_phase": 1}]}, r"boxes\[0\].*1 to 247"),
        ({"meters": [{"serial": "1", "unit": 1, "prices": ["1", "2"]}]}, r"meters\[0\].*four"),
        ({"meters": [{"serial": "1", "unit": 1, "model": "ADL3000-E", "ct": 0}]}, "ct and pt"),
        ({"meters": [{"serial": "1", "unit": 1, "energy": "1e5"}]}, r"meters\[0\]"),
    ):
        with pytest.raises(InvalidInput, match=message):
            parse_site({"gateways": [{"serial": "G", **meter}]})


async def test_a_thousand_meters_on_fifty_gateways_start_and_all_answer(tmp_path: Path) -> None:
    plan = parse_site(
        {
            "gateways": [
                {
                    "serial": f"G{g}",
                    "meters": [
                        {"serial": f"{g:03d}-{u:03d}", "unit": u, "remaining": f"{u}.00"}
                        for u in range(1, 21)
                    ],
                }
                for g in range(50)
            ]
        }
    )

    async def ask(port: int) -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found = []
        for unit in range(1, 21):
            writer.write(modbus.read_registers(unit=unit, address=0x021F, count=2).request)
            frame = await reader.readexactly(9)
            found.append(int.from_bytes(frame[3:7], "big"))
        writer.close()
        return found

    for _ in range(2):  # the second time from what was kept
        async with VirtualSite(plan, data_dir=tmp_path, clock=SetClock(START)) as site:
            answers = await asyncio.gather(*(ask(g.port) for g in site.gateways.values()))
        assert answers == [[100 * unit for unit in range(1, 21)]] * 50
