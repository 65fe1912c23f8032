"""Each time that a circuit was locked for its load, by the cloud or by its meter (A24, C21).

A running trip is marked at its meter's supply too, so that a decision sees it with the rest: `safety` for
one of the cloud's, `own_cut` for one of the meter's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .supplies import make_supplies
from .supply_rules import OwnCut, SafetyLock


@dataclass(frozen=True, slots=True)
class SafetyTrip:
    """A circuit that was locked for its load. `by_meter`: its meter did it, and ends it. `restore_at` None:
    until an operator unlocks it, or nobody knows when the meter will; `day`: of the project's zone;
    `ended_by`: who, or what, ended it."""

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
    by_meter: bool


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
    project_id: UUID,
    meter_id: UUID,
    kind: SafetyLock,
    by_meter: bool,
    detail: Mapping[str, str],
    day: date,
    restore_at: datetime | None,
    at: datetime,
) -> SafetyTrip:
    """Lock a circuit open: its next decision trips it, unless its meter has (`by_meter`). The caller holds
    its row and has seen that it is not locked."""
    row = await work.fetchrow(
        "INSERT INTO control_safety_trip (group_id, id, project_id, meter_id, kind, day, tripped_at,"
        " restore_at, detail, by_meter) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING *",
        work.group_id,
        uuid7(at),
        project_id,
        meter_id,
        kind,
        day,
        at,
        restore_at,
        dict(detail),
        by_meter,
    )
    assert row is not None, "an insert returns its row"
    if not by_meter:
        await work.execute(
            "UPDATE control_supply SET safety = $3 WHERE group_id = $1 AND meter_id = $2",
            work.group_id,
            meter_id,
            kind,
        )
    return _trip_of(row)


async def lock_due(work: UnitOfWork, *, at: datetime, limit: int) -> list[SafetyTrip]:
    """Running trips of the cloud's whose power comes back by itself by now, held until commit with their
    supplies."""
    rows = await work.fetch(
        "SELECT t.* FROM control_safety_trip t JOIN control_supply s ON s.group_id = t.group_id"
        " AND s.meter_id = t.meter_id WHERE t.group_id = $1 AND t.ended_at IS NULL"
        " AND NOT t.by_meter AND t.restore_at <= $2 ORDER BY t.meter_id LIMIT $3 FOR UPDATE SKIP LOCKED",
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


async def lock_own_cuts(
    work: UnitOfWork, *, meters: Mapping[UUID, UUID]
) -> dict[UUID, tuple[OwnCut | None, bool]]:
    """What each of the meters (with their projects) last said that it opened its relay for by itself, and
    whether the cloud forces it open; made on first sight, held until commit. What another holds just now is
    left out."""
    await make_supplies(work, meters=meters)
    rows = await work.fetch(
        "SELECT meter_id, own_cut, force FROM control_supply WHERE group_id = $1 AND meter_id = ANY($2)"
        " ORDER BY meter_id FOR UPDATE SKIP LOCKED",
        work.group_id,
        list(meters),
    )
    return {
        row["meter_id"]: (
            None if row["own_cut"] is None else OwnCut(row["own_cut"]),
            row["force"] == "TRIP",
        )
        for row in rows
    }


async def own_cuts(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, OwnCut]:
    """Those of the meters that opened their relays by a rule of their own, as far as they said."""
    rows = await work.fetch(
        "SELECT meter_id, own_cut FROM control_supply WHERE group_id = $1 AND own_cut IS NOT NULL"
        " AND meter_id = ANY($2)",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: OwnCut(row["own_cut"]) for row in rows}


async def note_own_cuts(
    work: UnitOfWork, *, cuts: Mapping[UUID, OwnCut | None], at: datetime
) -> None:
    """What meters opened their relays for from now on, or (None) that it is over: what was read before is not
    looked at any more. The caller holds the rows."""
    await work.execute(
        "UPDATE control_supply s SET own_cut = n.cut, load_seen_at = $4,"
        " own_cut_at = CASE WHEN n.cut IS NOT NULL THEN $4::timestamptz END"
        " FROM unnest($2::uuid[], $3::text[]) AS n(meter_id, cut)"
        " WHERE s.group_id = $1 AND s.meter_id = n.meter_id",
        work.group_id,
        list(cuts),
        list(cuts.values()),
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
        by_meter=row["by_meter"],
    )
