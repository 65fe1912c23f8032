"""Post entries and keep lots. Posting a business key twice does it once (C1)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.ids import uuid7
from backend.kernel.money import ZERO, Money

from .queries import lots_of_purse
from .rules import KEPT, AccountKey, AccountKind, LotKind, Overdrawn, Transfer, move, take_from_lots


async def post(work: UnitOfWork, *, project_id: UUID, transfer: Transfer, at: datetime) -> bool:
    """Write a balanced entry into a project's book; False when its key was posted before.

    Raises Conflict when the key was posted with other lines, Overdrawn when a kept liability
    would be taken below zero. The database checks the sum again at commit.
    """
    accounts = [await _account_id(work, project_id, p.account, at) for p in transfer.postings]
    entry_id = uuid7(at)
    created = await work.execute(
        "INSERT INTO ledger_entry"
        " (group_id, id, project_id, business_key, kind, lines, occurred_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (group_id, business_key) DO NOTHING",
        work.group_id,
        entry_id,
        project_id,
        transfer.business_key,
        transfer.kind,
        len(transfer.postings),
        at,
    )
    amounts = [p.amount.hao for p in transfer.postings]
    if not created:
        await _same_or_conflict(work, project_id, transfer, accounts, amounts)
        return False
    await work.execute(
        "INSERT INTO ledger_posting (group_id, entry_id, line, project_id, account_id, amount_hao)"
        " SELECT $1, $2, line, $3, account_id, amount_hao"
        " FROM unnest($4::uuid[], $5::bigint[]) WITH ORDINALITY AS t(account_id, amount_hao, line)",
        work.group_id,
        entry_id,
        project_id,
        accounts,
        amounts,
    )
    for posting, account_id in sorted(
        zip(transfer.postings, accounts, strict=True), key=lambda pair: pair[1]
    ):
        if posting.account.kind in KEPT:
            await _move_balance(work, account_id, posting.amount, posting.account.kind)
    return True


async def _account_id(work: UnitOfWork, project_id: UUID, key: AccountKey, at: datetime) -> UUID:
    await work.execute(
        "INSERT INTO ledger_account (group_id, id, project_id, kind, ref)"
        " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        work.group_id,
        uuid7(at),
        project_id,
        key.kind,
        key.ref,
    )
    account_id: UUID = await work.fetchval(
        "SELECT id FROM ledger_account"
        " WHERE group_id = $1 AND project_id = $2 AND kind = $3 AND ref = $4",
        work.group_id,
        project_id,
        key.kind,
        key.ref,
    )
    return account_id


async def _move_balance(
    work: UnitOfWork, account_id: UUID, amount: Money, kind: AccountKind
) -> None:
    """Add to a kept balance in one statement; a liability may not become a claim."""
    balance: int = await work.fetchval(
        "INSERT INTO ledger_balance AS b (group_id, account_id, balance_hao) VALUES ($1, $2, $3)"
        " ON CONFLICT (group_id, account_id)"
        " DO UPDATE SET balance_hao = b.balance_hao + EXCLUDED.balance_hao RETURNING balance_hao",
        work.group_id,
        account_id,
        amount.hao,
    )
    if balance > 0:
        raise Overdrawn(f"the {kind} would be {Money(balance)} yuan below zero")


async def _same_or_conflict(
    work: UnitOfWork,
    project_id: UUID,
    transfer: Transfer,
    accounts: list[UUID],
    amounts: list[int],
) -> None:
    rows = await work.fetch(
        "SELECT p.account_id, p.amount_hao FROM ledger_entry e"
        " JOIN ledger_posting p ON p.group_id = e.group_id AND p.entry_id = e.id"
        " WHERE e.group_id = $1 AND e.business_key = $2 AND e.project_id = $3 ORDER BY p.line",
        work.group_id,
        transfer.business_key,
        project_id,
    )
    if [(r["account_id"], r["amount_hao"]) for r in rows] != list(
        zip(accounts, amounts, strict=True)
    ):
        raise Conflict(f"the ledger key {transfer.business_key} was posted with other lines")


async def open_lot(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    kind: LotKind,
    source: str,
    amount: Money,
    at: datetime,
) -> None:
    """Remember a top-up or grant as a lot of the account's purse; the same source opens one lot."""
    purse = await _account_id(work, project_id, AccountKey(AccountKind.PURSE, account_id), at)
    await work.execute(
        "INSERT INTO ledger_lot (group_id, id, purse_id, kind, source, amount_hao, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (group_id, source) DO NOTHING",
        work.group_id,
        uuid7(at),
        purse,
        kind,
        source,
        amount.hao,
        at,
    )


async def spend(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    business_key: str,
    amount: Money,
    at: datetime,
) -> bool:
    """Use money of an account's purse: one entry to revenue, taken from its lots in order (C4).

    False when the key was spent before. Raises Overdrawn when purse or lots hold less, Conflict
    when the key was posted with other lines.
    """
    if amount <= ZERO:
        raise ValueError("spending takes a positive amount")
    purse = await _account_id(work, project_id, AccountKey(AccountKind.PURSE, account_id), at)
    await work.fetchval(
        "SELECT balance_hao FROM ledger_balance WHERE group_id = $1 AND account_id = $2 FOR UPDATE",
        work.group_id,
        purse,
    )
    transfer = move(
        business_key=business_key,
        kind="USE",
        debit=AccountKey(AccountKind.PURSE, account_id),
        credit=AccountKey(AccountKind.REVENUE, project_id),
        amount=amount,
    )
    if not await post(work, project_id=project_id, transfer=transfer, at=at):
        return False
    uses = take_from_lots(await lots_of_purse(work, purse_id=purse), amount)
    entry_id: UUID = await work.fetchval(
        "SELECT id FROM ledger_entry WHERE group_id = $1 AND business_key = $2",
        work.group_id,
        business_key,
    )
    for use in uses:
        await work.execute(
            "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
            " VALUES ($1, $2, $3, $4)",
            work.group_id,
            use.lot_id,
            entry_id,
            use.amount.hao,
        )
    return True
