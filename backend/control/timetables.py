"""Timetables as rows: what they are, which meters follow which, and who agreed to it (A24, C22)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import Conflict, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Actor, Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .calendar_rules import CutCalendar, DayKind
from .calendars import cut_calendars
from .timetable_rules import Slot, Timed, Timetable, supply_at

_LIFE = timedelta(days=3)  # who must agree may be at home


@dataclass(frozen=True, slots=True)
class KeptTimetable:
    """A timetable of a project."""

    id: UUID
    project_id: UUID
    name: str
    timetable: Timetable
    made_by: str
    made_at: datetime


class TimingState(StrEnum):
    """OPEN waits for a second operator; what expired stays OPEN and can be ruled no more."""

    OPEN = "OPEN"
    DONE = "DONE"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Timing:
    """Which timetable meters are to follow, by whose word; `timetable_id` None: none any more."""

    id: UUID
    project_id: UUID
    timetable_id: UUID | None
    meter_ids: tuple[UUID, ...]
    reason: str
    asked_by: str
    asked_name: str
    asked_at: datetime
    expires_at: datetime
    state: TimingState
    ruled_name: str | None
    ruled_at: datetime | None


def _timetable_of(row: Row) -> KeptTimetable:
    plans = {
        DayKind(kind): tuple(Slot(minute, on) for minute, on in slots)
        for kind, slots in row["plans"].items()
    }
    return KeptTimetable(
        id=row["id"],
        project_id=row["project_id"],
        name=row["name"],
        timetable=Timetable(plans),
        made_by=row["made_by"],
        made_at=row["made_at"],
    )


async def add_timetable(
    work: UnitOfWork,
    *,
    project_id: UUID,
    name: str,
    timetable: Timetable,
    actor: Actor,
    at: datetime,
) -> KeptTimetable:
    """Keep a checked timetable. Raises Conflict (the name is taken: a timetable never changes)."""
    row = await work.fetchrow(
        "INSERT INTO control_timetable (group_id, id, project_id, name, plans, made_by, made_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        name,
        {kind: [[s.minute, s.on] for s in plan] for kind, plan in timetable.plans.items()},
        actor.name,
        at,
    )
    if row is None:
        raise Conflict("a timetable of that name is there and never changes; give this one another")
    return _timetable_of(row)


async def timetable(work: UnitOfWork, *, scope: Scope, timetable_id: UUID) -> KeptTimetable:
    """One timetable. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM control_timetable WHERE group_id = $1 AND id = $2",
        work.group_id,
        timetable_id,
    )
    if row is None or not scope.may(Permission.METER_READ, row["project_id"]):
        raise NotFound("no such timetable")
    return _timetable_of(row)


async def timetables_of_project(
    work: UnitOfWork, *, scope: Scope, project_id: UUID
) -> list[KeptTimetable]:
    """All timetables of a project, newest first. Raises NotFound, Forbidden."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT * FROM control_timetable WHERE group_id = $1 AND project_id = $2 ORDER BY id DESC",
        work.group_id,
        project_id,
    )
    return [_timetable_of(row) for row in rows]


def _timing_of(row: Row) -> Timing:
    return Timing(
        id=row["id"],
        project_id=row["project_id"],
        timetable_id=row["timetable_id"],
        meter_ids=tuple(row["meter_ids"]),
        reason=row["reason"],
        asked_by=row["asked_by"],
        asked_name=row["asked_name"],
        asked_at=row["asked_at"],
        expires_at=row["expires_at"],
        state=TimingState(row["state"]),
        ruled_name=row["ruled_name"],
        ruled_at=row["ruled_at"],
    )


async def add_timing(
    work: UnitOfWork,
    *,
    project_id: UUID,
    timetable_id: UUID | None,
    meter_ids: Sequence[UUID],
    reason: str,
    state: TimingState,
    actor: Actor,
    at: datetime,
) -> Timing:
    """Keep which timetable meters are to follow, and whether they do at once."""
    row = await work.fetchrow(
        "INSERT INTO control_timing (group_id, id, project_id, timetable_id, meter_ids, reason,"
        " asked_by, asked_name, asked_at, expires_at, state)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        timetable_id,
        list(meter_ids),
        reason,
        actor.id,
        actor.name,
        at,
        at + _LIFE,
        state,
    )
    assert row is not None, "an insert returns its row"
    return _timing_of(row)


async def lock_timing(work: UnitOfWork, *, scope: Scope, timing_id: UUID) -> Timing:
    """As `timing`, locked until commit. Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM control_timing WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        timing_id,
    )
    return _seen(scope, row)


async def timing(work: UnitOfWork, *, scope: Scope, timing_id: UUID) -> Timing:
    """One for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM control_timing WHERE group_id = $1 AND id = $2", work.group_id, timing_id
    )
    return _seen(scope, row)


def _seen(scope: Scope, row: Row | None) -> Timing:
    if row is None or not scope.may(Permission.METER_READ, row["project_id"]):
        raise NotFound("no such timing")
    return _timing_of(row)


async def timings_of_project(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, limit: int
) -> list[Timing]:
    """The newest of a project. Raises NotFound, Forbidden."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.METER_READ, project_id)
    rows = await work.fetch(
        "SELECT * FROM control_timing WHERE group_id = $1 AND project_id = $2"
        " ORDER BY id DESC LIMIT $3",
        work.group_id,
        project_id,
        limit,
    )
    return [_timing_of(row) for row in rows]


async def rule_timing(
    work: UnitOfWork, *, timing_id: UUID, approved: bool, actor: Actor, at: datetime
) -> Timing:
    """Keep what the second operator said. The caller holds the row and has checked it."""
    row = await work.fetchrow(
        "UPDATE control_timing SET state = $3, ruled_by = $4, ruled_name = $5, ruled_at = $6"
        " WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        timing_id,
        TimingState.DONE if approved else TimingState.REFUSED,
        actor.id,
        actor.name,
        at,
    )
    assert row is not None, "its row is locked"
    return _timing_of(row)


async def follow(
    work: UnitOfWork, *, project_id: UUID, meter_ids: Sequence[UUID], timetable_id: UUID | None
) -> None:
    """Let meters of a project follow a timetable from now on, or none."""
    await work.execute(
        "INSERT INTO control_supply (group_id, project_id, meter_id, timetable_id)"
        " SELECT $1, $2, m, $4 FROM unnest($3::uuid[]) AS m ORDER BY m"
        " ON CONFLICT (group_id, meter_id) DO UPDATE SET timetable_id = EXCLUDED.timetable_id",
        work.group_id,
        project_id,
        list(meter_ids),
        timetable_id,
    )


async def followers(work: UnitOfWork, *, timetable_id: UUID) -> list[UUID]:
    """The meters that follow a timetable."""
    rows = await work.fetch(
        "SELECT meter_id FROM control_supply WHERE group_id = $1 AND timetable_id = $2"
        " ORDER BY meter_id",
        work.group_id,
        timetable_id,
    )
    return [row["meter_id"] for row in rows]


async def timetables_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID]
) -> dict[UUID, KeptTimetable]:
    """The timetable of each meter that follows one, by two statements: a house follows a few."""
    rows = await work.fetch(
        "SELECT meter_id, timetable_id FROM control_supply WHERE group_id = $1"
        " AND meter_id = ANY($2) AND timetable_id IS NOT NULL",
        work.group_id,
        list(meter_ids),
    )
    if not rows:
        return {}
    followed = await work.fetch(
        "SELECT * FROM control_timetable WHERE group_id = $1 AND id = ANY($2)",
        work.group_id,
        list({row["timetable_id"] for row in rows}),
    )
    kept = {row["id"]: _timetable_of(row) for row in followed}
    return {row["meter_id"]: kept[row["timetable_id"]] for row in rows}


async def timed(
    work: UnitOfWork,
    *,
    meter_ids: Sequence[UUID],
    calendars: Mapping[UUID, CutCalendar],
    at: datetime,
) -> dict[UUID, Timed]:
    """What the timetable of each meter that follows one says now; `calendars` by project."""
    found = await timetables_of_meters(work, meter_ids=meter_ids)
    once = {kept.id: kept for kept in found.values()}
    said = {
        id_: supply_at(kept.timetable, calendars[kept.project_id], at) for id_, kept in once.items()
    }
    return {meter_id: said[kept.id] for meter_id, kept in found.items()}


async def off_now(work: UnitOfWork, *, at: datetime) -> list[UUID]:
    """The timetables by which there is to be no power now, of those that meters follow."""
    rows = await work.fetch(
        "SELECT t.* FROM control_timetable t WHERE t.group_id = $1 AND EXISTS (SELECT FROM"
        " control_supply s WHERE s.group_id = $1 AND s.timetable_id = t.id) ORDER BY t.id",
        work.group_id,
    )
    of_project: dict[UUID, list[KeptTimetable]] = defaultdict(list)
    for kept in map(_timetable_of, rows):
        of_project[kept.project_id].append(kept)
    calendars = await cut_calendars(work, project_ids=list(of_project), at=at) if rows else {}
    return [
        kept.id
        for project_id, all_kept in of_project.items()
        for kept in all_kept
        if not supply_at(kept.timetable, calendars[project_id], at).on
    ]
