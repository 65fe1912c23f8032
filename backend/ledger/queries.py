"""Reads of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money

from .rules import AccountKind, Lot, LotKind


@dataclass(frozen=True, slots=True)
class EntryLine:
    """A posting with its entry, for statements. Debit positive."""

    entry_id: UUID
    business_key: str
    kind: str
    occurred_at: datetime
    account_kind: AccountKind
    ref: UUID
    amount: Money


async def lots_of_purse(work: UnitOfWork, *, purse_id: UUID) -> list[Lot]:
    """The lots of a purse (its ledger account id) with what is left of each."""
    rows = await work.fetch(
        "SELECT id, kind, amount_hao - used_hao AS remaining,"
        " row_number() OVER (ORDER BY created_at, id) AS place"
        " FROM ledger_lot WHERE group_id = $1 AND purse_id = $2",
        work.group_id,
        purse_id,
    )
    return [
        Lot(row["id"], LotKind(row["kind"]), Money(row["remaining"]), row["place"]) for row in rows
    ]


async def lot_of_source(work: UnitOfWork, *, source: str) -> UUID | None:
    """The lot that a source opened (`topup:ID`, `grant:..`), or None."""
    found: UUID | None = await work.fetchval(
        "SELECT id FROM ledger_lot WHERE group_id = $1 AND source = $2", work.group_id, source
    )
    return found


async def posted_keys(work: UnitOfWork, *, business_keys: Sequence[str]) -> set[str]:
    """Those of the business keys that are posted."""
    rows = await work.fetch(
        "SELECT business_key FROM ledger_entry WHERE group_id = $1 AND business_key = ANY($2)",
        work.group_id,
        list(business_keys),
    )
    return {row["business_key"] for row in rows}


async def entry_of_key(work: UnitOfWork, *, business_key: str) -> UUID | None:
    """The entry that was posted by a business key, or None."""
    found: UUID | None = await work.fetchval(
        "SELECT id FROM ledger_entry WHERE group_id = $1 AND business_key = $2",
        work.group_id,
        business_key,
    )
    return found


async def owed(work: UnitOfWork, *, kind: AccountKind, refs: Sequence[UUID]) -> dict[UUID, Money]:
    """What is owed on kept liability accounts (purse, in transit, meter wallet), by ref."""
    rows = await work.fetch(
        "SELECT a.ref, sum(b.balance_hao)::bigint AS balance FROM ledger_account a"
        " JOIN ledger_balance b ON b.group_id = a.group_id AND b.account_id = a.id"
        " WHERE a.group_id = $1 AND a.kind = $2 AND a.ref = ANY($3) GROUP BY a.ref",
        work.group_id,
        kind,
        list(refs),
    )
    held = {row["ref"]: -Money(row["balance"]) for row in rows}
    return {ref: held.get(ref, Money(0)) for ref in refs}


async def owed_by_kind(
    work: UnitOfWork, *, kinds: Sequence[AccountKind], refs: Sequence[UUID]
) -> dict[tuple[AccountKind, UUID], Money]:
    """What is owed on several kinds of kept accounts at once; one that is not there owes nothing."""
    rows = await work.fetch(
        "SELECT a.kind, a.ref, sum(b.balance_hao)::bigint AS balance FROM ledger_account a"
        " JOIN ledger_balance b ON b.group_id = a.group_id AND b.account_id = a.id"
        " WHERE a.group_id = $1 AND a.kind = ANY($2) AND a.ref = ANY($3) GROUP BY a.kind, a.ref",
        work.group_id,
        [str(kind) for kind in kinds],
        list(refs),
    )
    return {(AccountKind(row["kind"]), row["ref"]): -Money(row["balance"]) for row in rows}


async def derived_balance(work: UnitOfWork, *, kind: AccountKind, ref: UUID) -> Money:
    """The sum of an account's postings (debit positive), for every kind."""
    total: int = await work.fetchval(
        "SELECT coalesce(sum(p.amount_hao), 0)::bigint FROM ledger_account a"
        " JOIN ledger_posting p ON p.group_id = a.group_id AND p.account_id = a.id"
        " WHERE a.group_id = $1 AND a.kind = $2 AND a.ref = $3",
        work.group_id,
        kind,
        ref,
    )
    return Money(total)


async def lines_of_refs(work: UnitOfWork, *, refs: Sequence[UUID], limit: int) -> list[EntryLine]:
    """The newest postings on the accounts of `refs` (an account, its meters), newest first."""
    rows = await work.fetch(
        "SELECT e.id, e.business_key, e.kind, e.occurred_at, a.kind AS account_kind, a.ref,"
        " p.amount_hao FROM ledger_account a"
        " JOIN ledger_posting p ON p.group_id = a.group_id AND p.account_id = a.id"
        " JOIN ledger_entry e ON e.group_id = p.group_id AND e.id = p.entry_id"
        " WHERE a.group_id = $1 AND a.ref = ANY($2)"
        " ORDER BY e.occurred_at DESC, e.id DESC, p.line LIMIT $3",
        work.group_id,
        list(refs),
        limit,
    )
    return [
        EntryLine(
            entry_id=row["id"],
            business_key=row["business_key"],
            kind=row["kind"],
            occurred_at=row["occurred_at"],
            account_kind=AccountKind(row["account_kind"]),
            ref=row["ref"],
            amount=Money(row["amount_hao"]),
        )
        for row in rows
    ]
