"""Alarms as episodes: a row from the crossing until the cause is gone (A22, C27).

Unique while open by (group, kind, subject), so that whoever looks may raise the same one again and again:
only its first raise opens a row, the later ones move its `detail`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .alarm_rules import AlarmKind

BELL = "alarm_raised"  # NOTIFY channel; the payload is the group's id


@dataclass(frozen=True, slots=True)
class NewAlarm:
    """What has crossed its threshold. `subject`: what it is one alarm of (an id, as text); the others name
    where it is shown. `level` as AlarmLevel, 1 to 3. `detail`: the values of now, for people. `until_seen`:
    it tells what happened and is over, and stands until somebody acknowledges it."""

    project_id: UUID
    kind: AlarmKind
    subject: str
    account_id: UUID | None
    meter_id: UUID | None
    gateway_id: UUID | None
    level: int
    detail: Mapping[str, str]
    until_seen: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """An episode. `detail` as it was seen last; `ended_at`: None while it stands; `ended_why` in words."""

    id: UUID
    project_id: UUID
    kind: AlarmKind
    level: int
    subject: str
    account_id: UUID | None
    meter_id: UUID | None
    gateway_id: UUID | None
    detail: Mapping[str, str]
    began_at: datetime
    ended_at: datetime | None
    ended_why: str | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    note: str | None


_RAISE = (
    "WITH raised AS (INSERT INTO alerts_alarm AS a (group_id, id, project_id, kind, level, subject,"
    "  account_id, meter_id, gateway_id, detail, until_seen, began_at)"
    " SELECT $1, n.id, n.project_id, n.kind, n.level, n.subject, n.account_id, n.meter_id,"
    "  n.gateway_id, n.detail, n.until_seen, $12 FROM unnest($2::uuid[], $3::uuid[], $4::text[],"
    "   $5::smallint[], $6::text[], $7::uuid[], $8::uuid[], $9::uuid[], $10::jsonb[], $11::boolean[])"
    "   AS n(id, project_id, kind, level, subject, account_id, meter_id, gateway_id, detail,"
    "   until_seen)"
    " ON CONFLICT (group_id, kind, subject) WHERE ended_at IS NULL"
    "  DO UPDATE SET detail = EXCLUDED.detail WHERE a.detail IS DISTINCT FROM EXCLUDED.detail"
    " RETURNING a.*)"
    " SELECT r.* FROM raised r WHERE r.id = ANY($2) ORDER BY r.id"
)
_END = (
    "UPDATE alerts_alarm SET ended_at = greatest(began_at, $4), ended_why = $5"
    " WHERE group_id = $1 AND kind = $2 AND subject = ANY($3) AND ended_at IS NULL"
)


async def raise_alarms(
    work: UnitOfWork, *, alarms: Sequence[NewAlarm], at: datetime
) -> list[Alarm]:
    """Raise alarms by one statement; returns those that were not open already. One that is open has its
    `detail` moved. Of two with the same kind and subject the first counts."""
    once: dict[tuple[AlarmKind, str], NewAlarm] = {}
    for alarm in alarms:
        once.setdefault((alarm.kind, alarm.subject), alarm)
    if not once:
        return []
    # By subject, so that two who raise at once never wait for each other crosswise.
    new = [once[key] for key in sorted(once)]
    rows = await work.fetch(
        _RAISE,
        work.group_id,
        [uuid7(at) for _ in new],
        [alarm.project_id for alarm in new],
        [str(alarm.kind) for alarm in new],
        [alarm.level for alarm in new],
        [alarm.subject for alarm in new],
        [alarm.account_id for alarm in new],
        [alarm.meter_id for alarm in new],
        [alarm.gateway_id for alarm in new],
        [dict(alarm.detail) for alarm in new],
        [alarm.until_seen for alarm in new],
        at,
    )
    if rows:
        work.notify(BELL, str(work.group_id))
    return [alarm_of(row) for row in rows]


async def end_alarms(
    work: UnitOfWork, *, kind: AlarmKind, subjects: Sequence[str], note: str, at: datetime
) -> int:
    """End the open alarms of a kind whose cause is gone; returns how many there were."""
    if not subjects:
        return 0
    return await work.execute(_END, work.group_id, str(kind), list(subjects), at, note)


async def standing(
    work: UnitOfWork, *, kinds: Sequence[AlarmKind], subjects: Sequence[str]
) -> dict[str, list[UUID]]:
    """The ids of the open alarms of these kinds, by subject; one without any has no entry."""
    rows = await work.fetch(
        "SELECT subject, id FROM alerts_alarm WHERE group_id = $1 AND kind = ANY($2)"
        " AND subject = ANY($3) AND ended_at IS NULL",
        work.group_id,
        [str(kind) for kind in kinds],
        list(subjects),
    )
    found: dict[str, list[UUID]] = {}
    for subject, alarm_id in rows:
        found.setdefault(subject, []).append(alarm_id)
    return found


async def acknowledge(
    work: UnitOfWork, *, scope: Scope, alarm_id: UUID, note: str, at: datetime
) -> Alarm:
    """Say that somebody looks after an alarm; it ends only when its cause is gone, or with this when it stood
    until it was seen.

    Raises NotFound, Forbidden, InvalidInput (the note says nothing), Conflict (acknowledged before).
    """
    row = await work.fetchrow(
        "SELECT * FROM alerts_alarm WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        alarm_id,
    )
    if row is None or not scope.may(Permission.ALARM_READ, row["project_id"]):
        raise NotFound("no such alarm")
    scope.require(Permission.ALARM_ACKNOWLEDGE, row["project_id"])
    told = note.strip()
    if not 4 <= len(told) <= 200:
        raise InvalidInput("say in the note what is done, in 4 to 200 characters", field="note")
    if row["acknowledged_at"] is not None:
        raise Conflict("the alarm was acknowledged before")
    known = await work.fetchrow(
        "UPDATE alerts_alarm SET acknowledged_at = $3, acknowledged_by = $4, note = $5,"
        " ended_at = CASE WHEN until_seen THEN greatest(began_at, $3) ELSE ended_at END,"
        " ended_why = CASE WHEN until_seen THEN 'it was acknowledged' ELSE ended_why END"
        " WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        alarm_id,
        at,
        scope.actor.name,
        told,
    )
    assert known is not None
    await record(
        work,
        actor=scope.actor,
        action="alarm:self:acknowledge",
        subject=str(alarm_id),
        at=at,
        project_id=row["project_id"],
        before={"kind": row["kind"], "subject": row["subject"]},
        after={"note": told},
    )
    return alarm_of(known)


def alarm_of(row: Row) -> Alarm:
    """An alarm from its table row."""
    return Alarm(
        id=row["id"],
        project_id=row["project_id"],
        kind=AlarmKind(row["kind"]),
        level=row["level"],
        subject=row["subject"],
        account_id=row["account_id"],
        meter_id=row["meter_id"],
        gateway_id=row["gateway_id"],
        detail=row["detail"],
        began_at=row["began_at"],
        ended_at=row["ended_at"],
        ended_why=row["ended_why"],
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
        note=row["note"],
    )
