"""Which rate band holds when, by the calendar that was written into a virtual meter.

Written from the register table, not from the drivers: a slot is three bytes band, minute, hour, a year
zone three bytes table, day, month; unused entries are zero; bands and tables count from 1.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from .load import CHINA_OFFSET_S, SLOT_S, band_of

_DAY_S = 86_400
_BANDS = 4
_FLAT = 2


@lru_cache(maxsize=8192)
def slots_of(table: bytes) -> tuple[tuple[int, int], ...]:
    """The (second of the day, band index) of a day table, rising; what is no slot is passed over."""
    found = []
    for at in range(0, len(table), 3):
        code, minute, hour = table[at : at + 3]
        if 1 <= code <= _BANDS and minute < 60 and hour < 24:
            found.append((hour * 3600 + minute * 60, code - 1))
    return tuple(sorted(found))


@lru_cache(maxsize=8192)
def table_of(zones: bytes, day: int) -> int:
    """The number of the day table that holds on day `day` since 1970 (China); 0 when none is set."""
    date = datetime.fromtimestamp(day * _DAY_S, UTC)
    entries = sorted(
        (zones[at + 2], zones[at + 1], zones[at]) for at in range(0, len(zones), 3) if zones[at]
    )
    if not entries:
        return 0
    begun = [entry for entry in entries if entry[:2] <= (date.month, date.day)]
    return (begun or entries)[-1][2]


def band_at(zones: bytes, tables: tuple[bytes, ...], second: int) -> tuple[int, int]:
    """(band index, unix second until which it holds at least) at unix second `second`.

    Without a calendar the hours of load.py hold.
    """
    until = (second // SLOT_S + 1) * SLOT_S
    day, moment = divmod(second + CHINA_OFFSET_S, _DAY_S)
    number = table_of(zones, day) if zones else 0
    slots = slots_of(tables[number - 1]) if 1 <= number <= len(tables) else ()
    if not slots:
        return band_of(second // SLOT_S), until
    band = _FLAT
    for start, index in slots:
        if start > moment:
            return band, min(until, second - moment + start)
        band = index
    return band, until
