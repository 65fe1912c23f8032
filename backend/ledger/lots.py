"""What is left of one lot, and of the purse that it is in: what a refund or a transfer may take (C4)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money


@dataclass(frozen=True, slots=True)
class LotState:
    """A lot now. `purse_id`: the ledger account of its purse, `purse_ref`: the account it belongs to;
    `left` of the lot, `purse_left` of the whole purse."""

    purse_id: UUID
    purse_ref: UUID
    left: Money
    purse_left: Money


async def lot_state(work: UnitOfWork, *, source: str) -> LotState | None:
    """The lot that a source opened as it is now, or None. Nothing is held: who takes of it is told by
    the posting whether there was enough."""
    row = await work.fetchrow(
        "SELECT a.id, a.ref, l.amount_hao - l.used_hao AS remaining, -b.balance_hao AS held"
        " FROM ledger_lot l"
        " JOIN ledger_account a ON a.group_id = l.group_id AND a.id = l.purse_id"
        " JOIN ledger_balance b ON b.group_id = a.group_id AND b.account_id = a.id"
        " WHERE l.group_id = $1 AND l.source = $2",
        work.group_id,
        source,
    )
    if row is None:
        return None
    return LotState(row["id"], row["ref"], Money(row["remaining"]), Money(row["held"]))
