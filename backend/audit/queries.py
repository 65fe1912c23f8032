"""Read and verify the audit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.scope import Actor

from .rules import GENESIS, State, content_of, entry_hash


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry as people read it."""

    seq: int
    at: datetime
    actor: Actor
    action: str
    project_id: UUID | None
    subject: str
    before: State | None
    after: State | None


async def entries(work: UnitOfWork, *, before_seq: int | None, limit: int) -> list[AuditEntry]:
    """The newest entries first, those before `before_seq` when it is given."""
    rows = await work.fetch(
        "SELECT * FROM audit_entry WHERE group_id = $1 AND ($2::bigint IS NULL OR seq < $2)"
        " ORDER BY seq DESC LIMIT $3",
        work.group_id,
        before_seq,
        limit,
    )
    return [_entry(row) for row in rows]


async def verify(work: UnitOfWork) -> int | None:
    """The number of the first entry whose chain is broken, or None when the chain holds."""
    previous, expected = GENESIS, 1
    for row in await work.fetch(
        "SELECT * FROM audit_entry WHERE group_id = $1 ORDER BY seq", work.group_id
    ):
        entry = _entry(row)
        content = content_of(
            group_id=work.group_id,
            seq=entry.seq,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            project_id=entry.project_id,
            subject=entry.subject,
            before=entry.before,
            after=entry.after,
        )
        if entry.seq != expected or entry_hash(previous, content) != row["hash"]:
            return expected
        previous, expected = row["hash"], expected + 1
    return None


def _entry(row: Row) -> AuditEntry:
    return AuditEntry(
        seq=row["seq"],
        at=row["at"],
        actor=Actor(row["actor_kind"], row["actor_id"], row["actor_name"], row["address"]),
        action=row["action"],
        project_id=row["project_id"],
        subject=row["subject"],
        before=row["before"],
        after=row["after"],
    )
