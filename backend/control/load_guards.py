"""Load guards as rows: what circuits may draw, and each time that one was locked for it (A24, C21).

A running trip is marked at its meter's supply too, so that a decision sees it with the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .load_rules import LoadGuard
from .supply_rules import SafetyLock
from .timetable_rules import check_name

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class KeptGuard:
    """A load guard of a project."""

    id: UUID
    project_id: UUID
    name: str
    guard: LoadGuard


@dataclass(frozen=True, slots=True)
class SafetyTrip:
    """A circuit that was locked for its load. `restore_at` None: until an operator unlocks it; `day`: of the
    project's zone; `ended_by`: who, or what, ended it."""

    id: UUID
    project_id: UUID
    meter_id: UUID
    kind: SafetyLock
    day: date
    tripped_at: datetime
    restore_at: datetime | None
    detail: Mapping[str, str]
    ended_at: datetime | None
    ended_by: str | None
    note: str | None


def _guard_of(row: Row) -> KeptGuard:
    guard = LoadGuard(
        most_w=row["most_w"],
        step_w=row["step_w"],
        factor_permille=row["factor_permille"],
        allowed=tuple((low, high) for low, high in row["allowed"]),
        restore=timedelta(minutes=row["restore_minutes"]),
        trips_a_day=row["trips_a_day"],
    )
    return KeptGuard(row["id"], row["project_id"], row["name"], guard)


async def save_guard(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    name: str,
    guard: LoadGuard,
    at: datetime,
) -> KeptGuard:
    """Make a guard (as `guard_of` checked it), or change the one of that name.

    Raises NotFound, Forbidden, InvalidInput (the name).
    """
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_CONTROL, project_id)
    told = check_name(name)
    row = await work.fetchrow(
        "INSERT INTO control_load_guard (group_id, id, project_id, name, most_w, step_w,"
        " factor_permille, allowed, restore_minutes, trips_a_day)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (group_id, project_id, name) DO UPDATE SET most_w = EXCLUDED.most_w,"
        " step_w = EXCLUDED.step_w, factor_permille = EXCLUDED.factor_permille,"
        " allowed = EXCLUDED.allowed, restore_minutes = EXCLUDED.restore_minutes,"
        " trips_a_day = EXCLUDED.trips_a_day RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        told,
        guard.most_w,
        guard.step_w,
        guard.factor_permille,
        [list(each) for each in guard.allowed],
        guard.restore // _MINUTE,
        guard.trips_a_day,
    )
    assert row is not None, "an upsert returns its row"
    await record(
        work,
        actor=scope.actor,
        action="load:guard:save",
        subject=str(row["id"]),
        at=at,
        project_id=project_id,
        after={
            "name": told,
            "mostW": guard.most_w,
            "stepW": guard.step_w,
            "factorPermille": guard.factor_permille,
            "allowed": ", ".join(f"{low}-{high}" for low, high in guard.allowed),
            "restoreMinutes": guard.restore // _MINUTE,
            "tripsADay": guard.trips_a_day,
        },
    )
    return _guard_of(row)


async def guard(work: UnitOfWork, *, scope: Scope, guard_id: UUID) -> KeptGuard:
    """One guard. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM control_load_guard WHERE group_id = $1 AND id = $2", work.group_id, guard_id
    )
    if row is None or not scope.may(Permission.METER_READ, row["project_id"]):
        raise NotFound("no such load guard")
    return _guard_of(row)


async def guards_of_project(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> list[KeptGuard]:
    """The guards of a project, by name. Raises NotFound, Forbidden."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT * FROM control_load_guard WHERE group_id = $1 AND project_id = $2 ORDER BY name",
        work.group_id,
        project_id,
    )
    return [_guard_of(row) for row in rows]


async def guards_of_meters(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, KeptGuard]:
    """The guard of each of the meters that is under one: one statement."""
    rows = await work.fetch(
        "SELECT s.meter_id, g.* FROM control_supply s JOIN control_load_guard g"
        " ON g.group_id = s.group_id AND g.id = s.guard_id"
        " WHERE s.group_id = $1 AND s.meter_id = ANY($2)",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: _guard_of(row) for row in rows}


async def put_under(
    work: UnitOfWork,
    *,
    project_id: UUID,
    meter_ids: Sequence[UUID],
    guard_id: UUID | None,
    at: datetime,
) -> None:
    """Let a guard look at meters of a project from now on, or none. What was read before is not looked at."""
    await work.execute(
        "INSERT INTO control_supply (group_id, project_id, meter_id, guard_id, load_seen_at)"
        " SELECT $1, $2, m, $4, $5 FROM unnest($3::uuid[]) AS m ORDER BY m"
        " ON CONFLICT (group_id, meter_id) DO UPDATE SET guard_id = EXCLUDED.guard_id,"
        " load_seen_at = EXCLUDED.load_seen_at",
        work.group_id,
        project_id,
        list(meter_ids),
        guard_id,
        at,
    )


class Guarded(NamedTuple):
    """A meter under a guard, with the instant of the reading that was looked at last."""

    meter_id: UUID
    project_id: UUID
    guard: LoadGuard
    seen_at: datetime


async def guarded_meters(work: UnitOfWork) -> dict[UUID, datetime]:
    """The meters under a guard whose circuits are not locked, each with the instant of the reading that was
    looked at last."""
    rows = await work.fetch(
        "SELECT meter_id, load_seen_at FROM control_supply WHERE group_id = $1"
        " AND guard_id IS NOT NULL AND safety IS NULL",
        work.group_id,
    )
    return {row["meter_id"]: row["load_seen_at"] for row in rows}


async def lock_guarded(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> list[Guarded]:
    """Those of the meters that are under a guard and not locked, held until commit; what another holds just
    now is left to the next look."""
    rows = await work.fetch(
        "SELECT s.meter_id, s.load_seen_at, g.* FROM control_supply s JOIN control_load_guard g"
        " ON g.group_id = s.group_id AND g.id = s.guard_id WHERE s.group_id = $1"
        " AND s.safety IS NULL AND s.meter_id = ANY($2)"
        " ORDER BY s.meter_id FOR UPDATE OF s SKIP LOCKED",
        work.group_id,
        list(meter_ids),
    )
    return [
        Guarded(row["meter_id"], row["project_id"], _guard_of(row).guard, row["load_seen_at"])
        for row in rows
    ]


async def note_seen(work: UnitOfWork, *, seen: Mapping[UUID, datetime]) -> None:
    """Up to which reading loads were looked at. The caller holds the rows."""
    await work.execute(
        "UPDATE control_supply s SET load_seen_at = n.at"
        " FROM unnest($2::uuid[], $3::timestamptz[]) AS n(meter_id, at)"
        " WHERE s.group_id = $1 AND s.meter_id = n.meter_id",
        work.group_id,
        list(seen),
        list(seen.values()),
    )


async def trips_of_day(work: UnitOfWork, *, meter_id: UUID, day: date) -> int:
    """How often a circuit was locked on a day."""
    trips: int = await work.fetchval(
        "SELECT count(*) FROM control_safety_trip WHERE group_id = $1 AND meter_id = $2 AND day = $3",
        work.group_id,
        meter_id,
        day,
    )
    return trips


async def lock_circuit(
    work: UnitOfWork,
    *,
    meter: Guarded,
    kind: SafetyLock,
    detail: Mapping[str, str],
    day: date,
    restore_at: datetime | None,
    at: datetime,
) -> SafetyTrip:
    """Lock a circuit open: its next decision trips it. The caller holds its row and has seen that it is not
    locked."""
    row = await work.fetchrow(
        "INSERT INTO control_safety_trip (group_id, id, project_id, meter_id, kind, day, tripped_at,"
        " restore_at, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *",
        work.group_id,
        uuid7(at),
        meter.project_id,
        meter.meter_id,
        kind,
        day,
        at,
        restore_at,
        dict(detail),
    )
    assert row is not None, "an insert returns its row"
    await work.execute(
        "UPDATE control_supply SET safety = $3 WHERE group_id = $1 AND meter_id = $2",
        work.group_id,
        meter.meter_id,
        kind,
    )
    return _trip_of(row)


async def lock_due(work: UnitOfWork, *, at: datetime, limit: int) -> list[SafetyTrip]:
    """Running trips whose power comes back by itself by now, held until commit with their supplies."""
    rows = await work.fetch(
        "SELECT t.* FROM control_safety_trip t JOIN control_supply s ON s.group_id = t.group_id"
        " AND s.meter_id = t.meter_id WHERE t.group_id = $1 AND t.ended_at IS NULL"
        " AND t.restore_at <= $2 ORDER BY t.meter_id LIMIT $3 FOR UPDATE SKIP LOCKED",
        work.group_id,
        at,
        limit,
    )
    return [_trip_of(row) for row in rows]


async def lock_running(work: UnitOfWork, *, meter_id: UUID) -> SafetyTrip | None:
    """The running trip of a circuit, held until commit; None when it is not locked."""
    row = await work.fetchrow(
        "SELECT t.* FROM control_supply s JOIN control_safety_trip t ON t.group_id = s.group_id"
        " AND t.meter_id = s.meter_id AND t.ended_at IS NULL"
        " WHERE s.group_id = $1 AND s.meter_id = $2 FOR UPDATE",
        work.group_id,
        meter_id,
    )
    return None if row is None else _trip_of(row)


async def running_trips(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, SafetyTrip]:
    """The running trip of each of the meters that is locked: one statement."""
    rows = await work.fetch(
        "SELECT * FROM control_safety_trip WHERE group_id = $1 AND meter_id = ANY($2)"
        " AND ended_at IS NULL",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: _trip_of(row) for row in rows}


async def end_trips(
    work: UnitOfWork, *, trips: Sequence[SafetyTrip], by: str, note: str, at: datetime
) -> None:
    """End trips: what else is wanted of the supplies decides again. What was read before `at` is not looked
    at any more. The caller holds the rows."""
    await work.execute(
        "UPDATE control_safety_trip SET ended_at = $3, ended_by = $4, note = $5"
        " WHERE group_id = $1 AND id = ANY($2)",
        work.group_id,
        [each.id for each in trips],
        at,
        by,
        note,
    )
    await work.execute(
        "UPDATE control_supply SET safety = NULL, load_seen_at = $3"
        " WHERE group_id = $1 AND meter_id = ANY($2)",
        work.group_id,
        [each.meter_id for each in trips],
        at,
    )


async def trips_of_project(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, running: bool, limit: int
) -> list[SafetyTrip]:
    """The newest trips of a project; `running`: only those that are not over. Raises NotFound, Forbidden."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT * FROM control_safety_trip WHERE group_id = $1 AND project_id = $2"
        " AND (NOT $3 OR ended_at IS NULL) ORDER BY id DESC LIMIT $4",
        work.group_id,
        project_id,
        running,
        limit,
    )
    return [_trip_of(row) for row in rows]


def _trip_of(row: Row) -> SafetyTrip:
    return SafetyTrip(
        id=row["id"],
        project_id=row["project_id"],
        meter_id=row["meter_id"],
        kind=SafetyLock(row["kind"]),
        day=row["day"],
        tripped_at=row["tripped_at"],
        restore_at=row["restore_at"],
        detail=row["detail"],
        ended_at=row["ended_at"],
        ended_by=row["ended_by"],
        note=row["note"],
    )
