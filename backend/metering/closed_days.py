"""Days whose raw rows are packed: a part of samples for a meter and UTC day, more for what comes late.

Nothing is rewritten: what is packed out of the raw rows and each late reading become parts of their own.
Parts of a group are written by one transaction at a time.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .packing import MOST, PackDamaged, pack, unpack
from .registers import Reading, reading_of

log = logging.getLogger(__name__)
MeterDay = tuple[UUID, date]

_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('metering closed days', $1))"
_ADD = (
    "INSERT INTO metering_packed (group_id, meter_id, day, part, late, samples, packed)"
    " SELECT $1, meter_id, day, part, $2, samples, packed FROM"
    " unnest($3::uuid[], $4::date[], $5::smallint[], $6::smallint[], $7::bytea[])"
    " AS p(meter_id, day, part, samples, packed)"
)
_PARTS = (
    "SELECT p.meter_id, p.day, p.part, p.late, p.samples, p.packed"
    " FROM unnest($2::uuid[], $3::date[]) AS k(meter_id, day) JOIN metering_packed p"
    " ON p.group_id = $1 AND p.meter_id = k.meter_id AND p.day = k.day"
)


async def store_late(work: UnitOfWork, *, readings: Sequence[Reading]) -> int:
    """Pack readings of closed days beside what is there; returns how many were new.

    Each (meter, instant) comes once. What was stored before stays as it is (C24).
    """
    await work.execute(_ONE_AT_A_TIME, work.group_id)
    days = _by_meter_day(readings)
    for month in {day.replace(day=1) for _, day in days}:
        await work.execute("SELECT metering_ensure_month($1)", month)
    held = await _held(work, days)
    raw = await work.fetch(
        "SELECT r.meter_id, r.at FROM unnest($2::uuid[], $3::timestamptz[]) AS k(meter_id, at)"
        " JOIN metering_reading r ON r.group_id = $1 AND r.meter_id = k.meter_id AND r.at = k.at",
        work.group_id,
        [reading.meter_id for reading in readings],
        [reading.at for reading in readings],
    )
    stored = {(row["meter_id"], row["at"]) for row in raw}
    new = {
        (meter_id, day): [
            reading
            for reading in found
            if reading.at not in held[meter_id, day].instants
            and (meter_id, reading.at) not in stored
        ]
        for (meter_id, day), found in days.items()
    }
    return await _add(work, new, held, late=True)


async def pack_raw(work: UnitOfWork, *, day: date, meter_ids: Sequence[UUID]) -> int:
    """Pack the raw rows of a UTC day that are not packed yet; returns how many. Doing it again, or
    after a crash, packs what is left."""
    await work.execute(_ONE_AT_A_TIME, work.group_id)
    start = datetime.combine(day, time(), UTC)
    rows = await work.fetch(
        "WITH raw AS (SELECT meter_id, count(*) AS n FROM metering_reading WHERE group_id = $1"
        "   AND meter_id = ANY($2) AND at >= $3 AND at < $4 GROUP BY meter_id),"
        " held AS (SELECT meter_id, sum(samples) AS n FROM metering_packed WHERE group_id = $1"
        "   AND meter_id = ANY($2) AND day = $5 AND NOT late GROUP BY meter_id)"
        " SELECT r.* FROM raw LEFT JOIN held USING (meter_id) JOIN metering_reading r"
        "   ON r.group_id = $1 AND r.meter_id = raw.meter_id AND r.at >= $3 AND r.at < $4"
        " WHERE held.n IS DISTINCT FROM raw.n",
        work.group_id,
        list(meter_ids),
        start,
        start + timedelta(days=1),
        day,
    )
    days = _by_meter_day([reading_of(row) for row in rows])
    if not days:
        return 0
    await work.execute("SELECT metering_ensure_month($1)", day)
    held = await _held(work, days)
    new = {
        key: [reading for reading in found if reading.at not in held[key].of_raw]
        for key, found in days.items()
    }
    return await _add(work, new, held, late=False)


class _Held:
    """What is packed of a meter and day: the instants in all parts, and in those of the raw rows."""

    def __init__(self) -> None:
        self.last_part = 0
        self.instants: set[datetime] = set()
        self.of_raw: set[datetime] = set()


async def _held(work: UnitOfWork, days: Iterable[MeterDay]) -> Mapping[MeterDay, _Held]:
    keys = list(days)
    rows = await work.fetch(
        _PARTS, work.group_id, [meter_id for meter_id, _ in keys], [day for _, day in keys]
    )
    found: dict[MeterDay, _Held] = defaultdict(_Held)
    for row in rows:
        meter_id, day = row["meter_id"], row["day"]
        held = found[meter_id, day]
        held.last_part = max(held.last_part, row["part"])
        try:
            readings = unpack(row["packed"], group_id=work.group_id, meter_id=meter_id, day=day)
        except PackDamaged:
            # What comes in must be stored all the same: it may be just what was damaged.
            log.error("packed samples are damaged", extra={"fields": {"meter": str(meter_id)}})
            continue
        held.instants.update(reading.at for reading in readings)
        if not row["late"]:
            held.of_raw.update(reading.at for reading in readings)
    return found


async def _add(
    work: UnitOfWork,
    new: Mapping[MeterDay, Sequence[Reading]],
    held: Mapping[MeterDay, _Held],
    *,
    late: bool,
) -> int:
    parts = _packed(new, held, work.group_id)
    if parts:
        await work.execute(_ADD, work.group_id, late, *map(list, zip(*parts, strict=True)))
    return sum(count for _, _, _, count, _ in parts)


def _packed(
    new: Mapping[MeterDay, Sequence[Reading]], held: Mapping[MeterDay, _Held], group_id: int
) -> list[tuple[UUID, date, int, int, bytes]]:
    """Rows of metering_packed: meter, day, part, samples, the samples packed."""
    parts: list[tuple[UUID, date, int, int, bytes]] = []
    for (meter_id, day), readings in new.items():
        first = held[meter_id, day].last_part + 1
        for part, place in enumerate(range(0, len(readings), MOST), first):
            some = readings[place : place + MOST]
            packed = pack(some, group_id=group_id, meter_id=meter_id, day=day)
            parts.append((meter_id, day, part, len(some), packed))
    return parts


def _by_meter_day(readings: Iterable[Reading]) -> Mapping[MeterDay, list[Reading]]:
    found: dict[MeterDay, list[Reading]] = defaultdict(list)
    for reading in readings:
        found[reading.meter_id, reading.at.date()].append(reading)
    return found
