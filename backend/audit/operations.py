"""Write audit entries. Each entry's hash covers its content and the hash before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.scope import Actor

State = Mapping[str, str | int | bool | None | list[str]]
GENESIS = bytes(32)


def entry_hash(previous: bytes, content: Mapping[str, object]) -> bytes:
    """SHA-256 over the previous hash and the canonical JSON of the entry."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(previous + canonical.encode()).digest()


def content_of(
    *,
    group_id: int,
    seq: int,
    at: datetime,
    actor: Actor,
    action: str,
    project_id: UUID | None,
    subject: str,
    before: State | None,
    after: State | None,
) -> dict[str, object]:
    """What the hash covers, in a form that a reader of the table can rebuild."""
    return {
        "group": group_id,
        "seq": seq,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": [actor.kind, actor.id, actor.name, actor.address],
        "action": action,
        "project": str(project_id) if project_id else None,
        "subject": subject,
        "before": dict(before) if before is not None else None,
        "after": dict(after) if after is not None else None,
    }


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
