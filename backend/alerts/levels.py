"""At what money and power is alarmed: a project's levels, and a meter's own in their place (A22)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import Permission

from .alarm_rules import check_levels, check_overload


@dataclass(frozen=True, slots=True)
class Levels:
    """`low_1`, then `low_2`: the last before a cut; `overload_w`: None when no power is too much. `own`: some
    of them are the meter's and not its project's."""

    low_1: Money
    low_2: Money
    overload_w: int | None
    own: bool = False


_IN_FORCE = (
    "SELECT m.id, coalesce(v.low_1_hao, p.low_1_hao) AS low_1, coalesce(v.low_2_hao, p.low_2_hao)"
    " AS low_2, coalesce(v.overload_w, p.overload_w) AS overload_w, v.meter_id IS NOT NULL AS own"
    " FROM metering_meter m JOIN tenancy_project p ON p.group_id = m.group_id AND p.id = m.project_id"
    " LEFT JOIN alerts_levels v ON v.group_id = m.group_id AND v.meter_id = m.id"
    " WHERE m.group_id = $1 AND m.id = ANY($2)"
)
_KEEP = (
    "INSERT INTO alerts_levels (group_id, meter_id, project_id, low_1_hao, low_2_hao, overload_w,"
    " set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    " ON CONFLICT (group_id, meter_id) DO UPDATE SET low_1_hao = EXCLUDED.low_1_hao,"
    " low_2_hao = EXCLUDED.low_2_hao, overload_w = EXCLUDED.overload_w, set_by = EXCLUDED.set_by,"
    " set_at = EXCLUDED.set_at"
)


# What is not said stays as it is; the second level is never above the first.
_FROM_THRESHOLDS = (
    "INSERT INTO alerts_levels (group_id, meter_id, project_id, low_1_hao, low_2_hao, overload_w,"
    " set_by, set_at) SELECT m.group_id, m.id, m.project_id, n.low_1, least(n.low_2, n.low_1),"
    "  n.overload_w, $6, $7"
    " FROM metering_meter m JOIN tenancy_project p ON p.group_id = m.group_id AND p.id = m.project_id"
    " LEFT JOIN alerts_levels v ON v.group_id = m.group_id AND v.meter_id = m.id"
    " CROSS JOIN LATERAL (SELECT CASE WHEN num_nulls($3::bigint, $4::bigint) = 2 THEN v.low_1_hao"
    "   ELSE coalesce($3, v.low_1_hao, p.low_1_hao) END AS low_1,"
    "  CASE WHEN num_nulls($3, $4) = 2 THEN v.low_2_hao"
    "   ELSE coalesce($4, v.low_2_hao, p.low_2_hao) END AS low_2,"
    "  coalesce($5::integer, v.overload_w) AS overload_w) AS n"
    " WHERE m.group_id = $1 AND m.id = ANY($2)"
    " ON CONFLICT (group_id, meter_id) DO UPDATE SET low_1_hao = EXCLUDED.low_1_hao,"
    " low_2_hao = EXCLUDED.low_2_hao, overload_w = EXCLUDED.overload_w, set_by = EXCLUDED.set_by,"
    " set_at = EXCLUDED.set_at"
)


async def keep_thresholds(
    work: UnitOfWork,
    *,
    actor: Actor,
    meter_ids: Sequence[UUID],
    thresholds: Mapping[str, int],
    at: datetime,
) -> None:
    """What meters are told to warn at is alarmed here too: `alarm1` and `alarm2` in hao, `overload_w` (0: no
    limit). The caller audits the command that tells them."""
    told = [thresholds.get(name) for name in ("alarm1", "alarm2")]
    told.append(thresholds.get("overload_w") or None)
    if any(each is not None for each in told):
        await work.execute(_FROM_THRESHOLDS, work.group_id, list(meter_ids), *told, actor.name, at)


async def levels_of_meters(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, Levels]:
    """The levels in force at each meter, by one statement."""
    rows = await work.fetch(_IN_FORCE, work.group_id, list(meter_ids))
    return {
        row["id"]: Levels(Money(row["low_1"]), Money(row["low_2"]), row["overload_w"], row["own"])
        for row in rows
    }


async def keep_meter_levels(
    work: UnitOfWork,
    *,
    actor: Actor,
    project_id: UUID,
    meter_id: UUID,
    low: tuple[Money, Money] | None,
    overload_w: int | None,
    at: datetime,
) -> Levels:
    """Give a meter levels of its own (`low`: 1 and 2); what is None is as its project says. Returns what
    holds now; the caller has checked the rights. Raises InvalidInput."""
    if low is not None:
        check_levels(low_1_hao=low[0].hao, low_2_hao=low[1].hao)
    check_overload(overload_w)
    before = (await levels_of_meters(work, meter_ids=[meter_id]))[meter_id]
    if low is None and overload_w is None:
        await work.execute(
            "DELETE FROM alerts_levels WHERE group_id = $1 AND meter_id = $2",
            work.group_id,
            meter_id,
        )
    else:
        hao = (None, None) if low is None else (low[0].hao, low[1].hao)
        await work.execute(
            _KEEP, work.group_id, meter_id, project_id, *hao, overload_w, actor.name, at
        )
    after = (await levels_of_meters(work, meter_ids=[meter_id]))[meter_id]
    await record(
        work,
        actor=actor,
        action="alarm:meter_levels:set",
        subject=str(meter_id),
        at=at,
        project_id=project_id,
        before=_told(before),
        after=_told(after),
    )
    return after


async def pass_levels_on(work: UnitOfWork, *, from_meter_id: UUID, to_meter_id: UUID) -> None:
    """A meter that takes another's place is alarmed at its levels, unless it has some of its own."""
    await work.execute(
        "INSERT INTO alerts_levels (group_id, meter_id, project_id, low_1_hao, low_2_hao,"
        " overload_w, set_by, set_at) SELECT group_id, $3, project_id, low_1_hao, low_2_hao,"
        " overload_w, set_by, set_at FROM alerts_levels WHERE group_id = $1 AND meter_id = $2"
        " ON CONFLICT DO NOTHING",
        work.group_id,
        from_meter_id,
        to_meter_id,
    )


async def project_levels(work: UnitOfWork, *, scope: Scope, project_id: UUID) -> Levels:
    """A project's levels. Raises NotFound (C29)."""
    row = await work.fetchrow(
        "SELECT low_1_hao, low_2_hao, overload_w FROM tenancy_project"
        " WHERE group_id = $1 AND id = $2",
        work.group_id,
        project_id,
    )
    if row is None or not scope.may(Permission.ALARM_READ, project_id):
        raise NotFound("no such project")
    return Levels(Money(row["low_1_hao"]), Money(row["low_2_hao"]), row["overload_w"])


async def set_project_levels(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, levels: Levels, at: datetime
) -> Levels:
    """What is alarmed at the project's meters that have no levels of their own.

    Raises NotFound, Forbidden, InvalidInput.
    """
    before = await project_levels(work, scope=scope, project_id=project_id)
    scope.require(Permission.PROJECT_WRITE, project_id)
    check_levels(low_1_hao=levels.low_1.hao, low_2_hao=levels.low_2.hao)
    check_overload(levels.overload_w)
    await work.execute(
        "UPDATE tenancy_project SET low_1_hao = $3, low_2_hao = $4, overload_w = $5"
        " WHERE group_id = $1 AND id = $2",
        work.group_id,
        project_id,
        levels.low_1.hao,
        levels.low_2.hao,
        levels.overload_w,
    )
    await record(
        work,
        actor=scope.actor,
        action="alarm:project_levels:set",
        subject=str(project_id),
        at=at,
        project_id=project_id,
        before=_told(before),
        after=_told(levels),
    )
    return levels


def _told(levels: Levels) -> dict[str, str | None]:
    watts = None if levels.overload_w is None else str(levels.overload_w)
    return {"low1": str(levels.low_1), "low2": str(levels.low_2), "overloadW": watts}
