"""Meters as a decision over their supply needs them: what was seen of each and whom it serves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .rules import CreditMode


class SuppliedMeter(NamedTuple):
    """`profile`: the name of its model. `read_at`, `received_at`, `relay_closed`: of its latest reading, None
    before the first; `period`: of its sweep. `assignment_id`, `account_id`: whom it serves, None when
    nobody."""

    id: UUID
    project_id: UUID
    gateway_id: UUID
    profile: str
    credit_mode: CreditMode
    period: timedelta
    read_at: datetime | None
    received_at: datetime | None
    relay_closed: bool | None
    assignment_id: UUID | None
    account_id: UUID | None


async def supplied_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID]
) -> dict[UUID, SuppliedMeter]:
    """Those of the meters that are in service by one statement: not removed, and not being taken down,
    for then the takedown alone decides over the relay."""
    rows = await work.fetch(
        "SELECT m.id, m.project_id, m.gateway_id, m.profile, m.credit_mode, p.sweep_minutes, l.at,"
        " l.received_at, l.relay, a.id, a.account_id"
        " FROM metering_meter m"
        " JOIN tenancy_project p ON p.group_id = m.group_id AND p.id = m.project_id"
        " LEFT JOIN LATERAL (SELECT at, received_at, relay FROM metering_latest"
        "  WHERE group_id = $1 AND meter_id = m.id OFFSET 0) l ON true"
        " LEFT JOIN metering_assignment a"
        "  ON a.group_id = m.group_id AND a.meter_id = m.id AND a.ended_at IS NULL"
        " WHERE m.group_id = $1 AND m.id = ANY($2) AND m.removed_at IS NULL"
        "  AND NOT EXISTS (SELECT FROM metering_takedown t WHERE t.group_id = $1"
        "   AND t.meter_id = m.id AND t.finished_at IS NULL)",
        work.group_id,
        list(meter_ids),
    )
    return {
        row[0]: SuppliedMeter(
            row[0],
            row[1],
            row[2],
            row[3],
            CreditMode(row[4]),
            timedelta(minutes=row[5]),
            row[6],
            row[7],
            None if row[8] is None else bool(row[8]),
            row[9],
            row[10],
        )
        for row in rows
    }


async def meters_that_serve(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Those of the meters that serve an account now."""
    rows = await work.fetch(
        "SELECT meter_id FROM metering_assignment"
        " WHERE group_id = $1 AND meter_id = ANY($2) AND ended_at IS NULL",
        work.group_id,
        list(meter_ids),
    )
    return frozenset(row["meter_id"] for row in rows)


async def meters_in_service(work: UnitOfWork, *, project_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many meters each project has in service."""
    rows = await work.fetch(
        "SELECT p.id, count(m.id)::integer AS meters FROM unnest($2::uuid[]) AS p(id)"
        " LEFT JOIN metering_meter m ON m.group_id = $1 AND m.project_id = p.id"
        "  AND m.removed_at IS NULL GROUP BY p.id",
        work.group_id,
        list(project_ids),
    )
    return {row["id"]: row["meters"] for row in rows}
