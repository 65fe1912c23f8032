"""Write audit entries. Each entry's hash covers its content and the hash before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.scope import Actor

from .rules import GENESIS, State, content_of, entry_hash


@dataclass(frozen=True, slots=True)
class NewEntry:
    """Something that was done, as `record` takes it."""

    actor: Actor
    action: str
    subject: str
    at: datetime
    project_id: UUID | None = None
    before: State | None = None
    after: State | None = None


async def record(
    work: UnitOfWork,
    *,
    actor: Actor,
    action: str,
    subject: str,
    at: datetime,
    project_id: UUID | None = None,
    before: State | None = None,
    after: State | None = None,
) -> None:
    """Append an entry. `action` is object:part:verb, such as `account:self:open`.

    Takes the group's audit lock until commit, so entries of a group are in commit order.
    """
    entry = NewEntry(actor, action, subject, at, project_id, before, after)
    await record_all(work, entries=[entry])


async def record_all(work: UnitOfWork, *, entries: Sequence[NewEntry]) -> None:
    """As `record` for many, in their order, by one statement."""
    if not entries:
        return
    await work.execute("SELECT pg_advisory_xact_lock($1, $2)", 7281, work.group_id % 2**31)
    last = await work.fetchrow(
        "SELECT seq, hash FROM audit_entry WHERE group_id = $1 ORDER BY seq DESC LIMIT 1",
        work.group_id,
    )
    seq = last["seq"] if last else 0
    previous = last["hash"] if last else GENESIS
    rows: list[tuple[Any, ...]] = []
    for entry in entries:
        seq += 1
        actor = entry.actor
        content = content_of(
            group_id=work.group_id,
            seq=seq,
            at=entry.at,
            actor=actor,
            action=entry.action,
            project_id=entry.project_id,
            subject=entry.subject,
            before=entry.before,
            after=entry.after,
        )
        previous = entry_hash(previous, content)
        who = (actor.kind, actor.id, actor.name, actor.address)
        what = (entry.action, entry.project_id, entry.subject)
        rows.append((seq, entry.at, *who, *what, content["before"], content["after"], previous))
    await work.execute(_INSERT, work.group_id, *map(list, zip(*rows, strict=True)))


_INSERT = (
    "INSERT INTO audit_entry (group_id, seq, at, actor_kind, actor_id, actor_name, address, action,"
    " project_id, subject, before, after, hash) SELECT $1, e.* FROM unnest($2::bigint[],"
    " $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::uuid[],"
    " $10::text[], $11::jsonb[], $12::jsonb[], $13::bytea[]) AS e"
)
