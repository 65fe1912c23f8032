"""News for one person and its tries, channel by channel, kept with what is told (C27, C28)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.ids import uuid7
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .message_rules import MessageTerms
from .ports import MessageChannel
from .terms import terms_of

_ORDER = [str(channel) for channel in MessageChannel]


@dataclass(frozen=True, slots=True)
class Message:
    """News for one person; `customer_id` None: nobody is bound, only the registered phone can hear."""

    id: UUID
    project_id: UUID
    account_id: UUID
    customer_id: UUID | None
    event: str
    key: str
    params: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """A try of a message at one channel. `held_until`: it waits for the end of the quiet hours or for the
    morning after a provider's limit; `arrived_at`: the provider says that it was received."""

    id: UUID
    message_id: UUID | None
    channel: MessageChannel
    event: str
    state: str
    created_at: datetime
    held_until: datetime | None
    tried_at: datetime | None
    sent_at: datetime | None
    arrived_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Footing:
    """What news of an event stands on in a project: the group's terms, whether SMS can tell it, and whether
    a webhook hears it."""

    terms: MessageTerms
    sms: bool
    webhook: bool


async def footing(work: UnitOfWork, *, project_id: UUID, event: str) -> Footing:
    """By one statement."""
    row = await work.fetchrow(
        "SELECT t.*, EXISTS (SELECT FROM alerts_template WHERE group_id = $1 AND event = $3"
        "  AND channel = 'SMS') AS sms, EXISTS (SELECT FROM alerts_webhook WHERE group_id = $1"
        "  AND project_id = $2) AS webhook"
        " FROM (SELECT 1) AS one LEFT JOIN alerts_message_terms t ON t.group_id = $1",
        work.group_id,
        project_id,
        event,
    )
    assert row is not None
    terms = MessageTerms() if row["group_id"] is None else terms_of(row)
    return Footing(terms, row["sms"], row["webhook"])


async def open_message(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    customer_id: UUID | None,
    event: str,
    key: str,
    params: Mapping[str, str],
    at: datetime,
) -> Message | None:
    """Keep news for one person; None when `key` was told before."""
    made = Message(uuid7(at), project_id, account_id, customer_id, event, key, dict(params), at)
    created = await work.execute(
        "INSERT INTO alerts_message (group_id, id, project_id, account_id, customer_id, event, key,"
        " params, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " ON CONFLICT (group_id, key) DO NOTHING",
        work.group_id,
        made.id,
        project_id,
        account_id,
        customer_id,
        event,
        key,
        dict(params),
        at,
    )
    return made if created else None


async def message(work: UnitOfWork, *, message_id: UUID) -> Message:
    """One message, for journeys. Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM alerts_message WHERE group_id = $1 AND id = $2", work.group_id, message_id
    )
    if row is None:
        raise NotFound("no such message")
    return _message(row)


async def delivery(work: UnitOfWork, *, delivery_id: UUID) -> Delivery:
    """One try, for journeys. Raises NotFound."""
    row = await work.fetchrow(
        "SELECT * FROM alerts_delivery WHERE group_id = $1 AND id = $2", work.group_id, delivery_id
    )
    if row is None:
        raise NotFound("no such delivery")
    return _delivery(row)


async def hold(work: UnitOfWork, *, delivery_id: UUID, until: datetime, why: str | None) -> None:
    """Note until when a try waits, and why when it is not for the quiet hours."""
    await work.execute(
        "UPDATE alerts_delivery SET held_until = $3, last_error = coalesce($4, last_error)"
        " WHERE group_id = $1 AND id = $2",
        work.group_id,
        delivery_id,
        until,
        why,
    )


async def limit(work: UnitOfWork, *, delivery_id: UUID, why: str) -> None:
    """End a try that a limit forbids."""
    await work.execute(
        "UPDATE alerts_delivery SET state = 'LIMITED', last_error = $3, held_until = NULL"
        " WHERE group_id = $1 AND id = $2",
        work.group_id,
        delivery_id,
        why,
    )


async def receipt(
    work: UnitOfWork,
    *,
    channel: MessageChannel,
    provider_id: str,
    error: str | None,
    at: datetime,
) -> Delivery | None:
    """What a provider told later: it arrived (`error` None) or failed. None: no such try waits for it."""
    row = await work.fetchrow(
        "UPDATE alerts_delivery SET state = CASE WHEN $4::text IS NULL THEN 'SENT' ELSE 'FAILED' END,"
        " arrived_at = CASE WHEN $4::text IS NULL THEN $5::timestamptz END, last_error = $4"
        " WHERE group_id = $1 AND channel = $2 AND provider_id = $3 AND state = 'SENT'"
        " AND arrived_at IS NULL RETURNING *",
        work.group_id,
        channel,
        provider_id,
        error,
        at,
    )
    return None if row is None else _delivery(row)


async def messages_page(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    account_id: UUID,
    before: UUID | None,
    limit: int,
) -> list[tuple[Message, list[Delivery]]]:
    """News of an account with the tries of each, newest first (keyset). Raises NotFound (C29)."""
    if not scope.may(Permission.MESSAGE_READ, project_id):
        raise NotFound("no such account")
    rows = await work.fetch(
        "SELECT * FROM alerts_message WHERE group_id = $1 AND account_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        work.group_id,
        account_id,
        before,
        limit,
    )
    tries = await work.fetch(
        "SELECT * FROM alerts_delivery WHERE group_id = $1 AND message_id = ANY($2)",
        work.group_id,
        [row["id"] for row in rows],
    )
    found: dict[UUID, list[Delivery]] = {row["id"]: [] for row in rows}
    for row in sorted(tries, key=lambda row: _ORDER.index(row["channel"])):
        found[row["message_id"]].append(_delivery(row))
    return [(_message(row), found[row["id"]]) for row in rows]


def _message(row: Row) -> Message:
    return Message(
        row["id"],
        row["project_id"],
        row["account_id"],
        row["customer_id"],
        row["event"],
        row["key"],
        row["params"],
        row["created_at"],
    )


def _delivery(row: Row) -> Delivery:
    return Delivery(
        row["id"],
        row["message_id"],
        MessageChannel(row["channel"]),
        row["event"],
        row["state"],
        row["created_at"],
        row["held_until"],
        row["tried_at"],
        row["sent_at"],
        row["arrived_at"],
        row["last_error"],
    )
