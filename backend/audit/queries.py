"""Read and verify the audit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.scope import Actor

from .rules import GENESIS, State, content_of, entry_hash

_AT_ONCE = 2_000


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


class Verified(NamedTuple):
    """How many entries of a chain hold, the hash of the last of them, and the number of the first that is
    broken, None when all hold. What was cut off at the end leaves a chain that holds: who keeps an earlier
    count and hash sees it."""

    entries: int
    head: bytes
    broken_at: int | None


async def verify(work: UnitOfWork) -> Verified:
    """Go through the group's whole chain, some thousand entries at a time."""
    previous, held = GENESIS, 0
    while True:
        rows = await work.fetch(
            "SELECT * FROM audit_entry WHERE group_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            work.group_id,
            held,
            _AT_ONCE,
        )
        for row in rows:
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
            if entry.seq != held + 1 or entry_hash(previous, content) != row["hash"]:
                return Verified(held, previous, held + 1)
            previous, held = row["hash"], held + 1
        if len(rows) < _AT_ONCE:
            return Verified(held, previous, None)


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
