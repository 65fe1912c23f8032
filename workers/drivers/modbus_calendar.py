"""A meter's calendar as bytes: day tables and year zones of three bytes an entry, unused ones zero."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from backend.kernel.errors import InvalidInput
from workers.profiles.modbus_settings_map import CalendarMap
from workers.protocols.errors import BadValue

from .ports import Calendar, DaySlot, YearZone

_LEAP_YEAR = 2000  # so that 29 February is a day


def encode(place: CalendarMap, calendar: Calendar) -> tuple[list[bytes], bytes]:
    """The bytes of the day tables, in order, and of the year zones.

    Raises InvalidInput: too many tables, slots or zones; a table that is empty, does not begin at
    midnight or does not rise; zones that do not rise, name no day of a year or no table given; a
    band the model has not.
    """
    if not 1 <= len(calendar.tables) <= len(place.tables):
        raise _bad(f"the meter holds 1 to {len(place.tables)} day tables", "tables")
    tables = [
        _encode_table(place, slots, f"tables[{index}]")
        for index, slots in enumerate(calendar.tables)
    ]
    return tables, _encode_zones(place, calendar)


def _encode_table(place: CalendarMap, slots: Sequence[DaySlot], field: str) -> bytes:
    if not 1 <= len(slots) <= place.slots:
        raise _bad(f"a day has 1 to {place.slots} slots", field)
    if slots[0].minute != 0 or slots[-1].minute >= 24 * 60:
        raise _bad("a day begins at minute 0 and ends before minute 1440", field)
    if any(later.minute <= earlier.minute for earlier, later in pairwise(slots)):
        raise _bad("the slots of a day must rise", field)
    triples = []
    for slot in slots:
        if slot.band not in place.bands:
            raise _bad(f"the meter has no band {slot.band}", field)
        code = place.first_band + place.bands.index(slot.band)
        parts = {"band": code, "minute": slot.minute % 60, "hour": slot.minute // 60}
        triples.append(bytes(parts[name] for name in place.slot))
    return b"".join(triples).ljust(3 * place.slots, b"\0")


def _encode_zones(place: CalendarMap, calendar: Calendar) -> bytes:
    zones = calendar.zones
    if not 1 <= len(zones) <= place.zone_count:
        raise _bad(f"a year has 1 to {place.zone_count} zones", "zones")
    days = [(zone.month, zone.day) for zone in zones]
    if any(later <= earlier for earlier, later in pairwise(days)):
        raise _bad("the zones of a year must rise", "zones")
    triples = []
    for zone in zones:
        if not _is_day(zone.month, zone.day):
            raise _bad(f"{zone.month}-{zone.day} is no day of a year", "zones")
        if not 1 <= zone.table <= len(calendar.tables):
            raise _bad(f"no day table has the number {zone.table}", "zones")
        table = zone.table - 1 + place.first_table
        parts = {"table": table, "day": zone.day, "month": zone.month}
        triples.append(bytes(parts[name] for name in place.zone))
    return b"".join(triples).ljust(3 * place.zone_count, b"\0")


def decode(place: CalendarMap, *, tables: Sequence[bytes], zones: bytes) -> Calendar:
    """The calendar that the meter holds; a table it never got is empty.

    Raises BadValue when the bytes are no times, days or bands (a wrong `slot` or `zone` order of the
    profile shows like that).
    """
    return Calendar(
        zones=tuple(_decode_zone(place, entry) for entry in _used(zones, keep_first=False)),
        tables=tuple(
            tuple(
                _decode_slot(place, entry)
                for entry in _used(table, keep_first=place.first_band == 0)
            )
            for table in tables
        ),
    )


def _used(data: bytes, *, keep_first: bool) -> list[bytes]:
    """The triples before the zeros that fill up; with `keep_first` zeros may be a first entry too
    (midnight in the band of code 0)."""
    entries = [data[at : at + 3] for at in range(0, len(data), 3)]
    while len(entries) > (1 if keep_first else 0) and not any(entries[-1]):
        entries.pop()
    return entries


def _decode_slot(place: CalendarMap, entry: bytes) -> DaySlot:
    parts = dict(zip(place.slot, entry, strict=True))
    code = parts["band"] - place.first_band
    if not 0 <= code < len(place.bands) or parts["hour"] > 23 or parts["minute"] > 59:
        raise BadValue(f"a day table holds {entry.hex(' ')}, which is no slot of a day")
    return DaySlot(minute=60 * parts["hour"] + parts["minute"], band=place.bands[code])


def _decode_zone(place: CalendarMap, entry: bytes) -> YearZone:
    parts = dict(zip(place.zone, entry, strict=True))
    table = parts["table"] - place.first_table + 1
    if not 1 <= table <= len(place.tables) or not _is_day(parts["month"], parts["day"]):
        raise BadValue(f"the year zones hold {entry.hex(' ')}, which is no zone of a year")
    return YearZone(month=parts["month"], day=parts["day"], table=table)


def _is_day(month: int, day: int) -> bool:
    try:
        date(_LEAP_YEAR, month, day)
    except ValueError:
        return False
    return True


def _bad(message: str, field: str) -> InvalidInput:
    return InvalidInput(message, field=field)
