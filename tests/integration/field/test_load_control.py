"""What a meter's circuit may draw is the meter's own business: told, read back, and obeyed by itself
(A24)."""

from __future__ import annotations

import struct
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.errors import Conflict, InvalidInput
from workers.drivers.modbus import ModbusDriver, decode_snapshot
from workers.drivers.ports import LoadLimits, MeterFlags, MeterSnapshot, Relay, Thresholds
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of, shipped_profiles
from workers.profiles.modbus_map import ModbusMap
from workers.protocols import modbus
from workers.virtual.load import LoadModel
from workers.virtual.load_control import LoadControl, LoadMemory
from workers.virtual.site import VirtualSite, parse_site
from workers.virtual.state import MeterSpec, MeterState, Settings, advance, of_memory, to_memory

from .conftest import FAST, Field

MINUTE = timedelta(minutes=1)
ROOM = LoadLimits(
    on=True, most_w=3_000, step_w=800, factor_permille=950, trips=3, restore_minutes=10
)
HOLDERS = ["DDSY1352-NK", "ADF300"]
ODD_WORD, ODD_BYTE = 0xBEEF, 0x5A


class Ear:
    """Hears what a driver sends and answers as the meter behind it."""

    def __init__(self, field: Field) -> None:
        self.heard: list[bytes] = []
        self._field = field

    async def __call__(self, request: bytes, expected: Any) -> bytes:
        self.heard.append(request)
        return await self._field.link.exchange(request, expected)


async def written(field: Field, data: bytes) -> None:
    """A load control write of 26 bytes, as the maker's tool sends it."""
    values = struct.unpack(">13H", data.ljust(26, b"\0"))
    question = modbus.private_write(unit=1, address=0x0400, values=list(values))
    modbus.accepted(await field.link.exchange(question.request, question.expected))


async def block(field: Field) -> bytes:
    """The registers 0480 to 0486."""
    question = modbus.read_registers(unit=1, address=0x0480, count=7)
    return modbus.registers_of(await field.link.exchange(question.request, question.expected))


async def plug(field: Field, watts: int) -> None:
    """Somebody plugs a resistive appliance in behind the meter, or (0) out."""
    assert await field.site.mishap(field.meter(), "plug", {"watts": watts})


async def after(field: Field, minutes: int) -> MeterSnapshot:
    """What the meter shows so many minutes later."""
    field.clock.advance(minutes * MINUTE)
    return await field.driver().read()


async def test_limits_are_written_by_one_frame_that_leaves_what_nobody_can_name(
    field: Field,
) -> None:
    # Bytes 14 and 17: the groups of the two registers without a name.
    odd = bytearray(26)
    odd[14], odd[15:17], odd[17], odd[18] = 1, struct.pack(">H", ODD_WORD), 1, ODD_BYTE
    await written(field, bytes(odd))
    ear = Ear(field)
    driver = ModbusDriver(profile_of("DDSY1352-NK"), 1, ear)
    await driver.write_load_limits(ROOM)
    (frame,) = ear.heard
    assert frame[1:7].hex() == "20" + "0400" + "000d" + "1a"
    assert (
        frame[7:-2].hex()
        == (
            "0101"  # meant: on
            "01" + "0bb8" + "0320" + "03b6"  # meant: 3000 W, a step of 800 W, power factor 0.950
            "01" + "0a"  # meant: back after 10
            "01" + "0003"  # meant: 3 times
            "00" + "0000" + "00" + "00" + "00" * 7
        )
    )
    assert await block(field) == struct.pack(">6H2B", 1, 3_000, 800, 950, ODD_WORD, 3, 10, ODD_BYTE)
    assert await driver.load_limits() == ROOM


async def test_switching_it_off_leaves_the_figures_as_they_are(field: Field) -> None:
    driver = field.driver()
    await driver.write_load_limits(ROOM)
    await driver.write_load_limits(None)
    assert await driver.load_limits() == replace(ROOM, on=False)
    await plug(field, 2_000)
    assert (await after(field, 30)).relay is Relay.CLOSED


async def test_a_threshold_of_power_leaves_the_rest_of_the_load_control(field: Field) -> None:
    driver = field.driver()
    await driver.write_load_limits(ROOM)
    await driver.write_thresholds(Thresholds(overload_w=2_500))
    assert await driver.load_limits() == replace(ROOM, most_w=2_500)


@pytest.mark.parametrize("model", HOLDERS)
async def test_every_model_that_holds_limits_reads_them_back(
    tmp_path: Path, field: Field, model: str
) -> None:
    meter = {"serial": "9", "unit": 9, "model": model, "remaining": "900"}
    plan = parse_site({"gateways": [{"serial": "G", "meters": [meter]}]})
    async with VirtualSite(plan, data_dir=tmp_path / "other", clock=field.clock) as site:
        link = TcpLink("127.0.0.1", site.gateways["G"].port, timing=FAST)
        driver = ModbusDriver(profile_of(model), 9, link.exchange)
        assert not (await driver.load_limits()).on
        await driver.write_load_limits(ROOM)
        assert await driver.load_limits() == ROOM
        await link.close()


async def test_a_model_without_a_known_layout_is_told_nothing(field: Field) -> None:
    able = {each.model for each in shipped_profiles().values() if each.holds_load_limits}
    assert able == set(HOLDERS)
    ear = Ear(field)
    for model in ("DTSY1352-NK", "ADF300-3P", "ADM100"):
        driver = ModbusDriver(profile_of(model), 1, ear)
        with pytest.raises(Conflict, match="load limits"):
            await driver.write_load_limits(ROOM)
        with pytest.raises(Conflict, match="load limits"):
            await driver.load_limits()
    assert ear.heard == []


@pytest.mark.parametrize(
    "beyond",
    [
        replace(ROOM, restore_minutes=256),
        replace(ROOM, most_w=65_536),
        replace(ROOM, trips=-1),
    ],
)
async def test_what_a_register_cannot_hold_is_refused_before_anything_is_sent(
    field: Field, beyond: LoadLimits
) -> None:
    ear = Ear(field)
    with pytest.raises(InvalidInput):
        await ModbusDriver(profile_of("DDSY1352-NK"), 1, ear).write_load_limits(beyond)
    assert ear.heard == []


async def test_a_kettle_trips_is_given_back_and_is_locked_after_its_count(field: Field) -> None:
    await field.driver().write_load_limits(ROOM)
    assert (await after(field, 5)).flags == MeterFlags()
    await plug(field, 1_500)
    seen = await after(field, 1)
    assert (seen.relay, seen.flags) == (Relay.OPEN, MeterFlags(malignant_load_cut=True))
    assert (await after(field, 8)).relay is Relay.OPEN
    await plug(field, 0)
    seen = await after(field, 1)
    assert (seen.relay, seen.flags) == (Relay.CLOSED, MeterFlags())
    await plug(field, 1_500)  # the second of three; left in, so power that comes back trips again
    assert (await after(field, 9)).relay is Relay.OPEN
    assert (await after(field, 60)).flags.malignant_load_cut
    await plug(field, 0)
    seen = await after(field, 24 * 60)
    assert (seen.relay, seen.flags.malignant_load_cut) == (Relay.OPEN, True)
    count = modbus.read_registers(unit=1, address=0x0222, count=2)
    frame = await field.link.exchange(count.request, count.expected)
    assert modbus.registers_of(frame) == struct.pack(">2H", 3, 3)


async def test_too_much_power_is_an_overload_and_not_a_malignant_load(field: Field) -> None:
    await field.driver().write_load_limits(replace(ROOM, most_w=2_000, step_w=5_000))
    await plug(field, 2_000)
    assert (await after(field, 1)).flags == MeterFlags(overload_cut=True)


async def test_what_is_forced_on_is_not_opened_for_its_load(field: Field) -> None:
    driver = field.driver()
    await driver.write_load_limits(ROOM)
    await driver.keep_power()
    await plug(field, 1_500)
    seen = await after(field, 30)
    assert (seen.relay, seen.flags.malignant_load_cut) == (Relay.CLOSED, False)


async def test_a_cut_for_arrears_is_told_apart(field: Field) -> None:
    """The second meter has no money; its load control is on and found nothing."""
    driver = field.driver(2)
    await driver.write_load_limits(ROOM)
    seen = await driver.read()
    assert (seen.relay, seen.flags) == (
        Relay.OPEN,
        MeterFlags(arrears=True, alarm1=True, alarm2=True),
    )


_BITS = {"overload_cut": 8, "malignant_load_cut": 0, "timetable_cut": 4}


@given(word=st.integers(0, 0xFFFF), model=st.sampled_from(["DDSY1352-NK", "ADF300-3P"]))
def test_a_control_cut_only_while_it_is_on_and_holds_a_phase_open(word: int, model: str) -> None:
    layout = profile_of(model).map
    assert isinstance(layout, ModbusMap)
    registers = bytearray(96)
    struct.pack_into(">H", registers, 0, 7 if model.startswith("DDSY") else 10)
    struct.pack_into(">2H", registers, 2 * 0x13, 1, 1)
    struct.pack_into(">H", registers, 2 * 0x25, word)
    flags = asdict(decode_snapshot(layout, {"poll": bytes(registers)}).flags)
    phases = 1 if model.startswith("DDSY") else 7
    for name, low in _BITS.items():
        control = word >> low & 0xF
        assert flags[name] == (control >= 8 and control & phases != phases), name


@given(cuts=st.lists(st.integers(1, 7_200), min_size=1, max_size=8), watts=st.integers(0, 6_000))
def test_in_one_step_or_in_many_the_load_control_does_the_same(cuts: list[int], watts: int) -> None:
    spec = MeterSpec("1", 1, LoadModel(seed=7, average_w=600))
    start = of_memory(_memory(watts))
    at, state = 0, start
    for cut in cuts:
        at += cut
        state = advance(state, spec, at)
    assert state == advance(start, spec, at)


def _memory(watts: int) -> dict[str, Any]:
    """A meter of a room as it is kept on disk, with an appliance just plugged in."""
    told = LoadControl(True, 3_000, 800, 950, trips=3, restore_minutes=10)
    state = MeterState(0, (0, 0, 0, 0), 10**9, settings=Settings(load=told))
    return to_memory(replace(state, load=LoadMemory(appliance_w=watts, stepped=watts > 0)))
