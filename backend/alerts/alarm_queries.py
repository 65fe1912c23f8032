"""Reads of alarms: the live list, the history, one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.ids import earliest_at
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .alarm_rules import AlarmKind
from .alarms import Alarm, alarm_of

_PAGE = (
    "SELECT * FROM alerts_alarm WHERE group_id = $1 AND project_id = $2 {}"
    " AND ($3::text IS NULL OR kind = $3) AND ($4::smallint IS NULL OR level >= $4)"
    " AND ($5::uuid IS NULL OR id < $5) ORDER BY id DESC LIMIT $6"
)
# By an index each, so that a few that stand are found among years of past ones.
_LIVE = _PAGE.format("AND ended_at IS NULL")
_ALL = _PAGE.format("")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alarms are asked for: None is all of them. `level`: this one and graver ones."""

    kind: AlarmKind | None = None
    level: int | None = None
    live: bool = True


async def alarms_page(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    wanted: Wanted,
    before: UUID | None,
    limit: int,
) -> list[Alarm]:
    """Alarms of a project, newest first, those older than `before` (keyset). Raises NotFound (C29)."""
    if not scope.may(Permission.ALARM_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        _LIVE if wanted.live else _ALL,
        work.group_id,
        project_id,
        None if wanted.kind is None else str(wanted.kind),
        wanted.level,
        before,
        limit,
    )
    return [alarm_of(row) for row in rows]


async def alarms_since(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, since: datetime, limit: int
) -> list[Alarm]:
    """The newest alarms of a project that were raised at `since` or later, oldest first. Raises NotFound."""
    if not scope.may(Permission.ALARM_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        "SELECT * FROM alerts_alarm WHERE group_id = $1 AND project_id = $2 AND id >= $3"
        " ORDER BY id DESC LIMIT $4",
        work.group_id,
        project_id,
        earliest_at(since),
        limit,
    )
    return [alarm_of(row) for row in reversed(rows)]


async def alarm(work: UnitOfWork, *, scope: Scope, alarm_id: UUID) -> Alarm:
    """One alarm for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM alerts_alarm WHERE group_id = $1 AND id = $2", work.group_id, alarm_id
    )
    if row is None or not scope.may(Permission.ALARM_READ, row["project_id"]):
        raise NotFound("no such alarm")
    return alarm_of(row)


async def open_subjects(work: UnitOfWork, *, kind: AlarmKind) -> dict[str, UUID | None]:
    """The subjects of the open alarms of a kind, each with its meter."""
    rows = await work.fetch(
        "SELECT subject, meter_id FROM alerts_alarm"
        " WHERE group_id = $1 AND kind = $2 AND ended_at IS NULL",
        work.group_id,
        str(kind),
    )
    return {row["subject"]: row["meter_id"] for row in rows}
