"""Load limits in meters as rows: wanted, sent, read back; and who runs what (A24).

A meter that holds what its guard says runs it by itself; until it was read back to do so, and for all others,
the cloud does. A guard that is the meter's no more is switched off in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .price_rules import again_after

OFF = {"on": 0}
_WANT = (
    "INSERT INTO control_meter_limits AS l (group_id, project_id, meter_id, desired, desired_at,"
    " next_try_at) SELECT $1, w.project_id, w.meter_id, w.limits, $5, $5"
    " FROM unnest($2::uuid[], $3::uuid[], $4::jsonb[]) AS w(project_id, meter_id, limits)"
    " ON CONFLICT (group_id, meter_id) DO UPDATE SET desired = excluded.desired,"
    " desired_at = excluded.desired_at, command_id = NULL, tries = 0,"
    " next_try_at = excluded.next_try_at, problem = NULL WHERE l.desired <> excluded.desired"
)
# A command carries all that is wanted; the newest that was read back is what the meter holds. A threshold
# of power, which an operator may command, is the limit of it.
_LEARN = (
    "UPDATE control_meter_limits l SET actual = c.held, actual_at = c.at, command_id = NULL, tries = 0,"
    " problem = NULL FROM (SELECT q.meter_id, c.held, c.at FROM control_meter_limits q"
    "  CROSS JOIN LATERAL (SELECT CASE k.family WHEN 'LOAD_LIMITS' THEN k.settings"
    "     ELSE q.actual || jsonb_build_object('most_w', k.settings -> 'overload_w') END AS held,"
    "     k.finished_at AS at FROM control_command k"
    "   WHERE k.group_id = $1 AND k.meter_id = q.meter_id AND k.state = 'VERIFIED'"
    "     AND (k.family = 'LOAD_LIMITS' OR k.family = 'THRESHOLDS' AND k.settings ? 'overload_w'"
    "       AND q.actual -> 'on' = '1')"
    # What is not known is learnt from what was sent since it is wanted, never from before.
    "     AND k.finished_at >= coalesce(q.actual_at + interval '1 microsecond', q.desired_at)"
    "   ORDER BY k.id DESC LIMIT 1) c"
    "  WHERE q.group_id = $1) c"
    " WHERE l.group_id = $1 AND l.meter_id = c.meter_id"
)
_FAILED = (
    "SELECT l.meter_id, l.tries, c.state, c.outcome FROM control_meter_limits l"
    " CROSS JOIN LATERAL (SELECT state, outcome FROM control_command"
    "  WHERE group_id = $1 AND id = l.command_id OFFSET 0) c"
    " WHERE l.group_id = $1 AND l.command_id IS NOT NULL AND c.state IN ('FAILED', 'EXPIRED', 'SUPERSEDED')"
)
_UNTOUCHED = "l.command_id IS NULL AND l.tries = 0"
_WANT_NONE = (
    "UPDATE control_meter_limits l SET desired = $3, desired_at = $4, command_id = NULL, tries = 0,"
    " next_try_at = $4, problem = NULL,"
    # A command under way, or one that may have been obeyed: what the meter holds is not known.
    f" actual = CASE WHEN {_UNTOUCHED} THEN l.actual END,"
    f" actual_at = CASE WHEN {_UNTOUCHED} THEN l.actual_at END"
    " WHERE l.group_id = $1 AND l.meter_id <> ALL($2) AND l.desired <> $3"
)


def run_by_meter(alias: str) -> str:
    """SQL: the meter of a row of `alias` was read back to run its guard by itself."""
    return (
        "EXISTS (SELECT FROM control_meter_limits l WHERE l.group_id = "
        f"{alias}.group_id AND l.meter_id = {alias}.meter_id AND l.actual = l.desired"
        " AND l.desired -> 'on' = '1')"
    )


class Wanted(NamedTuple):
    """What a meter is to hold from now on."""

    project_id: UUID
    meter_id: UUID
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MeterLimits:
    """Load limits of a meter by name: `desired` since when, `actual` as read back when; {"on": 0}: none.

    `tries`: commands that came to nothing since it was desired; `problem`: what became of the last one.
    """

    project_id: UUID
    meter_id: UUID
    desired: Mapping[str, int]
    desired_at: datetime
    actual: Mapping[str, int] | None
    actual_at: datetime | None
    command_id: UUID | None
    tries: int
    next_try_at: datetime
    problem: str | None

    @property
    def runs(self) -> bool:
        """Whether the meter runs its guard."""
        return self.actual == self.desired and self.desired["on"] == 1


def _limits_of(row: Row) -> MeterLimits:
    return MeterLimits(**{name: row[name] for name in MeterLimits.__dataclass_fields__})


async def want_limits(work: UnitOfWork, *, wanted: Sequence[Wanted], at: datetime) -> None:
    """Write down what meters are to hold; what is known already stays as it is."""
    await work.execute(
        _WANT,
        work.group_id,
        [each.project_id for each in wanted],
        [each.meter_id for each in wanted],
        [dict(each.limits) for each in wanted],
        at,
    )


async def want_none(work: UnitOfWork, *, kept: Sequence[UUID], at: datetime) -> None:
    """Meters that are not among those kept are to run no guard any more. One that was told none, or was read
    back to have switched it off, or was taken down, is forgotten; one to which a command is under way, or
    was, is told."""
    await work.execute(
        "DELETE FROM control_meter_limits l WHERE l.group_id = $1 AND l.meter_id <> ALL($2)"
        f" AND ({_UNTOUCHED} AND coalesce(l.actual, $3) = $3 OR EXISTS (SELECT FROM metering_meter m"
        "  WHERE m.group_id = $1 AND m.id = l.meter_id AND m.removed_at IS NOT NULL))",
        work.group_id,
        list(kept),
        OFF,
    )
    await work.execute(_WANT_NONE, work.group_id, list(kept), OFF, at)


async def learn_limits(work: UnitOfWork, *, at: datetime) -> None:
    """Take in what was read back since, and what came to nothing, which is tried again later."""
    await work.execute(_LEARN, work.group_id)
    failed = await work.fetch(_FAILED, work.group_id)
    if not failed:
        return
    await work.execute(
        "UPDATE control_meter_limits l SET tries = l.tries + 1, command_id = NULL,"
        " problem = f.problem, next_try_at = f.again FROM"
        " unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS f(meter_id, problem, again)"
        " WHERE l.group_id = $1 AND l.meter_id = f.meter_id",
        work.group_id,
        [row["meter_id"] for row in failed],
        [f"{row['state']}: {row['outcome']}" for row in failed],
        [at + again_after(row["tries"] + 1) for row in failed],
    )


async def lock_due_limits(work: UnitOfWork, *, at: datetime, limit: int) -> list[MeterLimits]:
    """Meters that lag and wait for a command, held until commit, those first that wait longest."""
    rows = await work.fetch(
        "SELECT * FROM control_meter_limits WHERE group_id = $1 AND actual IS DISTINCT FROM desired"
        " AND command_id IS NULL AND next_try_at <= $2 ORDER BY next_try_at, meter_id LIMIT $3"
        " FOR UPDATE SKIP LOCKED",
        work.group_id,
        at,
        limit,
    )
    return [_limits_of(row) for row in rows]


async def mark_limits_sent(work: UnitOfWork, *, commands: Mapping[UUID, UUID]) -> None:
    """Commands are under way, by meter."""
    await work.execute(
        "UPDATE control_meter_limits l SET command_id = c.command_id"
        " FROM unnest($2::uuid[], $3::uuid[]) AS c(meter_id, command_id)"
        " WHERE l.group_id = $1 AND l.meter_id = c.meter_id",
        work.group_id,
        list(commands),
        list(commands.values()),
    )


async def limits_of_meters(
    work: UnitOfWork, *, meter_ids: Sequence[UUID]
) -> dict[UUID, MeterLimits]:
    """What those of the meters hold, or are to hold, that are told any: one statement for a page."""
    rows = await work.fetch(
        "SELECT * FROM control_meter_limits WHERE group_id = $1 AND meter_id = ANY($2)",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: _limits_of(row) for row in rows}
