"""Reads of cases and deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .ports import MessageChannel


@dataclass(frozen=True, slots=True)
class Case:
    """An exception case: open until a person resolves it with a note."""

    id: UUID
    project_id: UUID
    kind: str
    subject: str
    detail: Mapping[str, str]
    opened_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None


def case_of(row: Row) -> Case:
    """A case from its table row."""
    return Case(
        id=row["id"],
        project_id=row["project_id"],
        kind=row["kind"],
        subject=row["subject"],
        detail=row["detail"],
        opened_at=row["opened_at"],
        resolved_at=row["resolved_at"],
        resolved_by=row["resolved_by"],
        note=row["note"],
    )


# Two texts: as a value `only_open` keeps the index of the open ones from being taken.
_OF_PROJECT = (
    "SELECT * FROM alerts_case WHERE group_id = $1 AND project_id = $2"
    " AND ($3::uuid IS NULL OR id < $3)"
)
_PAGE = f"{_OF_PROJECT} ORDER BY id DESC LIMIT $4"
_OPEN_PAGE = f"{_OF_PROJECT} AND resolved_at IS NULL ORDER BY id DESC LIMIT $4"


async def cases_page(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    only_open: bool,
    before: UUID | None,
    limit: int,
) -> list[Case]:
    """Cases of a project, newest first, those older than `before` (keyset). Raises NotFound."""
    if not scope.may(Permission.CASE_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        _OPEN_PAGE if only_open else _PAGE,
        work.group_id,
        project_id,
        before,
        limit,
    )
    return [case_of(row) for row in rows]


async def case(work: UnitOfWork, *, scope: Scope, case_id: UUID) -> Case:
    """One case for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM alerts_case WHERE group_id = $1 AND id = $2", work.group_id, case_id
    )
    if row is None or not scope.may(Permission.CASE_READ, row["project_id"]):
        raise NotFound("no such case")
    return case_of(row)


async def deliveries_sent(work: UnitOfWork, *, event: str, key_like: str) -> int:
    """How many messages of an event with keys like `key_like` were accepted by a provider."""
    count: int = await work.fetchval(
        "SELECT count(*) FROM alerts_delivery"
        " WHERE group_id = $1 AND event = $2 AND key LIKE $3 AND state = 'SENT'",
        work.group_id,
        event,
        key_like,
    )
    return count


async def delivered_at(work: UnitOfWork, *, keys: Sequence[str]) -> dict[str, datetime]:
    """When news of each key (as `tell_customers` took it) was first accepted by a provider, for whom and by
    which channel ever; what nobody is known to have been told has no entry, nor what did not arrive."""
    rows = await work.fetch(
        # Each person's message has the key, a dash and eight letters. The bounds are made here: made of a
        # row in SQL, row-level security would keep them from the index.
        "SELECT k.key, min(d.sent_at) AS at FROM unnest($2::text[], $4::text[], $5::text[])"
        "  AS k(key, above, below)"
        " JOIN alerts_delivery d ON d.group_id = $1 AND d.channel = ANY($3) AND d.state = 'SENT'"
        "  AND d.key > k.above AND d.key < k.below AND length(d.key) = length(k.key) + 9"
        " GROUP BY 1",
        work.group_id,
        list(keys),
        [str(channel) for channel in MessageChannel],
        [f"{key}-" for key in keys],
        [f"{key}." for key in keys],
    )
    return {row["key"]: row["at"] for row in rows}
