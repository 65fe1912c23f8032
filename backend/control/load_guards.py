"""Load guards as rows: what circuits may draw, and which are under them (A24, C21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .load_limits import run_by_meter
from .load_rules import LoadGuard
from .timetable_rules import check_name

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class KeptGuard:
    """A load guard of a project."""

    id: UUID
    project_id: UUID
    name: str
    guard: LoadGuard


def _guard_of(row: Row) -> KeptGuard:
    guard = LoadGuard(
        most_w=row["most_w"],
        step_w=row["step_w"],
        factor_permille=row["factor_permille"],
        allowed=tuple((low, high) for low, high in row["allowed"]),
        restore=timedelta(minutes=row["restore_minutes"]),
        trips_a_day=row["trips_a_day"],
        by_meter=row["by_meter"],
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
        " factor_permille, allowed, restore_minutes, trips_a_day, by_meter)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        " ON CONFLICT (group_id, project_id, name) DO UPDATE SET most_w = EXCLUDED.most_w,"
        " step_w = EXCLUDED.step_w, factor_permille = EXCLUDED.factor_permille,"
        " allowed = EXCLUDED.allowed, restore_minutes = EXCLUDED.restore_minutes,"
        " trips_a_day = EXCLUDED.trips_a_day, by_meter = EXCLUDED.by_meter RETURNING *",
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
        guard.by_meter,
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
            "byMeter": guard.by_meter,
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


async def guards_by_meter(work: UnitOfWork) -> dict[UUID, KeptGuard]:
    """The guards of the group that are meant for meters to run, by meter."""
    rows = await work.fetch(
        "SELECT s.meter_id, g.* FROM control_supply s JOIN control_load_guard g"
        " ON g.group_id = s.group_id AND g.id = s.guard_id AND g.by_meter WHERE s.group_id = $1",
        work.group_id,
    )
    return {row["meter_id"]: _guard_of(row) for row in rows}


class UnderGuard(NamedTuple):
    """A meter under a guard; `forced_on`: the cloud forces its relay closed."""

    meter_id: UUID
    guard: KeptGuard
    forced_on: bool


async def under_guards(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, after: UUID | None, limit: int
) -> list[UnderGuard]:
    """The meters of a project that are under a guard, by id. Raises NotFound, Forbidden."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT s.meter_id, s.force, g.* FROM control_supply s JOIN control_load_guard g"
        " ON g.group_id = s.group_id AND g.id = s.guard_id WHERE s.group_id = $1"
        " AND s.project_id = $2 AND ($3::uuid IS NULL OR s.meter_id > $3)"
        " ORDER BY s.meter_id LIMIT $4",
        work.group_id,
        project_id,
        after,
        limit,
    )
    return [
        UnderGuard(row["meter_id"], _guard_of(row), row["force"] == "KEEP_POWER") for row in rows
    ]


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


# The cloud looks at circuits that are not locked, by it or by their meters, and whose meters do not look
# themselves: one that is forced on opens for no load.
_LOOKED_AT = (
    "s.guard_id IS NOT NULL AND s.safety IS NULL AND s.own_cut IS NULL"
    f" AND NOT (s.force IS DISTINCT FROM 'KEEP_POWER' AND {run_by_meter('s')})"
)


class Guarded(NamedTuple):
    """A meter under a guard, with the instant of the reading that was looked at last."""

    meter_id: UUID
    project_id: UUID
    guard: LoadGuard
    seen_at: datetime


async def guarded_meters(work: UnitOfWork) -> dict[UUID, datetime]:
    """The meters under a guard that the cloud runs, whose circuits are not locked, each with the instant of
    the reading that was looked at last."""
    rows = await work.fetch(
        f"SELECT s.meter_id, s.load_seen_at FROM control_supply s WHERE s.group_id = $1 AND {_LOOKED_AT}",
        work.group_id,
    )
    return {row["meter_id"]: row["load_seen_at"] for row in rows}


async def lock_guarded(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> list[Guarded]:
    """Those of the meters that are under a guard that the cloud runs, and not locked, held until commit; what
    another holds just now is left to the next look."""
    rows = await work.fetch(
        "SELECT s.meter_id, s.load_seen_at, g.* FROM control_supply s JOIN control_load_guard g"
        " ON g.group_id = s.group_id AND g.id = s.guard_id WHERE s.group_id = $1"
        f" AND {_LOOKED_AT} AND s.meter_id = ANY($2)"
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
