"""Prices, thresholds, clock and calendar: written exactly or not at all, read back, and obeyed (A14, A22)."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.band_calendar import BANDS, Calendar, DaySlot, YearZone
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from workers.drivers import modbus_calendar
from workers.drivers.modbus import ModbusDriver
from workers.drivers.modbus_settings import merged
from workers.drivers.ports import Relay, Thresholds
from workers.links.tcp import TcpLink
from workers.profiles.loader import PROFILE_DIR, load_profile, profile_of
from workers.profiles.modbus_map import ModbusMap
from workers.profiles.modbus_settings_map import CalendarMap
from workers.protocols import modbus
from workers.protocols.errors import BadValue
from workers.protocols.framing import Framing
from workers.virtual.rtu import PRIVATE, private_answer, write_answer
from workers.virtual.site import VirtualSite, parse_site

from .conftest import PLAN, START, Field

PRICES = {"spike": 12_000, "peak": 10_000, "flat": 6_000, "valley": 3_000}
SUMMER = Calendar(
    zones=(YearZone(1, 1, 1), YearZone(7, 1, 2), YearZone(9, 30, 1)),
    tables=(
        (DaySlot(0, "valley"), DaySlot(7 * 60, "flat"), DaySlot(22 * 60 + 30, "valley")),
        (DaySlot(0, "valley"), DaySlot(8 * 60 + 15, "peak"), DaySlot(19 * 60, "spike")),
    ),
)


class Ear:
    """An exchange that hears every request; without a meter behind it, it answers by itself."""

    def __init__(self, field: Field | None = None) -> None:
        self.heard: list[bytes] = []
        self._field = field

    async def __call__(self, request: bytes, expected: Framing, /) -> bytes:
        self.heard.append(request)
        if self._field is not None:
            return await self._field.link.exchange(request, expected)
        return private_answer(request) if request[1] == PRIVATE else write_answer(request)


def copy_of(tmp_path: Path, *changes: tuple[str, str], model: str = "ddsy1352-nk") -> ModbusDriver:
    """A driver that hears nothing back, by a shipped profile with `changes` made to its text."""
    text = (PROFILE_DIR / f"{model}.toml").read_text("utf-8")
    for right, other in changes:
        assert right in text
        text = text.replace(right, other)
    path = tmp_path / "copy.toml"
    path.write_text(text, "utf-8")

    async def silence(request: bytes, expected: Framing, /) -> bytes:
        raise AssertionError("nothing may be sent")

    return ModbusDriver(load_profile(path), 1, silence)


async def test_a_price_that_the_register_cannot_hold_exactly_is_never_sent(tmp_path: Path) -> None:
    fen_only = copy_of(
        tmp_path, ('"price.peak" = { register = 0x0404, type = "u32", unit = 1 }',
                   '"price.peak" = { register = 0x0404, type = "u32", unit = 100 }'),
    )  # fmt: skip
    for wrong in ({"peak": 6_543}, {"peak": -100}, {"flat": 2**32}, {"deep": 1}, {}):
        with pytest.raises(InvalidInput):
            await fen_only.write_prices(wrong)
    with pytest.raises(InvalidInput, match=r"alarm1: 1050 is no multiple of the meter's unit 100"):
        await fen_only.write_thresholds(Thresholds(alarm1=Money(1_050)))
    for limit in (-1, 70_000):
        with pytest.raises(InvalidInput, match="overload"):
            await fen_only.write_thresholds(Thresholds(overload_w=limit))


async def test_the_price_write_marks_prices_as_meant_and_nothing_else() -> None:
    ear = Ear()
    await ModbusDriver(profile_of("DDSY1352-NK"), 1, ear).write_prices(PRICES)
    (frame,) = ear.heard
    # unit, function 20h, 0200h, 30 registers, 60 bytes; byte 29 is the enable byte of the prices
    assert frame[:7].hex() == "0120020000" + "1e3c"
    expected = bytes(29) + b"\x01" + struct.pack(">4I", 12_000, 10_000, 6_000, 3_000) + bytes(14)
    assert frame[7:-2] == expected


async def test_the_clock_write_is_second_to_year_with_sunday_as_zero() -> None:
    ear = Ear()
    # 2026-11-22 23:05:09 in China, a Sunday
    await ModbusDriver(profile_of("DDSY1352-NK"), 1, ear).write_clock(
        datetime(2026, 11, 22, 15, 5, 9, tzinfo=UTC)
    )
    assert ear.heard[0][:-2].hex() == "01200354" + "00050a" + "09051700160b1a" + "000000"
    with pytest.raises(InvalidInput):
        await ModbusDriver(profile_of("DDSY1352-NK"), 1, ear).write_clock(
            datetime(2100, 1, 1, tzinfo=UTC)
        )
    assert len(ear.heard) == 1


_PLAIN = """
[settings]
evidence = "unverified"
source = "a made-up meter"
[settings.values]
"price.peak" = { register = 0x10, type = "u16", unit = 100 }
"price.valley" = { register = 0x11, type = "u16", unit = 100 }
[[settings.writes]]
function = 16
address = 0x20
registers = 2
groups = [{ values = [{ name = "price.peak", at = 2 }, { name = "price.valley", at = 0 }] }]
[switch]
function = 0x10
address = 0x30
trip = [1]
keep_power = [2]
release = [3]
close = [4]
allow_close = [5, 6]
evidence = "unverified"
"""


async def test_a_meter_whose_settings_are_plain_registers_is_written_by_function_16(
    tmp_path: Path,
) -> None:
    path = tmp_path / "plain.toml"
    generic = (PROFILE_DIR / "generic-modbus.toml").read_text("utf-8")
    path.write_text(generic + _PLAIN, "utf-8")
    ear = Ear()
    driver = ModbusDriver(load_profile(path), 1, ear)
    await driver.write_prices({"peak": 9_900, "valley": 3_000})
    await driver.close()
    await driver.allow_close()
    assert [frame[1:-2].hex() for frame in ear.heard] == [
        "10" + "0020" + "0002" + "04" + "001e" + "0063",
        "10" + "0030" + "0001" + "02" + "0004",
        "10" + "0030" + "0002" + "04" + "0005" + "0006",
    ]
    with pytest.raises(InvalidInput):
        await driver.write_prices({"peak": 9_950})
    assert len(ear.heard) == 3


async def test_one_price_leaves_the_others_as_they_are(field: Field) -> None:
    driver = field.driver()
    await driver.write_prices(PRICES)
    await driver.write_prices({"peak": 11_111})
    assert await driver.prices() == PRICES | {"peak": 11_111}


async def test_one_threshold_leaves_the_others_and_the_money_as_they_are(field: Field) -> None:
    driver = field.driver()
    step = modbus.private_write(
        unit=1, address=0x0400, values=[0, 0x0101, 0xF400, 0x4D00, 0x5800, *[0] * 8]
    )  # the group: meant, 500 W, step 77, power factor 88
    modbus.accepted(await field.link.exchange(step.request, step.expected))
    before = await driver.thresholds()
    assert before.overload_w == 500
    await driver.write_thresholds(Thresholds(alarm2=Money.parse("3.00")))
    await driver.write_thresholds(Thresholds(overload_w=2_500))
    assert await driver.thresholds() == Thresholds(
        alarm1=before.alarm1,
        alarm2=Money.parse("3.00"),
        overdraft=before.overdraft,
        overload_w=2_500,
    )
    held = modbus.read_registers(unit=1, address=0x0482, count=2)
    frame = await field.link.exchange(held.request, held.expected)
    assert modbus.registers_of(frame) == struct.pack(">2H", 77, 88)
    wallet = await driver.wallet()
    assert (wallet.remaining, wallet.purchase_count) == (Money.parse("20.00"), 4)


async def test_no_threshold_at_all_sends_nothing() -> None:
    ear = Ear()
    await ModbusDriver(profile_of("DDSY1352-NK"), 1, ear).write_thresholds(Thresholds())
    assert ear.heard == []


async def test_a_threshold_the_model_has_not_is_refused_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    with pytest.raises(Conflict, match="threshold overdraft"):
        await copy_of(tmp_path, model="adf300").write_thresholds(
            Thresholds(alarm1=Money.parse("1.00"), overdraft=Money.parse("1.00"))
        )


async def test_neighbouring_registers_are_read_by_one_question(field: Field) -> None:
    ear = Ear(field)
    driver = ModbusDriver(profile_of("DDSY1352-NK"), 1, ear)
    await driver.prices()
    assert [frame[1:6].hex() for frame in ear.heard] == ["0304020008"]
    ear.heard.clear()
    await driver.thresholds()
    assert [frame[1:6].hex() for frame in ear.heard] == ["03040a0006", "0304810001"]
    ear.heard.clear()
    await driver.calendar()
    assert [frame[1:6].hex() for frame in ear.heard] == ["0320000030"]


def test_touching_questions_are_joined_never_over_a_gap_nor_over_125_registers() -> None:
    assert merged([(2, 2), (0, 2), (2, 2), (3, 4)]) == [(0, 7)]
    assert merged([(0, 2), (3, 2)]) == [(0, 2), (3, 2)]
    assert merged([(0, 100), (100, 25), (125, 1)]) == [(0, 125), (125, 1)]
    assert merged([]) == []


async def test_the_prices_that_were_written_are_what_use_costs(field: Field) -> None:
    driver = field.driver()
    await driver.write_prices(dict.fromkeys(PRICES, 12_000))
    first = await driver.read()
    field.clock.advance(timedelta(hours=3))
    later = await driver.read()
    assert first.remaining is not None
    assert later.remaining is not None
    spent = (first.remaining - later.remaining).hao
    assert abs(spent - (later.total - first.total) * 12) <= 220  # the registers' last digits


async def test_an_overdraft_limit_keeps_the_relay_closed_until_it_is_reached(field: Field) -> None:
    driver = field.driver()
    await driver.write_thresholds(Thresholds(overdraft=Money.parse("5.00")))
    field.clock.advance(timedelta(days=30))
    end = await driver.read()
    assert (end.remaining, end.relay, end.flags.arrears) == (
        Money.parse("-5.00"),
        Relay.OPEN,
        True,
    )


async def test_alarms_are_shown_at_the_limits_that_were_written(field: Field) -> None:
    driver = field.driver()
    assert not (await driver.read()).flags.alarm1
    await driver.write_thresholds(
        Thresholds(alarm1=Money.parse("25.00"), alarm2=Money.parse("20.00"))
    )
    flags = (await driver.read()).flags
    assert (flags.alarm1, flags.alarm2) == (True, True)
    await driver.write_thresholds(Thresholds(overload_w=1))
    assert (await driver.read()).flags.overload


async def test_settings_survive_a_restart_of_the_meter(tmp_path: Path, field: Field) -> None:
    driver = field.driver()
    await driver.write_prices(PRICES)
    await driver.write_calendar(SUMMER)
    await field.site.stop()
    async with VirtualSite(parse_site(PLAN), data_dir=tmp_path, clock=field.clock) as site:
        meter = site.meters["230000000001"][0]
        assert dict(zip(BANDS, meter.state().settings.prices, strict=False)) == PRICES
        assert len(meter.state().settings.tables) == 2


@pytest.mark.parametrize("unit_model", ["DDSY1352-NK", "DTSY1352-NK", "ADF300", "ADF300-3P"])
async def test_a_calendar_is_read_back_and_the_meter_counts_by_it(
    tmp_path: Path, field: Field, unit_model: str
) -> None:
    meter = {"serial": "9", "unit": 9, "model": unit_model, "remaining": "900", "average_w": 3000}
    plan = parse_site({"gateways": [{"serial": "G", "meters": [meter]}]})
    async with VirtualSite(plan, data_dir=tmp_path / "other", clock=field.clock) as site:
        link = TcpLink("127.0.0.1", site.gateways["G"].port)
        driver = ModbusDriver(profile_of(unit_model), 9, link.exchange)
        assert await driver.calendar() == Calendar(zones=(), tables=((), ()))
        await driver.write_calendar(SUMMER)
        assert await driver.calendar() == SUMMER
        await driver.keep_power()  # whatever the money says until July
        # 22 November, table 1: flat from 07:00 to 22:30 in China, else valley. START is 10:00 there.
        first = await driver.read()
        field.clock.instant = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)
        evening = await driver.read()
        field.clock.instant = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
        morning = await driver.read()
        # In July table 2 holds: peak from 08:15 on.
        field.clock.instant = datetime(2027, 7, 1, 0, 15, tzinfo=UTC)
        july = await driver.read()
        field.clock.instant = datetime(2027, 7, 1, 1, 0, tzinfo=UTC)
        later = await driver.read()
        await link.close()
    grown = {band: evening.bands[band] - first.bands[band] for band in first.bands}
    assert grown["flat"] > 0
    assert (grown["spike"], grown["peak"], grown["valley"]) == (0, 0, 0)
    assert morning.bands["flat"] == evening.bands["flat"]
    assert morning.bands["valley"] > evening.bands["valley"]
    assert later.bands["peak"] > july.bands["peak"] == 0


_BAD_CALENDARS = {
    "no table": Calendar((YearZone(1, 1, 1),), ()),
    "too many tables": Calendar((YearZone(1, 1, 1),), (SUMMER.tables[0],) * 3),
    "a table without slots": Calendar((YearZone(1, 1, 1),), ((),)),
    "too many slots": Calendar(
        (YearZone(1, 1, 1),), (tuple(DaySlot(m, "flat") for m in range(15)),)
    ),
    "not from midnight": Calendar((YearZone(1, 1, 1),), ((DaySlot(60, "flat"),),)),
    "slots that fall": Calendar(
        (YearZone(1, 1, 1),), ((DaySlot(0, "flat"), DaySlot(90, "peak"), DaySlot(60, "flat")),)
    ),
    "slots at the same minute": Calendar(
        (YearZone(1, 1, 1),), ((DaySlot(0, "flat"), DaySlot(0, "peak")),)
    ),
    "a slot after the day": Calendar(
        (YearZone(1, 1, 1),), ((DaySlot(0, "flat"), DaySlot(1440, "peak")),)
    ),
    "a band the meter has not": Calendar((YearZone(1, 1, 1),), ((DaySlot(0, "deep"),),)),
    "no zone": Calendar((), SUMMER.tables),
    "too many zones": Calendar(
        tuple(YearZone(month, 1, 1) for month in range(1, 6)), SUMMER.tables
    ),
    "zones that fall": Calendar((YearZone(7, 1, 1), YearZone(1, 1, 1)), SUMMER.tables),
    "a day that is none": Calendar((YearZone(2, 30, 1),), SUMMER.tables),
    "a table that is not given": Calendar((YearZone(1, 1, 3),), SUMMER.tables),
}


@pytest.mark.parametrize("name", _BAD_CALENDARS)
async def test_a_wrong_calendar_is_refused_before_anything_is_sent(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidInput):
        await copy_of(tmp_path).write_calendar(_BAD_CALENDARS[name])


async def test_a_wrong_zone_order_in_the_profile_shows_as_a_bad_value(
    tmp_path: Path, field: Field
) -> None:
    await field.driver().write_calendar(SUMMER)
    text = (PROFILE_DIR / "ddsy1352-nk.toml").read_text("utf-8")
    order = 'zone = ["table", "day", "month"]'
    assert order in text
    path = tmp_path / "other.toml"
    path.write_text(text.replace(order, 'zone = ["month", "day", "table"]'), "utf-8")
    other = ModbusDriver(load_profile(path), 1, field.link.exchange)
    with pytest.raises(BadValue, match="no zone of a year"):
        await other.calendar()


async def test_the_clock_is_set_and_read_back(field: Field) -> None:
    driver = field.driver()
    field.meter().faults.clock_offset_s = 4_000
    assert (await driver.read()).meter_clock == START + timedelta(seconds=4_000)
    await driver.write_clock(field.clock.now())
    assert (await driver.read()).meter_clock == START
    await driver.write_clock(START + timedelta(hours=5))
    field.clock.advance(timedelta(minutes=1))
    assert (await driver.read()).meter_clock == START + timedelta(hours=5, minutes=1)


def _calendar_map(first_band: int) -> CalendarMap:
    layout = profile_of("DDSY1352-NK").map
    assert isinstance(layout, ModbusMap)
    assert layout.calendar is not None
    held = layout.calendar
    return CalendarMap(
        **{
            **{name: getattr(held, name) for name in CalendarMap.__slots__},
            "first_band": first_band,
        }
    )


@given(
    first_band=st.integers(0, 1),
    minutes=st.sets(st.integers(1, 1439), max_size=13),
    bands=st.lists(st.sampled_from(["spike", "peak", "flat", "valley"]), min_size=14, max_size=14),
)
def test_any_day_table_comes_back_as_it_went_whatever_the_first_code_is(
    first_band: int, minutes: set[int], bands: list[str]
) -> None:
    place = _calendar_map(first_band)
    slots = tuple(
        DaySlot(minute, band) for minute, band in zip([0, *sorted(minutes)], bands, strict=False)
    )
    calendar = Calendar(zones=(YearZone(2, 29, 1),), tables=(slots,))
    tables, zones = modbus_calendar.encode(place, calendar)
    assert [len(table) for table in tables] == [42]
    assert modbus_calendar.decode(place, tables=tables, zones=zones) == calendar
