"""What meters that hold money used, out of their wallets: many at once, by a handful of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.money import Money

from .entries import account_ids, post_all
from .rules import (
    AccountKey,
    AccountKind,
    Lot,
    LotKind,
    LotUse,
    Overdrawn,
    Transfer,
    move,
    take_from_lots,
)


@dataclass(frozen=True, slots=True)
class WalletUse:
    """`amount` used at a meter, out of the lots of the household's purse (its ref); `business_key` posts
    it once."""

    business_key: str
    purse_ref: UUID
    meter_id: UUID
    amount: Money


async def post_wallet_use(
    work: UnitOfWork, *, project_id: UUID, uses: Sequence[WalletUse], at: datetime
) -> set[str]:
    """Move what was used from METER_WALLET to REVENUE, out of the household's lots in their order (C4).

    Purses and wallets are held by the caller. Gives the keys of those whose lots hold less: nothing was
    posted of them. Raises Overdrawn (a wallet holds less), Conflict (a key was posted before).
    """
    purses = [AccountKey(AccountKind.PURSE, use.purse_ref) for use in uses]
    ids = await account_ids(work, project_id=project_id, keys=purses, at=at)
    lots = await _lots(work, list(ids.values()))
    taken: dict[str, list[LotUse]] = {}
    transfers: list[Transfer] = []
    for use, purse in zip(uses, purses, strict=True):
        try:
            taken[use.business_key] = found = take_from_lots(lots[ids[purse]], use.amount)
        except Overdrawn:
            continue
        # Another meter of the household takes of what is left.
        lots[ids[purse]] = _less(lots[ids[purse]], found)
        transfers.append(
            move(
                business_key=use.business_key,
                kind="USED_AT_METER",
                debit=AccountKey(AccountKind.METER_WALLET, use.meter_id),
                credit=AccountKey(AccountKind.REVENUE, project_id),
                amount=use.amount,
            )
        )
    if transfers:
        if await post_all(work, project_id=project_id, transfers=transfers, at=at) < len(transfers):
            raise Conflict("what a meter used that day was posted before")
        await _note(work, taken)
    return {use.business_key for use in uses} - taken.keys()


async def _lots(work: UnitOfWork, purses: Sequence[UUID]) -> dict[UUID, list[Lot]]:
    """What is left of the lots of purses (ledger account ids), by purse."""
    rows = await work.fetch(
        "SELECT purse_id, id, kind, amount_hao - used_hao AS remaining,"
        " row_number() OVER (PARTITION BY purse_id ORDER BY created_at, id) AS place"
        " FROM ledger_lot WHERE group_id = $1 AND purse_id = ANY($2) AND used_hao < amount_hao",
        work.group_id,
        list(purses),
    )
    found: dict[UUID, list[Lot]] = defaultdict(list)
    for row in rows:
        lot = Lot(row["id"], LotKind(row["kind"]), Money(row["remaining"]), row["place"])
        found[row["purse_id"]].append(lot)
    return found


def _less(lots: Sequence[Lot], uses: Sequence[LotUse]) -> list[Lot]:
    taken = {use.lot_id: use.amount for use in uses}
    return [
        replace(lot, remaining=lot.remaining - taken[lot.id]) if lot.id in taken else lot
        for lot in lots
    ]


async def _note(work: UnitOfWork, taken: dict[str, list[LotUse]]) -> None:
    """Note what each entry took of lots, by one statement; the lots are locked by id."""
    uses = [(key, use) for key, found in taken.items() for use in found]
    await work.execute(
        "INSERT INTO ledger_lot_use (group_id, lot_id, entry_id, amount_hao)"
        " SELECT e.group_id, u.lot_id, e.id, u.amount_hao"
        " FROM unnest($2::text[], $3::uuid[], $4::bigint[]) AS u(key, lot_id, amount_hao)"
        " JOIN ledger_entry e ON e.group_id = $1 AND e.business_key = u.key",
        work.group_id,
        [key for key, _ in uses],
        [use.lot_id for _, use in uses],
        [use.amount.hao for _, use in uses],
    )
