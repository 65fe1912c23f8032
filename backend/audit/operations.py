"""Write audit entries. Each entry's hash covers its content and the hash before it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.scope import Actor

from .rules import GENESIS, State, content_of, entry_hash


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
    await work.execute("SELECT pg_advisory_xact_lock($1, $2)", 7281, work.group_id % 2**31)
    last = await work.fetchrow(
        "SELECT seq, hash FROM audit_entry WHERE group_id = $1 ORDER BY seq DESC LIMIT 1",
        work.group_id,
    )
    seq = last["seq"] + 1 if last else 1
    previous = last["hash"] if last else GENESIS
    content = content_of(
        group_id=work.group_id,
        seq=seq,
        at=at,
        actor=actor,
        action=action,
        project_id=project_id,
        subject=subject,
        before=before,
        after=after,
    )
    await work.execute(
        "INSERT INTO audit_entry (group_id, seq, at, actor_kind, actor_id, actor_name, address,"
        " action, project_id, subject, before, after, hash)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        work.group_id,
        seq,
        at,
        actor.kind,
        actor.id,
        actor.name,
        actor.address,
        action,
        project_id,
        subject,
        content["before"],
        content["after"],
        entry_hash(previous, content),
    )
