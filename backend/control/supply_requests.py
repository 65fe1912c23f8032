"""What needs a second operator: to end a protection, to trip in an emergency (C23, C30)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Actor, Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission


class RequestKind(StrEnum):
    """END_PROTECTION: take a meter off the protected list. EMERGENCY_TRIP: open its relay whatever stands
    in the way, until the emergency is ended."""

    END_PROTECTION = "END_PROTECTION"
    EMERGENCY_TRIP = "EMERGENCY_TRIP"


class RequestState(StrEnum):
    """OPEN waits for a second operator. What expired stays OPEN and can be ruled no more."""

    OPEN = "OPEN"
    APPROVED = "APPROVED"
    REFUSED = "REFUSED"


# An emergency is now; who must be found to end a protection may be at home.
LIFE = {
    RequestKind.EMERGENCY_TRIP: timedelta(minutes=30),
    RequestKind.END_PROTECTION: timedelta(days=3),
}


@dataclass(frozen=True, slots=True)
class SupplyRequest:
    """双人确认: asked by one operator, ruled by another."""

    id: UUID
    project_id: UUID
    meter_id: UUID
    kind: RequestKind
    reason: str
    asked_by: str
    asked_name: str
    asked_at: datetime
    expires_at: datetime
    state: RequestState
    ruled_name: str | None
    ruled_at: datetime | None


def _request_of(row: Row) -> SupplyRequest:
    return SupplyRequest(
        id=row["id"],
        project_id=row["project_id"],
        meter_id=row["meter_id"],
        kind=RequestKind(row["kind"]),
        reason=row["reason"],
        asked_by=row["asked_by"],
        asked_name=row["asked_name"],
        asked_at=row["asked_at"],
        expires_at=row["expires_at"],
        state=RequestState(row["state"]),
        ruled_name=row["ruled_name"],
        ruled_at=row["ruled_at"],
    )


async def add_request(
    work: UnitOfWork,
    *,
    project_id: UUID,
    meter_id: UUID,
    kind: RequestKind,
    reason: str,
    actor: Actor,
    at: datetime,
) -> SupplyRequest:
    """Ask for a second operator's word."""
    row = await work.fetchrow(
        "INSERT INTO control_request (group_id, id, project_id, meter_id, kind, reason, asked_by,"
        " asked_name, asked_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        meter_id,
        kind,
        reason,
        actor.id,
        actor.name,
        at,
        at + LIFE[kind],
    )
    assert row is not None, "an insert returns its row"
    return _request_of(row)


async def lock_request(work: UnitOfWork, *, scope: Scope, request_id: UUID) -> SupplyRequest:
    """As `request`, locked until commit. Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM control_request WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        request_id,
    )
    return _seen(scope, row)


def _seen(scope: Scope, row: Row | None) -> SupplyRequest:
    if row is None or not scope.may(Permission.METER_READ, row["project_id"]):
        raise NotFound("no such supplyrequest")
    return _request_of(row)


async def rule_request(
    work: UnitOfWork, *, request_id: UUID, approved: bool, actor: Actor, at: datetime
) -> SupplyRequest:
    """Keep what the second operator said. The caller holds the row and has checked it."""
    row = await work.fetchrow(
        "UPDATE control_request SET state = $3, ruled_by = $4, ruled_name = $5, ruled_at = $6"
        " WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        request_id,
        RequestState.APPROVED if approved else RequestState.REFUSED,
        actor.id,
        actor.name,
        at,
    )
    assert row is not None, "its row is locked"
    return _request_of(row)


async def request(work: UnitOfWork, *, scope: Scope, request_id: UUID) -> SupplyRequest:
    """One request for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM control_request WHERE group_id = $1 AND id = $2", work.group_id, request_id
    )
    return _seen(scope, row)


async def requests_of_project(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, limit: int
) -> list[SupplyRequest]:
    """The newest requests of a project. Raises NotFound where the caller may not read (C29)."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT * FROM control_request WHERE group_id = $1 AND project_id = $2"
        " ORDER BY id DESC LIMIT $3",
        work.group_id,
        project_id,
        limit,
    )
    return [_request_of(row) for row in rows]
