"""Meters that hold their own money, and the accounts that they serve now."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .rules import MeterKind


class PrepaidMeter(NamedTuple):
    """A METER-mode meter that serves an account, with its project's zone."""

    id: UUID
    project_id: UUID
    profile: str
    account_id: UUID
    time_zone: str


async def prepaid_meters(
    work: UnitOfWork, *, kind: MeterKind, after: UUID | None, limit: int
) -> list[PrepaidMeter]:
    """The METER-mode meters of a kind that serve somebody, by id, those after `after`."""
    rows = await work.fetch(
        "SELECT m.id, m.project_id, m.profile, a.account_id, p.time_zone FROM metering_meter m"
        " JOIN metering_assignment a ON a.group_id = $1 AND a.meter_id = m.id"
        "   AND a.ended_at IS NULL"
        " JOIN tenancy_project p ON p.group_id = $1 AND p.id = m.project_id"
        " WHERE m.group_id = $1 AND m.credit_mode = 'METER' AND m.kind = $2"
        " AND ($3::uuid IS NULL OR m.id > $3) ORDER BY m.id LIMIT $4",
        work.group_id,
        kind,
        after,
        limit,
    )
    return [PrepaidMeter(*row) for row in rows]
