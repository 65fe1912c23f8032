"""What an audit entry's hash covers: its content and the hash before it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from backend.kernel.canonical import canonical
from backend.kernel.scope import Actor

State = Mapping[str, str | int | bool | list[str] | None]
GENESIS = bytes(32)


def entry_hash(previous: bytes, content: Mapping[str, object]) -> bytes:
    """SHA-256 over the previous hash and the canonical JSON of the entry."""
    return hashlib.sha256(previous + canonical(content)).digest()


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
        # A rewritten row may hold any JSON here; it must be named, not crash the check.
        "before": dict(before) if isinstance(before, Mapping) else before,
        "after": dict(after) if isinstance(after, Mapping) else after,
    }
