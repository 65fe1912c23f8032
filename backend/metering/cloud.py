"""Reads for charging: assignments of meters whose money the cloud holds, and their readings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .rules import MeterKind


class CloudAssignment(NamedTuple):
    """An assignment of a meter whose money the cloud holds, with its project's zone; see MeterAssignment."""

    id: UUID
    project_id: UUID
    account_id: UUID
    meter_id: UUID
    kind: MeterKind
    started_at: datetime
    ended_at: datetime | None
    opening_total: int
    closing_total: int | None
    time_zone: str


_CLOUD = (
    "SELECT a.id, a.project_id, a.account_id, a.meter_id, m.kind, a.started_at, a.ended_at,"
    " a.opening_total, a.closing_total, p.time_zone FROM metering_assignment a"
    " JOIN metering_meter m ON m.group_id = a.group_id AND m.id = a.meter_id"
    " JOIN tenancy_project p ON p.group_id = a.group_id AND p.id = a.project_id"
    " WHERE a.group_id = $1 AND m.credit_mode = 'CLOUD'"
)


async def cloud_assignments(
    work: UnitOfWork, *, meter_ids: Sequence[UUID] = (), account_ids: Sequence[UUID] = ()
) -> list[CloudAssignment]:
    """The assignments, running and ended, of CLOUD meters: of these meters, or of these accounts."""
    rows = await work.fetch(
        f"{_CLOUD} AND (a.meter_id = ANY($2) OR a.account_id = ANY($3))",
        work.group_id,
        list(meter_ids),
        list(account_ids),
    )
    return [CloudAssignment._make((*row[:4], MeterKind(row[4]), *row[5:])) for row in rows]


async def readings_after(
    work: UnitOfWork, *, meters: Sequence[tuple[UUID, datetime]], limit: int
) -> dict[UUID, list[Row]]:
    """The raw rows of each meter after an instant, oldest first, at most `limit` of each: registers only
    (`at`, `total` and the bands)."""
    rows = await work.fetch(
        "SELECT r.* FROM unnest($2::uuid[], $3::timestamptz[]) AS k(id, after) CROSS JOIN LATERAL"
        " (SELECT meter_id, at, total, spike_wh, peak_wh, flat_wh, valley_wh, deep_wh"
        "   FROM metering_reading WHERE group_id = $1 AND meter_id = k.id AND at > k.after"
        "   ORDER BY at LIMIT $4) AS r",
        work.group_id,
        [meter_id for meter_id, _ in meters],
        [after for _, after in meters],
        limit,
    )
    found: dict[UUID, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


async def packed_after(work: UnitOfWork, *, meters: Sequence[tuple[UUID, date]]) -> frozenset[UUID]:
    """Those of the meters that have packed readings of days after a UTC day: raw rows do not tell all."""
    rows = await work.fetch(
        "SELECT k.id FROM unnest($2::uuid[], $3::date[]) AS k(id, day) WHERE EXISTS ("
        " SELECT FROM metering_packed WHERE group_id = $1 AND meter_id = k.id AND day > k.day)",
        work.group_id,
        [meter_id for meter_id, _ in meters],
        [day for _, day in meters],
    )
    return frozenset(row["id"] for row in rows)
