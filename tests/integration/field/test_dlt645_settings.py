"""Limits, prices, clock and calendar of a DL/T 645 meter (A14, A22, C17), over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.kernel.band_calendar import Calendar, DaySlot, YearZone
from backend.kernel.clock import SetClock
from backend.kernel.errors import Conflict, InvalidInput, Unavailable
from backend.kernel.money import Money
from workers.drivers.access import Access
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver, Thresholds
from workers.profiles.loader import profile_of
from workers.protocols.errors import MeterRefused, WrongEcho
from workers.protocols.framing import Exchange, Framing
from workers.virtual.dlt645_meter import Virtual645

from .bus_world import ADDRESS_645, START_S, Bus, Wire, electric, served, store_in

MODEL = "GENERIC-645-2007"
START = datetime.fromtimestamp(START_S, UTC)
RATES = ("spike", "peak", "flat", "valley")
SUMMER = Calendar(
    zones=(YearZone(1, 1, 1), YearZone(6, 15, 2), YearZone(9, 1, 1)),
    tables=(
        (DaySlot(0, "valley"), DaySlot(7 * 60, "flat"), DaySlot(17 * 60 + 30, "peak")),
        (DaySlot(0, "valley"), DaySlot(8 * 60, "peak"), DaySlot(13 * 60, "spike")),
    ),
)


class Field:
    """A meter on a bus and its driver."""

    def __init__(self, bus: Bus, meter: Virtual645) -> None:
        self.bus = bus
        self.meter = meter

    def driver(self, exchange: Exchange | None = None) -> Driver:
        return driver_of(
            profile_of(MODEL),
            ADDRESS_645,
            exchange or self.bus.link.exchange,
            Access(clock=self.bus.clock),
        )


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    clock, store = SetClock(START), store_in(tmp_path)
    meter = electric(store, clock)
    kept = meter.memory()
    room = {"04000201": "04", "04010000": "010101" * 4}
    meter.take_up({**kept, "settings": {**kept["settings"], **room}})
    async with served([meter], clock=clock, store=store) as bus:
        yield Field(bus, meter)


async def test_limits_are_written_and_read_back_and_others_stay(field: Field) -> None:
    driver = field.driver()
    assert await driver.thresholds() == Thresholds(
        alarm1=Money.parse("10"), alarm2=Money.parse("5"), overdraft=Money(0)
    )
    await driver.write_thresholds(
        Thresholds(alarm1=Money.parse("30.50"), overdraft=Money.parse("5"))
    )
    assert await driver.thresholds() == Thresholds(
        alarm1=Money.parse("30.50"), alarm2=Money.parse("5"), overdraft=Money.parse("5")
    )


@pytest.mark.parametrize("amount", ["-1", "0.001", "1000000"])
async def test_a_limit_that_does_not_fit_writes_none_at_all(field: Field, amount: str) -> None:
    before = field.meter.memory()
    with pytest.raises(InvalidInput):
        await field.driver().write_thresholds(
            Thresholds(alarm1=Money.parse("30"), overdraft=Money.parse(amount))
        )
    with pytest.raises(Conflict, match="overload_w"):
        await field.driver().write_thresholds(Thresholds(alarm1=Money(0), overload_w=5000))
    assert field.meter.memory() == before


async def test_new_prices_wait_in_the_spare_set_for_their_moment(field: Field) -> None:
    driver = field.driver()
    await driver.write_prices({"peak": 12_345, "valley": 3_000})
    assert await driver.prices() == dict.fromkeys(RATES, 6_000)
    field.bus.clock.advance(timedelta(minutes=2))
    assert await driver.prices() == {"spike": 6_000, "peak": 12_345, "flat": 6_000, "valley": 3_000}
    await driver.write_prices({"flat": 7_000})  # the set that is spare now still holds old prices
    field.bus.clock.advance(timedelta(minutes=2))
    assert await driver.prices() == {"spike": 6_000, "peak": 12_345, "flat": 7_000, "valley": 3_000}


async def test_a_change_that_breaks_off_leaves_the_prices_in_force_alone(field: Field) -> None:
    wire, asked = field.bus.link.exchange, 0

    async def breaking(request: bytes, expected: Framing, /) -> bytes:
        nonlocal asked
        asked += 1
        if asked == 4:
            field.meter.faults.silent = True
        return await wire(request, expected)

    with pytest.raises(Unavailable):
        await field.driver(breaking).write_prices(dict.fromkeys(RATES, 9_999))
    field.meter.faults.silent = False
    field.bus.clock.advance(timedelta(days=1))
    assert await field.driver().prices() == dict.fromkeys(RATES, 6_000)


async def test_a_spare_set_that_does_not_read_back_gets_no_moment(field: Field) -> None:
    """One meter says yes to a write and keeps something else (reference 0.3)."""
    wire = field.bus.link.exchange

    async def forgetful(request: bytes, expected: Framing, /) -> bytes:
        frame = await wire(request, expected)
        state = field.meter.memory()
        field.meter.take_up({**state, "settings": {**state["settings"], "04050202": "00600000"}})
        return frame

    with pytest.raises(WrongEcho):
        await field.driver(forgetful).write_prices({"peak": 9_000})
    assert field.meter.memory()["settings"]["04000108"] == "0000000000"


@pytest.mark.parametrize(
    "prices", [{}, {"deep": 1}, {"flat": -1}, {"flat": 100_000_000}, {"flat": 6_000, "night": 1}]
)
async def test_prices_that_the_meter_cannot_hold_are_refused_unsent(
    field: Field, prices: dict[str, int]
) -> None:
    field.meter.faults.silent = True
    with pytest.raises(InvalidInput):
        await field.driver().write_prices(prices)


async def test_a_wrong_parameter_password_is_refused_in_words(field: Field) -> None:
    access = Access(clock=field.bus.clock, passwords={4: b"\x11\x11\x11"})
    exchange = field.bus.link.exchange
    driver = driver_of(profile_of(MODEL), ADDRESS_645, exchange, access)
    with pytest.raises(MeterRefused, match="password wrong") as refused:
        await driver.write_thresholds(Thresholds(alarm1=Money(0)))
    assert refused.value.refusal == 4


async def test_the_clock_of_one_meter_is_set(field: Field) -> None:
    state = field.meter.memory()
    field.meter.take_up({**state, "clock_s": 3_700})
    driver = field.driver()
    assert (await driver.read()).meter_clock == START + timedelta(seconds=3_700)
    await driver.write_clock(START)
    assert (await driver.read()).meter_clock == START


async def test_near_midnight_a_clock_of_two_parts_is_left_alone(field: Field) -> None:
    midnight = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
    field.meter.faults.silent = True
    for off in (-119, -1, 0, 119):
        with pytest.raises(Unavailable, match="midnight"):
            await field.driver().write_clock(midnight + timedelta(seconds=off))


@pytest.mark.parametrize("begun_before", range(1, 12))
async def test_a_day_that_changes_between_date_and_time_is_not_read_as_yesterday(
    field: Field, begun_before: int
) -> None:
    """Each exchange takes a second; wherever in the reading midnight falls, the clock is right."""
    wire = field.bus.link.exchange
    midnight = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
    field.bus.clock.instant = midnight - timedelta(seconds=begun_before)

    async def ticking(request: bytes, expected: Framing, /) -> bytes:
        frame = await wire(request, expected)
        field.bus.clock.advance(timedelta(seconds=1))
        return frame

    seen = await field.driver(ticking).read()
    assert seen.meter_clock is not None
    assert abs(seen.meter_clock - field.bus.clock.now()) < timedelta(seconds=3)


async def test_writing_the_time_is_exactly_the_constructed_frame() -> None:
    sent: list[bytes] = []

    async def record(request: bytes, expected: Framing, /) -> bytes:
        sent.append(request)
        return bytes.fromhex("68 01 00 00 00 00 00 68 94 00 65 16")

    driver = driver_of(profile_of(MODEL), "000000000001", record)
    await driver.write_clock(datetime(2026, 11, 22, 13, 53, 55, tzinfo=UTC))
    con_open_07 = "68 01 00 00 00 00 00 68 14 0F 35 34 33 37 35 33 33 33 33 33 33 33 88 86 54 C3 16"
    assert sent[1].lstrip(b"\xfe") == bytes.fromhex(con_open_07)
    date = bytes((byte - 0x33) & 0xFF for byte in sent[0].lstrip(b"\xfe")[10:-2])
    assert date.hex() == "01010004" + "02000000" + "00000000" + "00221126"  # a Sunday


async def test_a_calendar_is_written_and_read_back(field: Field) -> None:
    driver = field.driver()
    await driver.write_calendar(SUMMER)
    assert await driver.calendar() == SUMMER
    assert field.meter.memory()["settings"]["04010000"] == "010101" + "021506" + "010109" * 2


@pytest.mark.parametrize(
    ("zones", "tables"),
    [
        ((), ((DaySlot(0, "flat"),),)),
        ((YearZone(2, 30, 1),), ((DaySlot(0, "flat"),),)),
        ((YearZone(1, 1, 2),), ((DaySlot(0, "flat"),),)),
        ((YearZone(6, 1, 1), YearZone(1, 1, 1)), ((DaySlot(0, "flat"),),)),
        ((YearZone(1, 1, 1),), ()),
        ((YearZone(1, 1, 1),), ((),)),
        ((YearZone(1, 1, 1),), ((DaySlot(0, "deep"),),)),
        ((YearZone(1, 1, 1),), ((DaySlot(60, "flat"), DaySlot(60, "peak")),)),
        ((YearZone(1, 1, 1),), ((DaySlot(1440, "flat"),),)),
        ((YearZone(1, 1, 1),), (tuple(DaySlot(60 * n, "flat") for n in range(9)),)),
        (tuple(YearZone(n, 1, 1) for n in range(1, 6)), ((DaySlot(0, "flat"),),)),
    ],
)
async def test_a_calendar_that_cannot_be_is_refused_and_nothing_is_written(
    field: Field, zones: tuple[YearZone, ...], tables: tuple[tuple[DaySlot, ...], ...]
) -> None:
    before = field.meter.memory()["settings"]
    with pytest.raises(InvalidInput):
        await field.driver().write_calendar(Calendar(zones, tables))
    assert field.meter.memory()["settings"] == before


SLOTS = st.lists(
    st.builds(DaySlot, st.integers(1, 1439), st.sampled_from(RATES)),
    max_size=7, unique_by=lambda slot: slot.minute,
).map(lambda slots: (DaySlot(0, "flat"), *sorted(slots, key=lambda slot: slot.minute)))  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(first=SLOTS, second=SLOTS, day=st.integers(2, 28), month=st.integers(1, 12))
def test_any_calendar_that_fits_comes_back_as_it_was_written(
    first: tuple[DaySlot, ...], second: tuple[DaySlot, ...], day: int, month: int
) -> None:
    wanted = Calendar((YearZone(1, 1, 1), YearZone(month, day, 2)), (first, second))

    async def trial() -> Calendar:
        clock = SetClock(START)
        with TemporaryDirectory() as folder:
            wire = Wire([electric(store_in(Path(folder)), clock)], clock)
            driver = driver_of(profile_of(MODEL), ADDRESS_645, wire, Access(clock=clock))
            await driver.write_calendar(wanted)
            return await driver.calendar()

    assert asyncio.run(trial()) == wanted
