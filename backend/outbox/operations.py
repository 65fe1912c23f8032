"""Emit, claim, finish and retry events; receive what comes from outside once.

An event is written in the transaction of what it tells, so it exists if and only if that happened.
Delivery is at least once: handlers are idempotent. Redis and arq only ring the bell (C12).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.ids import uuid7, uuid7s

BELL = "shuidian_outbox"
_BACKOFF_CAP = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Event:
    """One claimed event. `attempts` counts this one."""

    group_id: int
    id: UUID
    topic: str
    payload: Mapping[str, str]
    attempts: int


async def emit(
    work: UnitOfWork,
    *,
    topic: str,
    key: str,
    payload: Mapping[str, str],
    at: datetime,
    due_at: datetime | None = None,
) -> bool:
    """Write an event in the caller's transaction; False when (topic, key) was emitted before.

    The bell rings when the transaction commits, for events that are due at once.
    """
    return bool(await emit_all(work, topic=topic, events={key: payload}, at=at, due_at=due_at))


async def emit_all(
    work: UnitOfWork,
    *,
    topic: str,
    events: Mapping[str, Mapping[str, str]],
    at: datetime,
    due_at: datetime | Mapping[str, datetime] | None = None,
) -> int:
    """As `emit` for many events (key to payload) by one statement; how many are new. `due_at`: of all, or by
    key."""
    due = due_at if isinstance(due_at, Mapping) else dict.fromkeys(events, due_at or at)
    created = await work.execute(
        "INSERT INTO outbox_event (group_id, id, topic, key, payload, created_at, due_at)"
        " SELECT $1, e.id, $3, e.key, e.payload, $6, e.due_at FROM unnest("
        "  $2::uuid[], $4::text[], $5::jsonb[], $7::timestamptz[]) AS e(id, key, payload, due_at)"
        " ON CONFLICT (group_id, topic, key) DO NOTHING",
        work.group_id,
        list(islice(uuid7s(at, together=len(events) or 1), len(events))),
        topic,
        list(events),
        [dict(payload) for payload in events.values()],
        at,
        [due[key] for key in events],
    )
    if created and min(due.values()) <= at:
        work.notify(BELL, str(work.group_id))
    return created


async def claim(
    work: UnitOfWork,
    *,
    at: datetime,
    lease: timedelta,
    limit: int,
    topics: Collection[str] | None = None,
) -> list[Event]:
    """Lease due events (of `topics`; None: of all) to this worker until `at + lease`; a dead worker's lease
    simply runs out."""
    # MATERIALIZED: as a plain subquery the planner may run it once a row and lock past the limit.
    rows = await work.fetch(
        "WITH picked AS MATERIALIZED (SELECT id FROM outbox_event"
        "   WHERE group_id = $1 AND done_at IS NULL AND ready_at <= $3"
        "     AND ($5::text[] IS NULL OR topic = ANY($5))"
        "   ORDER BY ready_at LIMIT $4 FOR UPDATE SKIP LOCKED)"
        " UPDATE outbox_event e SET leased_until = $2, attempts = attempts + 1"
        " FROM picked p WHERE e.group_id = $1 AND e.id = p.id"
        " RETURNING e.id, e.topic, e.payload, e.attempts",
        work.group_id,
        at + lease,
        at,
        limit,
        None if topics is None else list(topics),
    )
    return [
        Event(work.group_id, row["id"], row["topic"], row["payload"], row["attempts"])
        for row in rows
    ]


async def finish(work: UnitOfWork, *, event_id: UUID, at: datetime) -> None:
    """The event's work is done and must not be done again.

    A sent message's payload (phone number, code, text) is not kept.
    """
    await finish_all(work, event_ids=[event_id], at=at)


async def finish_all(work: UnitOfWork, *, event_ids: Sequence[UUID], at: datetime) -> None:
    """As `finish` for many by one statement."""
    await work.execute(
        "UPDATE outbox_event SET done_at = $3, leased_until = NULL, last_error = NULL,"
        " payload = CASE WHEN topic = 'message.send' THEN '{}' ELSE payload END"
        " WHERE group_id = $1 AND id = ANY($2)",
        work.group_id,
        list(event_ids),
        at,
    )


async def retry(
    work: UnitOfWork,
    *,
    event_id: UUID,
    at: datetime,
    error: str,
    after: timedelta | None = None,
) -> None:
    """Try the event again after `after`, or after a doubling pause (2 s up to 10 min)."""
    await work.execute(
        "UPDATE outbox_event SET leased_until = NULL, last_error = $4,"
        " due_at = $3::timestamptz + coalesce($5::interval,"
        "   least($6::interval, interval '1 second' * 2 ^ least(attempts, 12)))"
        " WHERE group_id = $1 AND id = $2",
        work.group_id,
        event_id,
        at,
        error[:500],
        after,
        _BACKOFF_CAP,
    )


async def postpone(work: UnitOfWork, *, topic: str, key: str, due_at: datetime) -> None:
    """Make a finished or waiting event due at `due_at`; one being worked on keeps its lease."""
    await postpone_all(work, topic=topic, keys=[key], due_at=due_at)


async def postpone_all(
    work: UnitOfWork, *, topic: str, keys: Sequence[str], due_at: datetime
) -> None:
    """As `postpone` for many by one statement."""
    await work.execute(
        "UPDATE outbox_event SET due_at = $4, done_at = NULL"
        " WHERE group_id = $1 AND topic = $2 AND key = ANY($3)",
        work.group_id,
        topic,
        list(keys),
        due_at,
    )
    work.notify(BELL, str(work.group_id))


async def take_back(work: UnitOfWork, *, topic: str, key: str, due_at: datetime) -> None:
    """Make an event due whoever has it leased: its worker is known to be gone, or bears a second one."""
    await work.execute(
        "UPDATE outbox_event SET due_at = $4, done_at = NULL, leased_until = NULL"
        " WHERE group_id = $1 AND topic = $2 AND key = $3",
        work.group_id,
        topic,
        key,
        due_at,
    )
    work.notify(BELL, str(work.group_id))


async def extend_lease(work: UnitOfWork, *, event_ids: Sequence[UUID], until: datetime) -> None:
    """Lease claimed events for longer: their work takes longer."""
    await work.execute(
        "UPDATE outbox_event SET leased_until = $3 WHERE group_id = $1 AND id = ANY($2)",
        work.group_id,
        list(event_ids),
        until,
    )


async def release(work: UnitOfWork, *, event_ids: Sequence[UUID]) -> None:
    """Give back claimed events that could not be handed on: nothing was tried."""
    await work.execute(
        "UPDATE outbox_event SET leased_until = NULL, attempts = attempts - 1"
        " WHERE group_id = $1 AND id = ANY($2) AND done_at IS NULL",
        work.group_id,
        list(event_ids),
    )


async def reopen_if_done(work: UnitOfWork, *, topic: str, key: str, due_at: datetime) -> None:
    """Make a finished event due again; one that waits or is worked on is left alone."""
    await reopen_all_if_done(work, topic=topic, keys=[key], due_at=due_at)


async def reopen_all_if_done(
    work: UnitOfWork, *, topic: str, keys: Sequence[str], due_at: datetime
) -> None:
    """As `reopen_if_done` for many by one statement."""
    await work.execute(
        "UPDATE outbox_event SET due_at = $4, done_at = NULL"
        " WHERE group_id = $1 AND topic = $2 AND key = ANY($3) AND done_at IS NOT NULL",
        work.group_id,
        topic,
        list(keys),
        due_at,
    )


async def forget_done(work: UnitOfWork, *, before: datetime) -> int:
    """Delete events that were finished before `before`; returns how many."""
    return await work.execute(
        "DELETE FROM outbox_event WHERE group_id = $1 AND done_at < $2", work.group_id, before
    )


async def receive(
    work: UnitOfWork, *, channel: str, key: str, body: Mapping[str, object], at: datetime
) -> UUID | None:
    """Store something from outside once; None when (channel, key) was received before (C5)."""
    inbox_id = uuid7(at)
    created = await work.execute(
        "INSERT INTO outbox_inbox (group_id, id, channel, key, body, received_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (group_id, channel, key) DO NOTHING",
        work.group_id,
        inbox_id,
        channel,
        key,
        dict(body),
        at,
    )
    return inbox_id if created else None


async def handled(work: UnitOfWork, *, inbox_id: UUID, outcome: str, at: datetime) -> None:
    """Note what became of a received item."""
    await work.execute(
        "UPDATE outbox_inbox SET handled_at = $3, outcome = $4 WHERE group_id = $1 AND id = $2",
        work.group_id,
        inbox_id,
        at,
        outcome,
    )
