"""The history of readings: raw rows and packed days seen as one, newest first.

Raw rows are asked for first and packed parts after them: a raw row goes only after it was packed, so what
the first question misses the second one finds, and what both find is shown once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from uuid import UUID

from backend.kernel.clock import Period
from backend.kernel.db import Row, UnitOfWork

from .packing import PackDamaged, unpack
from .registers import Reading, reading_of

_US = timedelta(microseconds=1)
_NEVER = datetime(9999, 12, 31, tzinfo=UTC)
_EVER = datetime(2000, 1, 1, tzinfo=UTC)
_RAW = (
    "SELECT r.* FROM unnest($2::uuid[]) AS k(id) CROSS JOIN LATERAL"
    " (SELECT * FROM metering_reading WHERE group_id = $1 AND meter_id = k.id"
    "   AND at >= $3 AND at < $4 ORDER BY at DESC LIMIT $5) AS r"
)
# Parts of the newest days until they hold enough: `newer` counts the samples of later days of which we
# know that they lie inside the period ($4 is the last day, which its end may cut) and are no repeats.
_PARTS = (
    "SELECT p.meter_id, p.day, p.part, p.late, p.packed"
    " FROM unnest($2::uuid[], $3::date[]) AS k(id, first) CROSS JOIN LATERAL ("
    "   SELECT *, coalesce(sum(samples) FILTER (WHERE NOT late AND day < $4) OVER"
    "     (ORDER BY day DESC GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS newer"
    "   FROM metering_packed"
    "   WHERE group_id = $1 AND meter_id = k.id AND day >= k.first AND day <= $4) AS p"
    " WHERE p.newer < $5"
)
_FIRST_RAW = (
    "SELECT * FROM metering_reading WHERE group_id = $1 AND meter_id = $2"
    " AND at >= $3 AND at < $4 ORDER BY at LIMIT 1"
)
# The first day may lie before the period's start with all its samples, but not the second one.
_FIRST_PARTS = (
    "SELECT * FROM metering_packed WHERE group_id = $1 AND meter_id = $2 AND day = ANY(ARRAY("
    "   SELECT DISTINCT day FROM metering_packed WHERE group_id = $1 AND meter_id = $2"
    "   AND day >= $3 AND day <= $4 ORDER BY day LIMIT 2))"
)


async def readings_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], period: Period, limit: int
) -> dict[UUID, list[Reading]]:
    """At most `limit` readings of each meter in `period`, newest first, by two statements for all.

    Raises PackDamaged.
    """
    start, end = _ends(period)
    rows = await work.fetch(_RAW, work.group_id, list(meter_ids), start, end, limit)
    raw: dict[UUID, list[Reading]] = {meter_id: [] for meter_id in meter_ids}
    for row in rows:
        raw[row["meter_id"]].append(reading_of(row))
    return await with_packed(work, raw=raw, period=period, limit=limit)


async def with_packed(
    work: UnitOfWork, *, raw: Mapping[UUID, Sequence[Reading]], period: Period, limit: int
) -> dict[UUID, list[Reading]]:
    """The newest `limit` of the raw readings of each meter (at most `limit` were asked for) and of what
    is packed of it in `period`, newest first. Raises PackDamaged."""
    start, end = _ends(period)
    if end <= start:
        return {meter_id: [] for meter_id in raw}
    floors = [
        min(reading.at for reading in found).date() if len(found) >= limit else start.date()
        for found in raw.values()
    ]
    rows = await work.fetch(_PARTS, work.group_id, list(raw), floors, (end - _US).date(), limit)
    parts = _by_meter(rows)
    return {
        meter_id: _newest(found, parts[meter_id], work.group_id, Period(start, end), limit)
        for meter_id, found in raw.items()
    }


async def newest_until(work: UnitOfWork, *, meter_id: UUID, at: datetime) -> Reading | None:
    """The last reading at or before an instant. Raises PackDamaged."""
    return (await newest_of_meters(work, meter_ids=[meter_id], at=at)).get(meter_id)


async def newest_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], at: datetime
) -> dict[UUID, Reading]:
    """The last reading of each meter at or before an instant, of those that have one. Raises PackDamaged."""
    until = Period(_EVER, at + _US)
    found = await readings_of_meters(work, meter_ids=meter_ids, period=until, limit=1)
    return {meter_id: readings[0] for meter_id, readings in found.items() if readings}


async def oldest_within(work: UnitOfWork, *, meter_id: UUID, period: Period) -> Reading | None:
    """The first reading of a period. Raises PackDamaged."""
    start, end = _ends(period)
    rows = await work.fetch(_FIRST_RAW, work.group_id, meter_id, start, end)
    parts = await work.fetch(
        _FIRST_PARTS, work.group_id, meter_id, start.date(), (end - _US).date()
    )
    once = {reading.at: reading for reading in map(reading_of, rows)}
    _put(once, parts, work.group_id, Period(start, end))
    return once[min(once)] if once else None


async def packed_of_days(
    work: UnitOfWork, *, meter_ids: Sequence[UUID], first: date, last: date
) -> tuple[list[Reading], set[UUID]]:
    """What is packed of the UTC days `first` to `last`, each instant once; and the meters of which some
    is damaged."""
    rows = await work.fetch(
        "SELECT meter_id, day, part, late, packed FROM metering_packed"
        " WHERE group_id = $1 AND meter_id = ANY($2) AND day >= $3 AND day <= $4",
        work.group_id,
        list(meter_ids),
        first,
        last,
    )
    found: list[Reading] = []
    damaged: set[UUID] = set()
    for meter_id, parts in _by_meter(rows).items():
        once: dict[datetime, Reading] = {}
        try:
            _put(once, parts, work.group_id, Period(_EVER, _NEVER))
        except PackDamaged:
            damaged.add(meter_id)
        else:
            found += once.values()
    return found, damaged


def _ends(period: Period) -> tuple[datetime, datetime]:
    return period.start, _NEVER if period.end is None else period.end


def _by_meter(parts: Iterable[Row]) -> Mapping[UUID, list[Row]]:
    found: dict[UUID, list[Row]] = defaultdict(list)
    for row in parts:
        found[row["meter_id"]].append(row)
    return found


def _newest(
    raw: Iterable[Reading], parts: Iterable[Row], group_id: int, period: Period, limit: int
) -> list[Reading]:
    """The newest `limit` of both, newest first; no more days are unpacked than that needs."""
    once = {reading.at: reading for reading in raw}
    newest_day_first = sorted(parts, key=_day, reverse=True)
    for day, of_day in groupby(newest_day_first, key=_day):
        if len(once) >= limit and day < sorted(once)[-limit].date():
            break
        _put(once, of_day, group_id, period)
    return [once[at] for at in sorted(once, reverse=True)[:limit]]


def _put(
    once: dict[datetime, Reading], parts: Iterable[Row], group_id: int, period: Period
) -> None:
    """Add what is packed in parts of one meter. Of one instant that counts which was stored first: raw
    (that is there already), then packed out of raw rows, then late."""
    for row in sorted(parts, key=lambda row: (row["late"], row["part"])):
        meter_id, day = row["meter_id"], row["day"]
        for reading in unpack(row["packed"], group_id=group_id, meter_id=meter_id, day=day):
            if reading.at in period:
                once.setdefault(reading.at, reading)


def _day(row: Row) -> date:
    day: date = row["day"]
    return day
