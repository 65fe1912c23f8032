"""Reads of the outbox and inbox."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork, platform_connection


async def groups_due(at: datetime) -> list[int]:
    """Groups that have events due and not leased: all that is asked across groups."""
    async with platform_connection() as connection:
        rows = await connection.fetch("SELECT outbox_groups_due($1) AS group_id", at)
    return [row["group_id"] for row in rows]


async def oldest_due(at: datetime) -> datetime | None:
    """When the oldest event that waits for a worker became due, over all groups; None when none waits."""
    async with platform_connection() as connection:
        oldest: datetime | None = await connection.fetchval("SELECT outbox_oldest_due($1)", at)
    return oldest


async def next_due(after: datetime, until: datetime, *, topics: Collection[str]) -> datetime | None:
    """When the next unfinished event of `topics` becomes due, or its lease ends, within that time, over all
    groups."""
    async with platform_connection() as connection:
        due: datetime | None = await connection.fetchval(
            "SELECT outbox_next_due($1, $2, $3)", after, until, list(topics)
        )
    return due


async def received(work: UnitOfWork, *, inbox_id: UUID) -> Mapping[str, str]:
    """The body of an inbox item; KeyError never: ids come from our own events."""
    body: Mapping[str, str] = await work.fetchval(
        "SELECT body FROM outbox_inbox WHERE group_id = $1 AND id = $2", work.group_id, inbox_id
    )
    return body


async def outcome_of(work: UnitOfWork, *, channel: str, key: str) -> str | None:
    """The outcome stored for a received item, None while it is being handled."""
    outcome: str | None = await work.fetchval(
        "SELECT outcome FROM outbox_inbox WHERE group_id = $1 AND channel = $2 AND key = $3",
        work.group_id,
        channel,
        key,
    )
    return outcome
