"""Which meters are proved of a night: those that hold money, with the assignment they serve (C11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .rules import MeterKind


@dataclass(frozen=True, slots=True)
class Served:
    """A meter that holds money and the running assignment it serves."""

    meter_id: UUID
    kind: MeterKind
    assignment_id: UUID
    account_id: UUID
    counter_epoch: int
    started_at: datetime
    opening_total: int
    opening_purchase_no: int
    opening_remaining_hao: int | None


_SERVED = (
    "SELECT a.meter_id, m.kind, a.id, a.account_id, a.counter_epoch, a.started_at,"
    " a.opening_total, a.opening_purchase_no, a.opening_remaining_hao"
    " FROM metering_assignment a"
    " JOIN metering_meter m ON m.group_id = a.group_id AND m.id = a.meter_id"
    " WHERE a.group_id = $1 AND a.ended_at IS NULL AND m.credit_mode = 'METER'"
    " AND a.project_id = $2 AND a.started_at < $3"
    " AND ($4::uuid IS NULL OR a.meter_id > $4) ORDER BY a.meter_id LIMIT $5"
)


async def served_meters(
    work: UnitOfWork, *, project_id: UUID, until: datetime, after: UUID | None, limit: int
) -> list[Served]:
    """The meters of a project that hold money and began to serve before `until`, by id, those after
    `after` (keyset)."""
    rows = await work.fetch(
        _SERVED,
        work.group_id,
        project_id,
        until,
        after,
        limit,
    )
    return [_served(row) for row in rows]


async def still_served(work: UnitOfWork, *, assignment_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the assignments that have not ended."""
    rows = await work.fetch(
        "SELECT id FROM metering_assignment WHERE group_id = $1 AND id = ANY($2)"
        " AND ended_at IS NULL",
        work.group_id,
        list(assignment_ids),
    )
    return {row["id"] for row in rows}


def _served(row: Row) -> Served:
    return Served(
        meter_id=row["meter_id"],
        kind=MeterKind(row["kind"]),
        assignment_id=row["id"],
        account_id=row["account_id"],
        counter_epoch=row["counter_epoch"],
        started_at=row["started_at"],
        opening_total=row["opening_total"],
        opening_purchase_no=row["opening_purchase_no"],
        opening_remaining_hao=row["opening_remaining_hao"],
    )
