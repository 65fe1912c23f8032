"""The clock of a DL/T 645 meter: China local time, in one item or as a date and a time."""

from __future__ import annotations

from datetime import datetime, timedelta

from backend.kernel.clock import CHINA, utc
from backend.kernel.errors import Unavailable
from workers.profiles.dlt645_map import ClockItems
from workers.protocols.dlt645_values import decode_date, decode_time, encode_date, encode_time
from workers.protocols.errors import FrameError

from .dlt645_line import Dlt645Line

_TIME_SIZE = 3  # ss mm hh, and in one item WW DD MM YY behind it
_NEAR_MIDNIGHT = timedelta(minutes=2)


async def read_clock(line: Dlt645Line, place: ClockItems) -> tuple[datetime | None, bytes]:
    """The meter's time as an instant in UTC (None when it is not a date, or it has none), and the
    bytes read. Raises LinkDown, NoAnswer, FrameError, MeterRefused."""
    parts: list[bytes] = []
    for di in place.items:
        part = await line.read_if_any(di)
        if part is None:
            return None, b"".join(parts)
        parts.append(part)
    if len(parts) == 1:
        time, date = parts[0][:_TIME_SIZE], parts[0][_TIME_SIZE:]
    else:
        date, time = parts
        if time[1:] == bytes(2):
            # Within the first minute of a day the date may be yesterday's: it was read before.
            date = parts[0] = await line.read(place.items[0])
    return _instant(date, time), b"".join(parts)


async def write_clock(line: Dlt645Line, place: ClockItems, now: datetime, *, level: int) -> None:
    """Set the clock of this meter (never of all: a broadcast is believed by every meter in reach).

    Raises Unavailable within two minutes of midnight when date and time are two writes (between
    them the day may change, and the clock would be a day off), and as Dlt645Line.write."""
    local = utc(now).astimezone(CHINA)
    date = encode_date(local.date().isoformat(), weekday=local.isoweekday() % 7)
    time = encode_time(f"{local:%H:%M:%S}")
    if len(place.items) == 1:
        await line.write(place.items[0], time + date, level=level)
        return
    if (local + _NEAR_MIDNIGHT).date() != (local - _NEAR_MIDNIGHT).date():
        raise Unavailable("so near to midnight a clock of two parts is not set: try again later")
    for di, data in zip(place.items, (date, time), strict=True):
        await line.write(di, data, level=level)


def _instant(date: bytes, time: bytes) -> datetime | None:
    try:
        day, _ = decode_date(date)
        local = datetime.fromisoformat(f"{day} {decode_time(time)}").replace(tzinfo=CHINA)
    except (FrameError, ValueError):
        return None  # never set, or lost with its battery: the reading counts all the same (C24)
    return utc(local)
