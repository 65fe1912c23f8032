"""A meter's calendar as bytes: day tables and year zones of three bytes an entry, unused ones zero."""

from __future__ import annotations

from collections.abc import Sequence

from backend.kernel.band_calendar import Calendar, DaySlot, YearZone, check_calendar, is_day
from backend.kernel.errors import InvalidInput
from workers.profiles.modbus_settings_map import CalendarMap
from workers.protocols.errors import BadValue


def encode(place: CalendarMap, calendar: Calendar) -> tuple[list[bytes], bytes]:
    """The bytes of the day tables, in order, and of the year zones.

    Raises InvalidInput: as check_calendar; more tables, slots or zones than the meter holds; a band the
    model has not.
    """
    check_calendar(calendar)
    for what, count, most, field in (
        ("day tables", len(calendar.tables), len(place.tables), "tables"),
        ("slots a day", max(map(len, calendar.tables)), place.slots, "tables"),
        ("year zones", len(calendar.zones), place.zone_count, "zones"),
    ):
        if count > most:
            raise InvalidInput(f"{count} {what}, the meter holds {most} at most", field=field)
    tables = [_encode_table(place, slots) for slots in calendar.tables]
    return tables, _encode_zones(place, calendar.zones)


def _encode_table(place: CalendarMap, slots: Sequence[DaySlot]) -> bytes:
    triples = []
    for slot in slots:
        if slot.band not in place.bands:
            raise InvalidInput(f"the meter has no band {slot.band}", field="tables")
        code = place.first_band + place.bands.index(slot.band)
        parts = {"band": code, "minute": slot.minute % 60, "hour": slot.minute // 60}
        triples.append(bytes(parts[name] for name in place.slot))
    return b"".join(triples).ljust(3 * place.slots, b"\0")


def _encode_zones(place: CalendarMap, zones: Sequence[YearZone]) -> bytes:
    triples = []
    for zone in zones:
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
    if not 1 <= table <= len(place.tables) or not is_day(parts["month"], parts["day"]):
        raise BadValue(f"the year zones hold {entry.hex(' ')}, which is no zone of a year")
    return YearZone(month=parts["month"], day=parts["day"], table=table)
