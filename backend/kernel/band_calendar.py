"""When which rate band holds in a meter: year zones and day tables, and both as the plain numbers that
orders, the uplink and the database carry.

Numbers are those of DL/T 645-2007 table A.3 (年时区表, 日时段表): `zone1` is MMDDNN, from that day on day
table NN holds; `table1_1` is hhmmNN, from that minute on use counts in band NN (1 is the first of BANDS).
Before the first zone of a year the last one still holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from .errors import InvalidInput

BANDS = ("spike", "peak", "flat", "valley", "deep")
# What the standard allows at most; a meter may keep fewer, and its driver knows how many.
MOST_ZONES = 14
MOST_TABLES = 8
MOST_SLOTS = 14
CALENDAR_NAMES = frozenset(
    {f"zone{number}" for number in range(1, MOST_ZONES + 1)}
    | {
        f"table{number}_{slot}"
        for number in range(1, MOST_TABLES + 1)
        for slot in range(
            1, MOST_SLOTS + 2
        )  # a day that is held from later on has one more from midnight
    }
)

_LEAP_YEAR = 2024  # so that 29 February is a day
_DAY = 24 * 60
_ZONE = re.compile(r"zone([0-9]+)")
_SLOT = re.compile(r"table([0-9]+)_([0-9]+)")


@dataclass(frozen=True, slots=True)
class DaySlot:
    """From `minute` of the day (0 to 1439) on, use counts in `band` (BANDS)."""

    minute: int
    band: str


@dataclass(frozen=True, slots=True)
class YearZone:
    """From `month`/`day` on, day table number `table` (from 1) holds."""

    month: int
    day: int
    table: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """When which band holds: year zones, and day tables as rising slots. What a meter is read to hold may
    have none of either, and days that begin later than at midnight."""

    zones: tuple[YearZone, ...]
    tables: tuple[tuple[DaySlot, ...], ...]


def check_calendar(calendar: Calendar) -> None:
    """Raises InvalidInput for what no meter could be meant to hold: zones or slots that are missing, do not
    rise, are too many or no days or bands; a zone without its table."""
    zones, tables = calendar.zones, calendar.tables
    _check_rising([(zone.month, zone.day) for zone in zones], MOST_ZONES, field="zones")
    if not 1 <= len(tables) <= MOST_TABLES:
        raise InvalidInput(f"there are 1 to {MOST_TABLES} day tables", field="tables")
    for zone in zones:
        if not is_day(zone.month, zone.day):
            raise InvalidInput(f"{zone.month}-{zone.day} is no day of a year", field="zones")
        if not 1 <= zone.table <= len(tables):
            raise InvalidInput(f"no day table has the number {zone.table}", field="zones")
    for slots in tables:
        _check_rising([(slot.minute,) for slot in slots], MOST_SLOTS, field="tables")
        if slots[0].minute != 0 or slots[-1].minute >= _DAY:
            raise InvalidInput("a day begins at 00:00 and ends before 24:00", field="tables")
        for slot in slots:
            if slot.band not in BANDS:
                raise InvalidInput(f"a band is one of {', '.join(BANDS)}", field="tables")


def _check_rising(starts: Sequence[tuple[int, ...]], most: int, *, field: str) -> None:
    if not 1 <= len(starts) <= most:
        raise InvalidInput(f"1 to {most} entries, these are {len(starts)}", field=field)
    if any(later <= earlier for earlier, later in pairwise(starts)):
        raise InvalidInput("each begins later than the one before", field=field)


def plain(calendar: Calendar) -> Calendar:
    """The one way to say what `calendar` says, by which calendars of the same hours are equal: no zone and
    no slot that changes nothing, days from midnight on, day tables numbered as the zones come to them."""
    tables_by_number = dict(enumerate(map(_whole_day, calendar.tables), start=1))
    days = [(zone.month, zone.day, tables_by_number.get(zone.table, ())) for zone in calendar.zones]
    if not days:
        return Calendar((), ())
    turns = [now for last, now in zip([days[-1], *days], days, strict=False) if last[2] != now[2]]
    turns = turns or [(1, 1, days[0][2])]
    tables = list(dict.fromkeys(slots for _, _, slots in turns))
    zones = (YearZone(month, day, tables.index(slots) + 1) for month, day, slots in turns)
    return Calendar(tuple(zones), tuple(tables))


def _whole_day(slots: tuple[DaySlot, ...]) -> tuple[DaySlot, ...]:
    """From midnight on: until its first slot the last one of a day still holds."""
    if not slots:
        return ()
    day = [DaySlot(0, slots[-1].band), *slots] if slots[0].minute else list(slots)
    return (day[0], *(now for last, now in pairwise(day) if last.band != now.band))


def calendar_numbers(calendar: Calendar) -> dict[str, int]:
    """A calendar as plain numbers, see above."""
    zones = {
        f"zone{number}": zone.month * 10_000 + zone.day * 100 + zone.table
        for number, zone in enumerate(calendar.zones, start=1)
    }
    return zones | {
        f"table{number}_{at}": slot.minute // 60 * 10_000
        + slot.minute % 60 * 100
        + BANDS.index(slot.band)
        + 1
        for number, slots in enumerate(calendar.tables, start=1)
        for at, slot in enumerate(slots, start=1)
    }


def calendar_of(numbers: Mapping[str, int]) -> Calendar:
    """The calendar of such numbers. Raises InvalidInput when they are none."""
    zones: dict[int, YearZone] = {}
    tables: dict[int, dict[int, DaySlot]] = {}
    for name, number in numbers.items():
        if found := _SLOT.fullmatch(name):
            tables.setdefault(int(found[1]), {})[int(found[2])] = _slot(number)
        elif found := _ZONE.fullmatch(name):
            zones[int(found[1])] = YearZone(number // 10_000, number // 100 % 100, number % 100)
    calendar = Calendar(
        tuple(zone for _, zone in sorted(zones.items())),
        tuple(tuple(slot for _, slot in sorted(day.items())) for _, day in sorted(tables.items())),
    )
    if calendar_numbers(calendar) != dict(numbers):  # a gap, or a name or number of something else
        raise InvalidInput("these numbers are no calendar", field="calendar")
    return calendar


def _slot(number: int) -> DaySlot:
    hour, minute, band = number // 10_000, number // 100 % 100, number % 100
    if not (1 <= band <= len(BANDS) and 0 <= hour < 24 and minute < 60):
        raise InvalidInput(f"{number} is no slot of a day", field="calendar")
    return DaySlot(60 * hour + minute, BANDS[band - 1])


def entry_named(name: str) -> str:
    """The name of one number for people."""
    table, _, slot = name.removeprefix("table").partition("_")
    return f"day table {table} slot {slot}" if slot else f"zone {name.removeprefix('zone')}"


def entry_worded(name: str, number: int) -> str:
    """One number for people, without its name."""
    first, second, what = number // 10_000, number // 100 % 100, number % 100
    if name.startswith("zone"):
        return f"day table {what} from {first:02d}-{second:02d}"
    return f"{BANDS[what - 1]} from {first:02d}:{second:02d}"


def is_day(month: int, day: int) -> bool:
    """Whether some year has such a day."""
    try:
        date(_LEAP_YEAR, month, day)
    except ValueError:
        return False
    return True
