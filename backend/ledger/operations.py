"""Post entries, keep lots, give grants. Posting a business key twice does it once (C1).

Balances and what is left of lots are kept by the database itself, by the statement that posts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.ids import uuid7
from backend.kernel.money import ZERO, Money

from .entries import account_ids as account_ids
from .entries import post as post
from .entries import post_all as post_all
from .entries import write_entry as write_entry
from .queries import entry_of_key, lot_of_source, lots_of_purse
from .rules import (
    AccountKey,
    AccountKind,
    LotKind,
    LotUse,
    move,
    take_from_lots,
)


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
    """Remember a top-up or grant as a lot of a purse (`account_id`: the purse's ref); the same source
    opens one lot."""
    lot = NewLot(account_id, kind, source, amount)
    await open_lots(work, project_id=project_id, lots=[lot], at=at)


@dataclass(frozen=True, slots=True)
class NewLot:
    """A lot to be opened: `account_id` is the purse's ref, `source` what it comes from."""

    account_id: UUID
    kind: LotKind
    source: str
    amount: Money


async def open_lots(
    work: UnitOfWork, *, project_id: UUID, lots: Sequence[NewLot], at: datetime
) -> None:
    """As `open_lot`, for many by one statement."""
    keys = [AccountKey(AccountKind.PURSE, lot.account_id) for lot in lots]
    purses = await account_ids(work, project_id=project_id, keys=keys, at=at)
    await work.execute(
        "INSERT INTO ledger_lot (group_id, id, purse_id, kind, source, amount_hao, created_at)"
        " SELECT $1, l.id, l.purse_id, l.kind, l.source, l.amount_hao, $7"
        " FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[])"
        "  AS l(id, purse_id, kind, source, amount_hao)"
        " ON CONFLICT (group_id, source) DO NOTHING",
        work.group_id,
        [uuid7(at) for _ in lots],
        [purses[key] for key in keys],
        [lot.kind for lot in lots],
        [lot.source for lot in lots],
        [lot.amount.hao for lot in lots],
        at,
    )


async def hold(work: UnitOfWork, *, accounts: Sequence[UUID]) -> dict[UUID, int]:
    """Take turns on kept balances (ledger account ids) until commit; what each holds in hao, debit
    positive. Purses first and arrears after them, or two could wait for each other crosswise."""
    rows = await work.fetch("SELECT * FROM ledger_hold($1, $2)", work.group_id, list(accounts))
    return {account_id: balance for account_id, balance in rows}


async def use_lots(work: UnitOfWork, *, entry_id: UUID, uses: Sequence[LotUse]) -> None:
    """Note what an entry took of lots. The database refuses what a lot does not hold."""
    amounts = [use.amount.hao for use in uses]
    await take_lots(work, entry_id=entry_id, lots=[use.lot_id for use in uses], amounts=amounts)


async def take_lots(
    work: UnitOfWork, *, entry_id: UUID, lots: Sequence[UUID], amounts: Sequence[int]
) -> None:
    """As `use_lots`, of thousands of lots: `amounts` in hao."""
    await work.execute(
        "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
        " SELECT $1, u.lot_id, $2, u.amount_hao FROM unnest($3::uuid[], $4::bigint[])"
        "  AS u(lot_id, amount_hao)",
        work.group_id,
        entry_id,
        lots,
        amounts,
    )


async def spend(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    business_key: str,
    amount: Money,
    at: datetime,
    kind: str = "USE",
    to: AccountKey | None = None,
    source: str | None = None,
) -> bool:
    """Take money out of a purse (`account_id`: its ref): one entry, taken from its lots in order (C4).

    It goes to the project's REVENUE, or to the account `to` (a refund, a transfer). `source`: only of
    the lot of that source. False when the key was spent before. Raises Overdrawn when purse or lots
    hold less, Conflict when the key was posted with other lines.
    """
    if amount <= ZERO:
        raise ValueError("spending takes a positive amount")
    key = AccountKey(AccountKind.PURSE, account_id)
    purse = (await account_ids(work, project_id=project_id, keys=[key], at=at))[key]
    await hold(work, accounts=[purse])
    transfer = move(
        business_key=business_key,
        kind=kind,
        debit=key,
        credit=to or AccountKey(AccountKind.REVENUE, project_id),
        amount=amount,
    )
    if not await post(work, project_id=project_id, transfer=transfer, at=at):
        return False
    lots = await lots_of_purse(work, purse_id=purse)
    if source is not None:
        only = await lot_of_source(work, source=source)
        lots = [lot for lot in lots if lot.id == only]
    uses = take_from_lots(lots, amount)
    entry_id = await entry_of_key(work, business_key=business_key)
    assert entry_id is not None, "it was posted just now"
    await use_lots(work, entry_id=entry_id, uses=uses)
    return True


async def unspend(
    work: UnitOfWork,
    *,
    project_id: UUID,
    business_key: str,
    reason: str,
    at: datetime,
) -> bool:
    """Reverse an entry that took from lots by a new one, and give the lots back what it took (C1, C4).

    False when it was reversed for that reason before. Raises Conflict when the key was never posted.
    """
    rows = await work.fetch(
        "SELECT e.id, e.kind, p.account_id, p.amount_hao FROM ledger_entry e"
        " JOIN ledger_posting p ON p.group_id = e.group_id AND p.entry_id = e.id"
        " WHERE e.group_id = $1 AND e.business_key = $2 AND e.project_id = $3 ORDER BY p.line",
        work.group_id,
        business_key,
        project_id,
    )
    if not rows:
        raise Conflict(f"nothing was posted by {business_key}")
    entry_id = await write_entry(
        work,
        project_id=project_id,
        business_key=f"{business_key}:reverse:{reason}",
        kind=f"{rows[0]['kind']}_REVERSED",
        accounts=[row["account_id"] for row in rows],
        amounts=[-row["amount_hao"] for row in rows],
        at=at,
    )
    if entry_id is None:
        return False
    await work.execute(
        "INSERT INTO ledger_lot_return (group_id, lot_id, entry_id, amount_hao)"
        " SELECT group_id, lot_id, $3, amount_hao FROM ledger_lot_use"
        " WHERE group_id = $1 AND entry_id = $2",
        work.group_id,
        rows[0]["id"],
        entry_id,
    )
    return True


async def give_grant(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    source: str,
    amount: Money,
    at: datetime,
) -> bool:
    """Give money to a purse (its ref) as a grant, used before paid money; the same source gives once."""
    transfer = move(
        business_key=f"{source}:given",
        kind="GRANT_GIVEN",
        debit=AccountKey(AccountKind.GRANT_FUND, project_id),
        credit=AccountKey(AccountKind.PURSE, account_id),
        amount=amount,
    )
    if not await post(work, project_id=project_id, transfer=transfer, at=at):
        return False
    await open_lot(
        work,
        project_id=project_id,
        account_id=account_id,
        kind=LotKind.GRANT,
        source=source,
        amount=amount,
        at=at,
    )
    return True


async def end_grant(
    work: UnitOfWork, *, project_id: UUID, account_id: UUID, source: str, at: datetime
) -> Money:
    """Take back what is left of a grant, such as a month's allowance at its end; how much that was."""
    key = AccountKey(AccountKind.PURSE, account_id)
    purse = (await account_ids(work, project_id=project_id, keys=[key], at=at))[key]
    held = (await hold(work, accounts=[purse]))[purse]
    lot_id = await lot_of_source(work, source=source)
    lots = {lot.id: lot.remaining for lot in await lots_of_purse(work, purse_id=purse)}
    left = min(lots.get(lot_id, ZERO) if lot_id else ZERO, Money(-held))
    if left <= ZERO:
        return ZERO
    await spend(
        work,
        project_id=project_id,
        account_id=account_id,
        business_key=f"{source}:ended",
        amount=left,
        at=at,
        kind="GRANT_ENDED",
        to=AccountKey(AccountKind.GRANT_FUND, project_id),
        source=source,
    )
    return left
