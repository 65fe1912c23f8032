"""A calendar of rate bands is said in one way, and goes into numbers and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.band_calendar import (
    BANDS,
    CALENDAR_NAMES,
    Calendar,
    DaySlot,
    YearZone,
    calendar_numbers,
    calendar_of,
    check_calendar,
    entry_named,
    entry_worded,
    plain,
)
from backend.kernel.errors import InvalidInput

NIGHT = (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(1320, "valley"))
FLAT = (DaySlot(0, "flat"),)
SUMMER = Calendar((YearZone(2, 1, 1), YearZone(7, 1, 2), YearZone(9, 1, 1)), (FLAT, NIGHT))
FULL = Calendar(
    tuple(YearZone(1 + at // 2, 1 + at % 2 * 14, 1 + at % 8) for at in range(14)),
    tuple(
        tuple(DaySlot(60 * at + table, BANDS[(at + table) % 5]) for at in range(14))
        for table in [0] * 8
    ),
)
YEAR = [date(2024, 1, 1) + timedelta(days=day) for day in range(366)]


def band_of(calendar: Calendar, day: date, minute: int) -> str:
    """By reading the calendar as it stands: before its first entry the last one of the year or day holds."""
    begun = [zone for zone in calendar.zones if (zone.month, zone.day) <= (day.month, day.day)]
    table = calendar.tables[(begun or calendar.zones)[-1].table - 1]
    slots = [slot for slot in table if slot.minute <= minute]
    return (slots or table)[-1].band


@st.composite
def days(draw: st.DrawFn) -> tuple[DaySlot, ...]:
    """Rising slots, from midnight on or later."""
    minutes = draw(st.sets(st.integers(0, 1439), min_size=1, max_size=4))
    return tuple(DaySlot(minute, draw(st.sampled_from(BANDS))) for minute in sorted(minutes))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    """What a meter may be read to hold: entries that change nothing, tables twice, tables nobody names."""
    tables = tuple(draw(st.lists(days(), min_size=1, max_size=3)))
    begins = draw(st.sets(st.sampled_from(YEAR), min_size=1, max_size=5))
    number = st.integers(1, len(tables))
    zones = (YearZone(day.month, day.day, draw(number)) for day in sorted(begins))
    return Calendar(tuple(zones), tables)


@given(calendars(), st.lists(st.tuples(st.sampled_from(YEAR), st.integers(0, 1439)), min_size=5))
def test_a_calendar_said_plainly_says_the_same_of_every_minute(
    calendar: Calendar, moments: list[tuple[date, int]]
) -> None:
    said = plain(calendar)
    for day, minute in moments:
        assert band_of(said, day, minute) == band_of(calendar, day, minute)
    assert plain(said) == said
    check_calendar(said)


@given(calendars(), st.data())
def test_what_changes_no_hour_changes_nothing_that_is_said(
    calendar: Calendar, data: st.DataObject
) -> None:
    day, minute = data.draw(st.sampled_from(YEAR)), data.draw(st.integers(0, 1439))
    more = calendar
    if all((zone.month, zone.day) != (day.month, day.day) for zone in calendar.zones):
        begun = [z for z in calendar.zones if (z.month, z.day) <= (day.month, day.day)]
        table = (begun or calendar.zones)[-1].table
        zones = (*calendar.zones, YearZone(day.month, day.day, table))
        more = replace(more, zones=tuple(sorted(zones, key=lambda z: (z.month, z.day))))
    tables = []
    for slots in calendar.tables:
        extra = [] if any(slot.minute == minute for slot in slots) else [minute]
        begun_at = [slot for slot in slots if slot.minute <= minute]
        band = (begun_at or slots)[-1].band
        filled = (*slots, *(DaySlot(at, band) for at in extra))
        tables.append(tuple(sorted(filled, key=lambda slot: slot.minute)))
    assert plain(replace(more, tables=(*tables, NIGHT))) == plain(calendar)


@given(calendars(), calendars())
def test_calendars_that_are_said_alike_hold_the_same_bands(one: Calendar, other: Calendar) -> None:
    alike = all(
        band_of(one, day, minute) == band_of(other, day, minute)
        for day in YEAR
        for minute in {
            slot.minute for each in (one, other) for day_ in each.tables for slot in day_
        }
        | {0}
    )
    assert (plain(one) == plain(other)) is alike


@given(calendars())
def test_a_calendar_comes_back_from_its_numbers(calendar: Calendar) -> None:
    numbers = calendar_numbers(plain(calendar))
    assert calendar_of(numbers) == plain(calendar)
    assert numbers.keys() <= CALENDAR_NAMES


def test_numbers_are_those_of_the_standard() -> None:
    assert calendar_numbers(SUMMER) == {
        "zone1": 2_01_01,
        "zone2": 7_01_02,
        "zone3": 9_01_01,
        "table1_1": 3,
        "table2_1": 4,
        "table2_2": 8_00_02,
        "table2_3": 22_00_04,
    }
    assert entry_named("zone2") == "zone 2"
    assert entry_named("table2_3") == "day table 2 slot 3"
    assert entry_worded("zone2", 7_01_02) == "day table 2 from 07-01"
    assert entry_worded("table2_3", 22_00_04) == "valley from 22:00"


def test_a_year_of_one_day_has_one_zone_and_what_is_no_calendar_none() -> None:
    twice = Calendar((YearZone(3, 1, 1), YearZone(9, 1, 2)), (FLAT, FLAT))
    assert plain(twice) == Calendar((YearZone(1, 1, 1),), (FLAT,))
    assert plain(Calendar((), ((), ()))) == Calendar((), ())
    lost = Calendar((YearZone(1, 1, 1), YearZone(7, 1, 2)), (FLAT,))
    assert plain(lost) != plain(Calendar((YearZone(1, 1, 1),), (FLAT,))), (
        "a table that is not there"
    )
    assert calendar_of({}) == Calendar((), ())
    empty = Calendar((YearZone(1, 1, 1),), ((),))
    assert (plain(empty), calendar_numbers(empty)) == (empty, {"zone1": 1_01_01}), (
        "a table of no slots"
    )


@pytest.mark.parametrize(
    "numbers",
    [
        {"zone1": 1_01_01, "zone3": 7_01_01},
        {"zone1": 1_01_01, "table1_2": 3},
        {"zone1": 1_01_01, "table2_1": 3},
        {"zone01": 1_01_01},
        {"table1_1": 6},
        {"table1_1": 0},
        {"table1_1": 24_00_01},
        {"table1_1": 60_01},
        {"table1_1": -1},
        {"flat": 6_000},
    ],
)
def test_numbers_of_something_else_are_no_calendar(numbers: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        calendar_of(numbers)


def test_as_much_as_the_standard_allows_passes() -> None:
    check_calendar(FULL)
    at_once = calendar_numbers(FULL).keys()
    assert CALENDAR_NAMES - at_once == {f"table{table}_15" for table in range(1, 9)}
    late = tuple(DaySlot(60 * at + 1, BANDS[at % 2]) for at in range(14))
    held = plain(Calendar((YearZone(1, 1, 1),), ((*late[:-1], DaySlot(841, "flat")),)))
    assert len(held.tables[0]) == 15
    assert calendar_numbers(held).keys() <= CALENDAR_NAMES, "what a meter holds can be told"


_ONE = (YearZone(1, 1, 1),)


@pytest.mark.parametrize(
    ("calendar", "field"),
    [
        (Calendar((), (FLAT,)), "zones"),
        (Calendar((YearZone(7, 1, 1), YearZone(1, 1, 1)), (FLAT,)), "zones"),
        (Calendar((YearZone(1, 1, 1),) * 2, (FLAT,)), "zones"),
        (Calendar((YearZone(2, 30, 1),), (FLAT,)), "zones"),
        (Calendar((YearZone(13, 1, 1),), (FLAT,)), "zones"),
        (Calendar((YearZone(1, 1, 2),), (FLAT,)), "zones"),
        (Calendar((YearZone(1, 1, 0),), (FLAT,)), "zones"),
        (Calendar(tuple(YearZone(1, day, 1) for day in range(1, 16)), (FLAT,)), "zones"),
        (Calendar(_ONE, ()), "tables"),
        (Calendar(_ONE, (FLAT,) * 9), "tables"),
        (Calendar(_ONE, ((),)), "tables"),
        (Calendar(_ONE, ((DaySlot(60, "flat"),),)), "tables"),
        (Calendar(_ONE, ((DaySlot(0, "flat"), DaySlot(1440, "peak")),)), "tables"),
        (Calendar(_ONE, ((DaySlot(0, "flat"), DaySlot(0, "peak")),)), "tables"),
        (Calendar(_ONE, ((DaySlot(0, "night"),),)), "tables"),
        (Calendar(_ONE, (tuple(DaySlot(at, "flat") for at in range(15)),)), "tables"),
    ],
)
def test_a_calendar_nobody_can_mean_is_refused_by_the_name_of_what_is_wrong(
    calendar: Calendar, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_calendar(calendar)
    assert refused.value.field == field
