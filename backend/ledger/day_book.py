"""A day of a project's book: what was recorded in a span, and what stood before it.

By `recorded_at`, the database's own clock at the transaction's start, and not by when something happened:
the book is append-only, so what was recorded in a past day is the same whenever it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.kernel.clock import Period
from backend.kernel.db import UnitOfWork

from .rules import AccountKind


@dataclass(frozen=True, slots=True)
class Moved:
    """What stood on accounts of a kind (debit positive), and came in and went out (both positive), in hao.
    `channel`: the credential, for CHANNEL only."""

    kind: AccountKind
    channel: UUID | None
    opening: int
    came: int
    went: int


@dataclass(frozen=True, slots=True)
class Turnover:
    """Entries of a kind and the money that they moved, in hao."""

    kind: str
    entries: int
    moved: int


# Entries that were recorded in [$3, $4), or at any time before $4 when $3 is NULL.
_IN_SPAN = (
    " FROM ledger_entry e"
    " JOIN ledger_posting p ON p.group_id = e.group_id AND p.entry_id = e.id"
    " JOIN ledger_account a ON a.group_id = p.group_id AND a.id = p.account_id"
    " WHERE e.group_id = $1 AND e.project_id = $2 AND e.recorded_at < $4"
    " AND ($3::timestamptz IS NULL OR e.recorded_at >= $3)"
)
_BY_ACCOUNT = (
    "SELECT a.kind, CASE WHEN a.kind = 'CHANNEL' THEN a.ref END AS channel,"
    " sum(p.amount_hao)::bigint AS net,"
    " coalesce(sum(p.amount_hao) FILTER (WHERE p.amount_hao > 0), 0)::bigint AS came,"
    " coalesce(-sum(p.amount_hao) FILTER (WHERE p.amount_hao < 0), 0)::bigint AS went"
    + _IN_SPAN
    + " GROUP BY 1, 2 ORDER BY 1, 2"
)
_BY_ENTRY = (
    "SELECT e.kind, count(DISTINCT e.id) AS entries,"
    " coalesce(sum(p.amount_hao) FILTER (WHERE p.amount_hao > 0), 0)::bigint AS moved"
    + _IN_SPAN
    + " GROUP BY 1 ORDER BY 1"
)
# A digest of each entry with all its lines, then one of all the digests in the order of the ids.
_DIGEST = (
    "SELECT sha256(coalesce(string_agg(one.digest, ''::bytea ORDER BY one.id), ''::bytea)) FROM ("
    " SELECT e.id, sha256(convert_to(string_agg(concat_ws('|', e.id, e.business_key, e.kind,"
    "  p.line, a.kind, a.ref, p.amount_hao), E'\\n' ORDER BY p.line), 'UTF8')) AS digest"
    + _IN_SPAN
    + " GROUP BY e.id) AS one"
)


async def balances_before(
    work: UnitOfWork, *, project_id: UUID, span: Period
) -> dict[tuple[AccountKind, UUID | None], int]:
    """What stood on a project's accounts when a span began, by kind and channel, in hao, summed over the
    whole book before it."""
    rows = await work.fetch(_BY_ACCOUNT, work.group_id, project_id, None, span.start)
    return {(AccountKind(row["kind"]), row["channel"]): row["net"] for row in rows}


async def moved_in(
    work: UnitOfWork,
    *,
    project_id: UUID,
    span: Period,
    opening: dict[tuple[AccountKind, UUID | None], int],
) -> list[Moved]:
    """What moved on a project's accounts in a span, on top of `opening`; each account that ever had a
    posting, by kind and channel."""
    rows = await work.fetch(_BY_ACCOUNT, work.group_id, project_id, span.start, span.end)
    moves = {(AccountKind(row["kind"]), row["channel"]): (row["came"], row["went"]) for row in rows}
    keys = sorted({*opening, *moves}, key=lambda key: (key[0], str(key[1] or "")))
    return [
        Moved(kind, channel, opening.get((kind, channel), 0), *moves.get((kind, channel), (0, 0)))
        for kind, channel in keys
    ]


async def turnover_in(work: UnitOfWork, *, project_id: UUID, span: Period) -> list[Turnover]:
    """The entries of a span by kind."""
    rows = await work.fetch(_BY_ENTRY, work.group_id, project_id, span.start, span.end)
    return [Turnover(row["kind"], row["entries"], row["moved"]) for row in rows]


async def digest_of(work: UnitOfWork, *, project_id: UUID, span: Period) -> bytes:
    """SHA-256 over every entry of a span with all its lines: one that is changed, gone or added tells."""
    found: bytes = await work.fetchval(_DIGEST, work.group_id, project_id, span.start, span.end)
    return found
