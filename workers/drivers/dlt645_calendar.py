"""Year zones and day tables of a DL/T 645 meter (04010000, 040100nn): three BCD bytes an entry.

The meter says how many entries it keeps (04000201 to 04000203). A shorter table is filled up with its
last entry, as the standard has it; when read, such repeats are left out again.
"""

from __future__ import annotations

from collections.abc import Sequence

from backend.kernel.band_calendar import MOST_TABLES, Calendar, DaySlot, YearZone, check_calendar
from backend.kernel.errors import InvalidInput
from workers.profiles.dlt645_map import CalendarItems
from workers.protocols.dlt645_data import decode_values
from workers.protocols.dlt645_values import bcd_bytes, bcd_digits
from workers.protocols.errors import BadValue, ShortAnswer

from .dlt645_line import Dlt645Line

_ENTRY = 3
_FIT_A_FRAME = 12  # 50 bytes of a write, without identifier, password and operator

_Entries = list[tuple[int, int, int]]


async def read_calendar(line: Dlt645Line, place: CalendarItems, rates: Sequence[str]) -> Calendar:
    """The zones, and the day tables that they name. Raises LinkDown, NoAnswer, FrameError (also for a
    rate without a band), MeterRefused."""
    zones = tuple(
        YearZone(month, day, table) for month, day, table in _entries(await line.read(place.zones))
    )
    if any(zone.table > MOST_TABLES for zone in zones):
        raise BadValue("the year zones name a day table that no meter has")
    tables: list[tuple[DaySlot, ...]] = []
    for number in range(1, max((zone.table for zone in zones), default=0) + 1):
        entries = _entries(await line.read(f"{place.tables}{number:02X}"))
        if any(rate > len(rates) for _, _, rate in entries):
            raise BadValue(f"day table {number} names a rate without a band")
        tables.append(
            tuple(DaySlot(60 * hour + minute, rates[rate - 1]) for hour, minute, rate in entries)
        )
    return Calendar(zones, tuple(tables))


async def write_calendar(
    line: Dlt645Line, place: CalendarItems, rates: Sequence[str], calendar: Calendar
) -> None:
    """Day tables first, zones last, so that no zone ever names a table that is not there yet.

    Raises InvalidInput (nothing was written), and as Dlt645Line.read and write."""
    _check(calendar, rates)
    zones = [(zone.month, zone.day, zone.table) for zone in calendar.zones]
    tables = [
        [(slot.minute // 60, slot.minute % 60, rates.index(slot.band) + 1) for slot in table]
        for table in calendar.tables
    ]
    most_zones = await _count(line, place.zone_count)
    most_tables = await _count(line, place.table_count)
    most_slots = await _count(line, place.slot_count)
    if len(tables) > most_tables:
        raise InvalidInput(f"{len(tables)} day tables, the meter has {most_tables}", field="tables")
    zone_data = _data(zones, most_zones, "zones")
    table_data = [_data(table, most_slots, "tables") for table in tables]
    for number, data in enumerate(table_data, start=1):
        await line.write(f"{place.tables}{number:02X}", data, level=place.level)
    await line.write(place.zones, zone_data, level=place.level)


async def _count(line: Dlt645Line, di: str) -> int:
    values = decode_values(await line.read(di), di=di, edition=line.layout.edition)
    if values[0].value is None:
        raise BadValue(f"the meter does not say how many entries it keeps ({di})")
    return int(values[0].value)


def _entries(data: bytes) -> _Entries:
    if not data or len(data) % _ENTRY:
        raise ShortAnswer(f"{len(data)} data bytes, an entry has {_ENTRY}")
    found: _Entries = []
    for at in range(0, len(data), _ENTRY):
        digits = bcd_digits(data[at : at + _ENTRY])
        entry = int(digits[:2]), int(digits[2:4]), int(digits[4:])
        if entry[2] and entry not in found[-1:]:
            found.append(entry)
    return found


def _data(entries: _Entries, most: int, field: str) -> bytes:
    if len(entries) > min(most, _FIT_A_FRAME):
        raise InvalidInput(
            f"{len(entries)} entries, {min(most, _FIT_A_FRAME)} are the most", field=field
        )
    filled = entries + entries[-1:] * (min(most, _FIT_A_FRAME) - len(entries))
    return b"".join(bcd_bytes(f"{a:02d}{b:02d}{number:02d}") for a, b, number in filled)


def _check(calendar: Calendar, rates: Sequence[str]) -> None:
    check_calendar(calendar)
    if len({zone.table for zone in calendar.zones}) != len(calendar.tables):
        raise InvalidInput("every day table has a zone that names it", field="zones")
    for table in calendar.tables:
        for slot in table:
            if slot.band not in rates:
                raise InvalidInput(f"the meter has no band {slot.band}", field="tables")
