"""Exception cases and deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.ids import uuid7
from backend.kernel.metrics import CASES
from backend.kernel.scope import Scope
from backend.outbox.operations import emit
from backend.tenancy.rules import Permission

from .ports import MessageChannel
from .queries import Case, case_of


async def open_case(
    work: UnitOfWork,
    *,
    project_id: UUID,
    kind: str,
    subject: str,
    detail: Mapping[str, str],
    at: datetime,
) -> UUID | None:
    """Raise something a person must look at; None when it is open already."""
    case_id = uuid7(at)
    created = await work.execute(
        "INSERT INTO alerts_case (group_id, id, project_id, kind, subject, detail, opened_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)"
        " ON CONFLICT (group_id, kind, subject) WHERE resolved_at IS NULL DO NOTHING",
        work.group_id,
        case_id,
        project_id,
        kind,
        subject,
        dict(detail),
        at,
    )
    if created:
        CASES.labels(kind=kind).inc()
    return case_id if created else None


@dataclass(frozen=True, slots=True)
class NewCase:
    """Something a person must look at, as `open_case` takes it."""

    project_id: UUID
    kind: str
    subject: str
    detail: Mapping[str, str]


async def open_cases(work: UnitOfWork, *, cases: Sequence[NewCase], at: datetime) -> int:
    """Raise many by one statement; returns how many were not open already."""
    if not cases:
        return 0
    rows = await work.fetch(
        "INSERT INTO alerts_case (group_id, id, project_id, kind, subject, detail, opened_at)"
        " SELECT $1, c.id, c.project_id, c.kind, c.subject, c.detail, $7 FROM"
        " unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::jsonb[])"
        "   AS c(id, project_id, kind, subject, detail)"
        " ON CONFLICT (group_id, kind, subject) WHERE resolved_at IS NULL DO NOTHING RETURNING kind",
        work.group_id,
        [uuid7(at) for _ in cases],
        [case.project_id for case in cases],
        [case.kind for case in cases],
        [case.subject for case in cases],
        [dict(case.detail) for case in cases],
        at,
    )
    for row in rows:
        CASES.labels(kind=row["kind"]).inc()
    return len(rows)


async def close_cases(
    work: UnitOfWork, *, kind: str, subjects: Sequence[str], note: str, at: datetime
) -> int:
    """Close cases whose cause went away by itself, with a note; returns how many were open."""
    return await work.execute(
        "UPDATE alerts_case SET resolved_at = $4, resolved_by = 'system', note = $5"
        " WHERE group_id = $1 AND kind = $2 AND subject = ANY($3) AND resolved_at IS NULL",
        work.group_id,
        kind,
        list(subjects),
        at,
        note,
    )


async def resolve_case(
    work: UnitOfWork, *, scope: Scope, case_id: UUID, note: str, at: datetime
) -> Case:
    """Close a case with a note. Raises NotFound, Forbidden, InvalidInput, Conflict (closed)."""
    row = await work.fetchrow(
        "SELECT * FROM alerts_case WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        case_id,
    )
    if row is None or not scope.may(Permission.CASE_READ, row["project_id"]):
        raise NotFound("no such case")
    scope.require(Permission.CASE_RESOLVE, row["project_id"])
    if len(note.strip()) < 4:
        raise InvalidInput("say in the note what was found and done", field="note")
    if row["resolved_at"] is not None:
        raise Conflict("the case was resolved before")
    closed = await work.fetchrow(
        "UPDATE alerts_case SET resolved_at = $3, resolved_by = $4, note = $5"
        " WHERE group_id = $1 AND id = $2 RETURNING *",
        work.group_id,
        case_id,
        at,
        scope.actor.name,
        note.strip(),
    )
    assert closed is not None
    await record(
        work,
        actor=scope.actor,
        action="case:self:resolve",
        subject=str(case_id),
        at=at,
        project_id=row["project_id"],
        before={"kind": row["kind"], "subject": row["subject"]},
        after={"note": note.strip()},
    )
    return case_of(closed)


async def queue_delivery(
    work: UnitOfWork,
    *,
    channel: MessageChannel,
    event: str,
    key: str,
    customer_id: UUID | None,
    content: Mapping[str, str],
    at: datetime,
    message_id: UUID | None = None,
    held_until: datetime | None = None,
) -> bool:
    """Write a message into the outbox in the caller's transaction; False when `key` was queued.

    `content` is the outbox payload: address, text, and `param_*` template variables. `message_id`: it is a
    try of that message, the next of which comes when this one is refused.
    """
    delivery_id = uuid7(at)
    created = await work.execute(
        "INSERT INTO alerts_delivery (group_id, id, channel, event, key, customer_id, state,"
        " created_at, message_id, held_until) VALUES ($1, $2, $3, $4, $5, $6, 'QUEUED', $7, $8, $9)"
        " ON CONFLICT (group_id, channel, key) DO NOTHING",
        work.group_id,
        delivery_id,
        channel,
        event,
        key,
        customer_id,
        at,
        message_id,
        held_until,
    )
    if created:
        await emit(
            work,
            topic="message.send",
            key=str(delivery_id),
            payload={
                "delivery_id": str(delivery_id),
                "channel": str(channel),
                "event": event,
                "key": key,
                **content,
            },
            at=at,
            due_at=held_until,
        )
    return bool(created)


async def mark_delivery(
    work: UnitOfWork,
    *,
    delivery_id: UUID,
    provider_id: str | None,
    error: str | None,
    at: datetime,
) -> None:
    """SENT with the provider's id, or REFUSED for good with its words."""
    await work.execute(
        "UPDATE alerts_delivery SET state = $3, sent_at = $4, provider_id = $5, last_error = $6,"
        " held_until = NULL WHERE group_id = $1 AND id = $2",
        work.group_id,
        delivery_id,
        "SENT" if error is None else "REFUSED",
        at if error is None else None,
        provider_id,
        error,
    )
