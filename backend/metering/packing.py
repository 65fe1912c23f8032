"""Samples of one meter and UTC day as a few hundred bytes, without loss.

Layout: version 1, CRC-32 (big-endian) of the identity and the columns, zlib of the columns. Columns: how
many samples (u16), then for each register 0 (no sample has it), or 1 (all have) or 2 and a bitmap of who
has it; then the width of its steps, its first value and the steps. Instants are microseconds: `at` from
the start of the day, the other two from `at`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from uuid import UUID

from backend.kernel.band_calendar import BANDS
from backend.kernel.errors import Unavailable

from .registers import Reading

MOST = 1440  # samples of one part: one a minute
_VERSION = 1
_HEAD = struct.Struct(">BI")
_COUNT = struct.Struct("<H")
_FIRST = struct.Struct("<cq")
_US = timedelta(microseconds=1)
_COLUMNS = 16
_LONGEST = _COUNT.size + _COLUMNS * (1 + MOST // 8 + _FIRST.size + 8 * MOST)
# Steps of one width each; `a`: no steps but the values themselves, for steps too wide to be told.
_WIDTHS = ((1 << 7, "b"), (1 << 15, "h"), (1 << 31, "i"), (1 << 63, "q"))
_WHOLE = "a"

Column = Sequence[int | None]


class PackDamaged(Unavailable):
    """Packed samples whose checksum, length or form is wrong: nothing of them is believed."""

    code = "HISTORY_DAMAGED"


def pack(readings: Sequence[Reading], *, group_id: int, meter_id: UUID, day: date) -> bytes:
    """Pack 1 to `MOST` readings of `meter_id` within the UTC `day`, in any order.

    Raises ValueError for more, none, or one of another day.
    """
    if not 1 <= len(readings) <= MOST:
        raise ValueError(f"a part holds 1 to {MOST} samples")
    start = _start(day)
    rows = sorted(readings, key=lambda reading: reading.at)
    if rows[0].at < start or rows[-1].at >= start + timedelta(days=1):
        raise ValueError("a sample of another day")
    columns = _COUNT.pack(len(rows)) + b"".join(map(_packed, _columns(rows, start)))
    seal = zlib.crc32(_identity(group_id, meter_id, day) + columns)
    return _HEAD.pack(_VERSION, seal) + zlib.compress(columns, 6)


def unpack(packed: bytes, *, group_id: int, meter_id: UUID, day: date) -> list[Reading]:
    """The readings in the order of their instants. Raises PackDamaged; never takes more memory than
    `MOST` samples need, whatever `packed` is."""
    try:
        version, seal = _HEAD.unpack_from(packed)
        inflater = zlib.decompressobj()
        columns = inflater.decompress(packed[_HEAD.size :], _LONGEST)
    except (struct.error, zlib.error) as error:
        raise PackDamaged("packed samples cannot be read") from error
    whole = inflater.eof and not inflater.unused_data
    right = zlib.crc32(_identity(group_id, meter_id, day) + columns) == seal
    if version != _VERSION or not whole or not right:
        raise PackDamaged("packed samples are not what was stored")
    try:
        return list(_readings(columns, meter_id, _start(day)))
    except (struct.error, IndexError, KeyError, OverflowError) as error:
        raise PackDamaged("packed samples have a wrong form") from error


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _identity(group_id: int, meter_id: UUID, day: date) -> bytes:
    """So that the samples of one meter and day cannot be taken for those of another."""
    return struct.pack(">q16sI", group_id, meter_id.bytes, day.toordinal())


def _columns(rows: Sequence[Reading], start: datetime) -> Iterator[Column]:
    yield [(row.at - start) // _US for row in rows]
    yield [(row.received_at - row.at) // _US for row in rows]
    yield [None if row.meter_clock is None else (row.meter_clock - row.at) // _US for row in rows]
    yield [row.total for row in rows]
    for band in BANDS:
        yield [row.bands.get(band) for row in rows]
    yield [row.cold_wh for row in rows]
    yield [row.remaining_hao for row in rows]
    yield [row.purchase_no for row in rows]
    yield [None if row.relay_closed is None else int(row.relay_closed) for row in rows]
    yield [row.voltage_mv for row in rows]
    yield [row.current_ma for row in rows]
    yield [row.power_w for row in rows]


def _packed(column: Column) -> bytes:
    values = [value for value in column if value is not None]
    if not values:
        return b"\0"
    head = b"\1"
    if len(values) < len(column):
        bits = sum(1 << place for place, value in enumerate(column) if value is not None)
        head = b"\2" + bits.to_bytes((len(column) + 7) // 8, "little")
    steps = [after - before for before, after in pairwise(values)]
    widest = max(map(abs, steps), default=0)
    for limit, width in _WIDTHS:
        if widest < limit:
            body = struct.pack(f"<{len(steps)}{width}", *steps)
            break
    else:
        width, body = _WHOLE, struct.pack(f"<{len(steps)}q", *values[1:])
    return head + _FIRST.pack(width.encode(), values[0]) + body


def _unpacked(columns: bytes, place: int, count: int) -> tuple[Column, int]:
    """One column and the place after it."""
    kind, place = columns[place], place + 1
    if kind == 0:
        return [None] * count, place
    held, bits = count, -1
    if kind == 2:
        end = place + (count + 7) // 8
        bits = int.from_bytes(columns[place:end], "little")
        held, place = bits.bit_count(), end
    letter, first = _FIRST.unpack_from(columns, place)
    width = letter.decode("latin-1")
    body = struct.Struct(f"<{held - 1}{'q' if width == _WHOLE else width}")
    steps = body.unpack_from(columns, place + _FIRST.size)
    values = [first, *steps]
    if width != _WHOLE:
        for number in range(1, held):
            values[number] += values[number - 1]
    place += _FIRST.size + body.size
    if kind == 1:
        return values, place
    left = iter(values)
    return [next(left) if bits >> number & 1 else None for number in range(count)], place


def _readings(columns: bytes, meter_id: UUID, start: datetime) -> Iterator[Reading]:
    (count,) = _COUNT.unpack_from(columns)
    place, found = _COUNT.size, []
    for _ in range(_COLUMNS):
        column, place = _unpacked(columns, place, count)
        found.append(column)
    for row in zip(*found, strict=True):
        at = start + timedelta(microseconds=row[0])
        bands: Mapping[str, int] = {
            name: value for name, value in zip(BANDS, row[4:9], strict=True) if value is not None
        }
        yield Reading(
            meter_id=meter_id,
            at=at,
            received_at=at + timedelta(microseconds=row[1]),
            meter_clock=None if row[2] is None else at + timedelta(microseconds=row[2]),
            total=row[3],
            bands=bands,
            cold_wh=row[9],
            remaining_hao=row[10],
            purchase_no=row[11],
            relay_closed=None if row[12] is None else bool(row[12]),
            voltage_mv=row[13],
            current_ma=row[14],
            power_w=row[15],
        )
