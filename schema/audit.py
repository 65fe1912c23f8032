"""The audit: who did what, from where, before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import strawberry

from backend.audit import queries
from backend.audit.queries import AuditEntry as Entry
from backend.tenancy.rules import Permission

from .context import Info
from .paging import Connection, cut, number_key, page, size
from .resolvers import field
from .scalars import ref


@strawberry.type(description="A named value.")
class KeyValue:
    """One entry of a small map."""

    key: str
    value: str


@strawberry.type(description="One action of one actor.")
class AuditEntry:
    """An entry of the group's hash-chained audit."""

    seq: int
    at: datetime
    actor_kind: str
    actor: str
    address: str
    action: str
    project: strawberry.ID | None
    subject: str
    before: list[KeyValue]
    after: list[KeyValue]


def pairs(values: Mapping[str, object] | None) -> list[KeyValue]:
    """A map as a list; what is not text is JSON."""
    return [
        KeyValue(key=key, value=value if isinstance(value, str) else json.dumps(value))
        for key, value in (values or {}).items()
    ]


def _entry_of(entry: Entry) -> AuditEntry:
    return AuditEntry(
        seq=entry.seq,
        at=entry.at,
        actor_kind=entry.actor.kind,
        actor=entry.actor.name,
        address=entry.actor.address,
        action=entry.action,
        project=None if entry.project_id is None else ref("Project", entry.project_id),
        subject=entry.subject,
        before=pairs(entry.before),
        after=pairs(entry.after),
    )


@strawberry.type
class AuditQueries:
    """Reads."""

    @field(description="The group's audit, newest first. Needs `audit:read` in the group.")
    async def audit(
        self, info: Info, first: int = 50, after: str | None = None
    ) -> Connection[AuditEntry]:
        """A page. Raises Forbidden, InvalidInput."""
        info.context.caller().require(Permission.AUDIT_READ)
        before, limit = number_key(after), size(first) + 1
        async with info.context.work() as work:
            found = await queries.entries(work, before_seq=before, limit=limit)
        rows, more = cut(found, first)
        return page([_entry_of(row) for row in rows], more=more, key=lambda node: str(node.seq))
