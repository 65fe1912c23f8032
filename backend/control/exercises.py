"""Monthly exercise of valves, against scale: which projects have it, which valves are due (A18).

A valve that nobody moves for months no longer shuts (reference/meter-protocols.md 3.8, grade G). Each is shut
for some minutes once a month, at the hour that its project says, when no water flows; projects opt in.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.audit.operations import record
from backend.kernel.clock import business_day
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

SHUT_FOR = timedelta(
    minutes=10
)  # its write is verified within two minutes, and a valve moves within one
LASTS = 120  # minutes of a night in which exercises begin
_LATEST = 24 * 60 - LASTS  # so that a night's exercises are of one day


async def set_exercise(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, starts: int | None, at: datetime
) -> int | None:
    """Move the project's valves once a month, from minute `starts` of the day on (for two hours), or (None)
    not any more. Raises NotFound, Forbidden, InvalidInput (an hour that is none, or reaches midnight)."""
    await project_door(work, scope=scope, project_id=project_id)
    scope.require(Permission.PROJECT_WRITE, project_id)
    if starts is not None and not 0 <= starts < _LATEST:
        raise InvalidInput("exercises begin between 00:00 and 21:59", field="starts")
    before = await exercise(work, scope=scope, project_id=project_id)
    await work.execute(
        "DELETE FROM control_valve_exercise WHERE group_id = $1 AND project_id = $2",
        work.group_id,
        project_id,
    )
    if starts is not None:
        await work.execute(
            "INSERT INTO control_valve_exercise (group_id, project_id, starts) VALUES ($1, $2, $3)",
            work.group_id,
            project_id,
            starts,
        )
    await record(
        work,
        actor=scope.actor,
        action="project:valves:exercise",
        subject=str(project_id),
        at=at,
        project_id=project_id,
        before={"startsMinute": before},
        after={"startsMinute": starts},
    )
    return starts


async def exercise(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> int | None:
    """The minute of the day from which a project's valves are moved, None: they are not. Raises NotFound."""
    await project_door(work, scope=scope, project_id=project_id)
    starts: int | None = await work.fetchval(
        "SELECT starts FROM control_valve_exercise WHERE group_id = $1 AND project_id = $2",
        work.group_id,
        project_id,
    )
    return starts


def begins_now(starts: int, at: datetime, zone: ZoneInfo) -> bool:
    """Whether exercises begin at an instant."""
    local = at.astimezone(zone)
    return starts <= 60 * local.hour + local.minute < starts + LASTS


async def exercising(work: UnitOfWork, *, at: datetime) -> dict[UUID, date]:
    """The projects in which exercises begin now, with the first day of their month."""
    rows = await work.fetch(
        "SELECT e.project_id, e.starts, p.time_zone FROM control_valve_exercise e"
        " JOIN tenancy_project p ON p.group_id = e.group_id AND p.id = e.project_id"
        " WHERE e.group_id = $1",
        work.group_id,
    )
    return {
        row["project_id"]: business_day(at, ZoneInfo(row["time_zone"])).replace(day=1)
        for row in rows
        if begins_now(row["starts"], at, ZoneInfo(row["time_zone"]))
    }


async def lock_idle(
    work: UnitOfWork,
    *,
    project_id: UUID,
    meter_ids: Sequence[UUID],
    month: date,
    at: datetime,
    limit: int,
) -> list[UUID]:
    """Those of the meters whose valves were not moved since `month` began and of whose supplies nobody wants
    anything, at most `limit`, held until commit with a row made for each."""
    await work.execute(
        "INSERT INTO control_supply (group_id, project_id, meter_id)"
        " SELECT $1, $2, m FROM unnest($3::uuid[]) AS m ORDER BY m ON CONFLICT DO NOTHING",
        work.group_id,
        project_id,
        list(meter_ids),
    )
    rows = await work.fetch(
        "SELECT s.meter_id FROM control_supply s WHERE s.group_id = $1 AND s.meter_id = ANY($2)"
        " AND (s.policy = 'AUTO' OR s.policy_until <= $5) AND s.protected_at IS NULL"
        " AND s.emergency_at IS NULL AND s.force IS NULL AND s.safety IS NULL AND NOT s.owing"
        " AND (s.exercised IS NULL OR s.exercised < $3)"
        " AND NOT EXISTS (SELECT FROM control_command c WHERE c.group_id = $1"
        "  AND c.meter_id = s.meter_id AND c.family = 'RELAY' AND c.finished_at IS NULL)"
        " ORDER BY s.meter_id LIMIT $4 FOR UPDATE OF s SKIP LOCKED",
        work.group_id,
        list(meter_ids),
        month,
        limit,
        at,
    )
    return [row["meter_id"] for row in rows]


async def note_exercised(work: UnitOfWork, *, meter_ids: Sequence[UUID], month: date) -> None:
    """The valves are moved in this month. The caller holds the rows."""
    await work.execute(
        "UPDATE control_supply SET exercised = $3 WHERE group_id = $1 AND meter_id = ANY($2)",
        work.group_id,
        list(meter_ids),
        month,
    )
