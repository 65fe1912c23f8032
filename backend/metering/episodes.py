"""Episodes: meters that are lost, gateways whose line is down, clocks that are off (C24, C26, A10).

Set-based and by `latest.at`, so it is all the same how readings come. A meter is lost when it missed the
project's number of sweeps while its gateway's line stood; what nobody could have read (the line was down,
or we did not look) it did not miss. Behind a silent gateway nothing is known of a meter: the one episode
is the gateway's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .models import Gateway, Meter
from .rules import MAX_DRIFT

LINE_GRACE = timedelta(minutes=2)  # a line that is back sooner was not down
_UNWATCHED = timedelta(minutes=15)  # a longer pause between two looks: we were away

# A UUIDv7 of the instant $2, so that pages go by id.
_ID = (
    "(lpad(to_hex((extract(epoch FROM $2::timestamptz) * 1000)::bigint), 12, '0') || '7'"
    " || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid"
)
_SHOWN = (
    "SELECT e.*, g.serial AS gateway_serial, m.serial AS meter_serial, CASE WHEN e.kind = 'SILENT'"
    "   THEN (SELECT count(*) FROM metering_meter b WHERE b.group_id = $1 AND b.gateway_id = g.id)"
    "   END AS meters_behind"
    " FROM {} e JOIN metering_gateway g ON g.group_id = $1 AND g.id = e.gateway_id"
    " LEFT JOIN metering_meter m ON m.group_id = $1 AND m.id = e.meter_id"
)
_CHANGED = _SHOWN.format("changed")
_ALL = _SHOWN.format("metering_episode")
_LOOK = (
    "INSERT INTO metering_watch AS w (group_id, since, looked_at) VALUES ($1, $2, $2)"
    " ON CONFLICT (group_id) DO UPDATE SET looked_at = $2,"
    "   since = CASE WHEN w.looked_at < $2::timestamptz - $3::interval THEN $2 ELSE w.since END"
    " RETURNING since"
)
_BEGIN = "INSERT INTO metering_episode (group_id, id, project_id, gateway_id, meter_id, kind,"
_PATIENCE = "p.sweep_minutes * (p.lost_after_sweeps + 0.25) * interval '1 minute'"
_LINES_DOWN = (
    f"WITH changed AS ({_BEGIN} started_at, noticed_at)"
    f" SELECT group_id, {_ID}, project_id, id, NULL, 'SILENT', silent_since, $2"
    " FROM metering_gateway WHERE group_id = $1 AND silent_since <= $2::timestamptz - $3::interval"
    f" ON CONFLICT DO NOTHING RETURNING *) {_CHANGED}"
)
_LINES_BACK = (
    "WITH changed AS (UPDATE metering_episode e"
    " SET ended_at = greatest(e.started_at, coalesce(g.answered_at, $2)) FROM metering_gateway g"
    " WHERE e.group_id = $1 AND e.kind = 'SILENT' AND e.ended_at IS NULL"
    "   AND g.group_id = $1 AND g.id = e.gateway_id"
    "   AND (g.silent_since IS NULL OR g.silent_since > e.started_at)"
    f" RETURNING e.*) {_CHANGED}"
)
_METERS_LOST = (
    # Materialized, or the planner asks for each meter what it should ask for each line.
    "WITH lines AS MATERIALIZED (SELECT g.id, g.answered_at, (SELECT max(e.ended_at) FROM metering_episode e"
    "     WHERE e.group_id = $1 AND e.gateway_id = g.id AND e.kind = 'SILENT') AS back_at"
    "   FROM metering_gateway g WHERE g.group_id = $1 AND g.silent_since IS NULL),"
    f" changed AS ({_BEGIN} started_at, noticed_at)"
    f" SELECT m.group_id, {_ID}, m.project_id, m.gateway_id, m.id, 'LOST',"
    "   coalesce(l.at, m.created_at), $2"
    " FROM metering_meter m JOIN lines g ON g.id = m.gateway_id"
    " JOIN tenancy_project p ON p.group_id = m.group_id AND p.id = m.project_id"
    " LEFT JOIN metering_latest l ON l.group_id = m.group_id AND l.meter_id = m.id"
    " WHERE m.group_id = $1 AND m.removed_at IS NULL"
    "   AND (g.answered_at IS NOT NULL OR l.at IS NOT NULL)"
    "   AND NOT EXISTS (SELECT FROM metering_episode o WHERE o.group_id = $1 AND o.meter_id = m.id"
    "     AND o.kind = 'LOST' AND o.ended_at IS NULL)"
    "   AND greatest(coalesce(l.at, m.created_at), g.back_at, $3::timestamptz)"
    f"     < $2::timestamptz - {_PATIENCE}"
    f" ON CONFLICT DO NOTHING RETURNING *) {_CHANGED}"
)
_METERS_FOUND = (
    "WITH changed AS (UPDATE metering_episode e SET ended_at = l.at"
    " FROM metering_latest l, tenancy_project p"
    " WHERE e.group_id = $1 AND e.kind = 'LOST' AND e.ended_at IS NULL"
    "   AND l.group_id = $1 AND l.meter_id = e.meter_id AND l.at > e.started_at"
    f"   AND p.group_id = $1 AND p.id = e.project_id AND l.at >= $2::timestamptz - {_PATIENCE}"
    f" RETURNING e.*) {_CHANGED}"
)
_DRIFT = (
    "greatest(least(extract(epoch FROM l.meter_clock - l.at), 2000000000), -2000000000)::integer"
)
_CLOCKS_OFF = (
    f"WITH changed AS ({_BEGIN} started_at, noticed_at, drift_s)"
    f" SELECT m.group_id, {_ID}, m.project_id, m.gateway_id, m.id, 'CLOCK', l.at, $2, {_DRIFT}"
    " FROM metering_latest l JOIN metering_meter m ON m.group_id = l.group_id AND m.id = l.meter_id"
    " WHERE l.group_id = $1"
    "   AND l.meter_clock NOT BETWEEN l.at - $3::interval AND l.at + $3::interval"
    "   AND NOT EXISTS (SELECT FROM metering_episode o WHERE o.group_id = $1 AND o.meter_id = m.id"
    "     AND o.kind = 'CLOCK' AND o.ended_at IS NULL)"
    f" ON CONFLICT DO NOTHING RETURNING *) {_CHANGED}"
)
_CLOCKS_RIGHT = (
    "WITH changed AS (UPDATE metering_episode e SET ended_at = l.at FROM metering_latest l"
    " WHERE e.group_id = $1 AND e.kind = 'CLOCK' AND e.ended_at IS NULL"
    "   AND l.group_id = $1 AND l.meter_id = e.meter_id AND l.at > e.started_at AND $2 > e.started_at"
    "   AND l.meter_clock BETWEEN l.at - $3::interval AND l.at + $3::interval"
    f" RETURNING e.*) {_CHANGED}"
)


class EpisodeKind(StrEnum):
    """LOST: a meter missed its sweeps. SILENT: a gateway's line is down. CLOCK: a clock is off."""

    LOST = "LOST"
    SILENT = "SILENT"
    CLOCK = "CLOCK"


@dataclass(frozen=True, slots=True)
class Episode:
    """From `started_at` (when it was last heard) to `ended_at` (None: it goes on). Of a meter, or of the
    gateway when `meter_id` is None; `meters_behind` of a SILENT one. `drift_s`: seconds ahead of us."""

    id: UUID
    project_id: UUID
    kind: EpisodeKind
    gateway_id: UUID
    gateway_serial: str
    meter_id: UUID | None
    meter_serial: str | None
    started_at: datetime
    noticed_at: datetime
    ended_at: datetime | None
    drift_s: int | None
    meters_behind: int | None


@dataclass(frozen=True, slots=True)
class Changes:
    """The episodes that a look began and ended."""

    began: Sequence[Episode]
    ended: Sequence[Episode]


@dataclass(frozen=True, slots=True)
class Unread:
    """A meter that cannot be read `since` then: lost itself, or unknown because of its gateway."""

    meter: Meter
    gateway: Gateway
    since: datetime
    because_of_gateway: bool


async def look_at_lines(work: UnitOfWork, *, at: datetime) -> Changes:
    """Begin and end the episodes of gateways whose line is down, by what is known at `at`."""
    ended = await work.fetch(_LINES_BACK, work.group_id, at)
    began = await work.fetch(_LINES_DOWN, work.group_id, at, LINE_GRACE)
    return Changes([_episode(row) for row in began], [_episode(row) for row in ended])


async def look_at_meters(work: UnitOfWork, *, at: datetime) -> Changes:
    """Begin and end the episodes of meters that are lost or whose clock is off, by what is known at
    `at`. Look at the lines before; two at once take turns."""
    since = await work.fetchval(_LOOK, work.group_id, at, _UNWATCHED)
    ended = [
        *await work.fetch(_METERS_FOUND, work.group_id, at),
        *await work.fetch(_CLOCKS_RIGHT, work.group_id, at, MAX_DRIFT),
    ]
    began = [
        *await work.fetch(_METERS_LOST, work.group_id, at, since),
        *await work.fetch(_CLOCKS_OFF, work.group_id, at, MAX_DRIFT),
    ]
    return Changes([_episode(row) for row in began], [_episode(row) for row in ended])


async def note_gateway_clock(
    work: UnitOfWork, *, gateway_id: UUID, drift: timedelta, at: datetime
) -> None:
    """Keep how far a gateway's clock was ahead of ours at `at` (C24): more than five minutes either way
    is an episode, until it is right again."""
    if abs(drift) > MAX_DRIFT:
        await work.execute(
            f"{_BEGIN} started_at, noticed_at, drift_s)"
            f" SELECT group_id, {_ID}, project_id, id, NULL, 'CLOCK', $2, $2, $4"
            " FROM metering_gateway WHERE group_id = $1 AND id = $3 ON CONFLICT DO NOTHING",
            work.group_id,
            at,
            gateway_id,
            max(min(int(drift.total_seconds()), 2_000_000_000), -2_000_000_000),
        )
        return
    await work.execute(
        "UPDATE metering_episode SET ended_at = greatest(started_at, $2) WHERE group_id = $1"
        " AND gateway_id = $3 AND meter_id IS NULL AND kind = 'CLOCK' AND ended_at IS NULL",
        work.group_id,
        at,
        gateway_id,
    )


async def lost_since(work: UnitOfWork, *, meter_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Since when each of these meters is lost; one that is not has no entry."""
    rows = await work.fetch(
        "SELECT meter_id, started_at FROM metering_episode WHERE group_id = $1"
        " AND meter_id = ANY($2) AND kind = 'LOST' AND ended_at IS NULL",
        work.group_id,
        list(meter_ids),
    )
    return {row["meter_id"]: row["started_at"] for row in rows}


async def unread_meters(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, after_serial: str | None, limit: int
) -> list[Unread]:
    """Meters of a project that cannot be read now, by serial (A10). Raises NotFound (C29)."""
    if not scope.may(Permission.METER_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        "SELECT m.id, m.gateway_id, s.id IS NOT NULL AS behind,"
        " least(e.started_at, s.started_at) AS since FROM metering_meter m"
        " LEFT JOIN metering_episode e ON e.group_id = $1 AND e.meter_id = m.id"
        "   AND e.kind = 'LOST' AND e.ended_at IS NULL"
        " LEFT JOIN metering_episode s ON s.group_id = $1 AND s.gateway_id = m.gateway_id"
        "   AND s.meter_id IS NULL AND s.kind = 'SILENT' AND s.ended_at IS NULL"
        " WHERE m.group_id = $1 AND m.project_id = $2 AND m.removed_at IS NULL"
        " AND (e.id IS NOT NULL OR s.id IS NOT NULL)"
        " AND ($3::text IS NULL OR m.serial > $3) ORDER BY m.serial LIMIT $4",
        work.group_id,
        project_id,
        after_serial,
        limit,
    )
    of_group = {"group_id": work.group_id}
    meters = await Meter.filter(**of_group, id__in=[row["id"] for row in rows])
    gateways = await Gateway.filter(**of_group, id__in=[row["gateway_id"] for row in rows])
    meter_of = {meter.id: meter for meter in meters}
    gateway_of = {gateway.id: gateway for gateway in gateways}
    return [
        Unread(meter_of[row["id"]], gateway_of[row["gateway_id"]], row["since"], row["behind"])
        for row in rows
    ]


async def episodes_page(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    only_open: bool,
    before: UUID | None,
    limit: int,
) -> list[Episode]:
    """Episodes of a project, newest first, those noticed before the one of the id `before`.

    Raises NotFound (C29).
    """
    if not scope.may(Permission.METER_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        f"{_ALL} WHERE e.group_id = $1 AND e.project_id = $2 AND ($3::bool IS FALSE"
        " OR e.ended_at IS NULL) AND ($4::uuid IS NULL OR e.id < $4) ORDER BY e.id DESC LIMIT $5",
        work.group_id,
        project_id,
        only_open,
        before,
        limit,
    )
    return [_episode(row) for row in rows]


def _episode(row: Row) -> Episode:
    return Episode(
        id=row["id"],
        project_id=row["project_id"],
        kind=EpisodeKind(row["kind"]),
        gateway_id=row["gateway_id"],
        gateway_serial=row["gateway_serial"],
        meter_id=row["meter_id"],
        meter_serial=row["meter_serial"],
        started_at=row["started_at"],
        noticed_at=row["noticed_at"],
        ended_at=row["ended_at"],
        drift_s=row["drift_s"],
        meters_behind=row["meters_behind"],
    )
