"""Top-ups of the wrong room: which account an order's money belongs to after it was moved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.ids import uuid7
from backend.kernel.money import Money
from backend.kernel.scope import Actor

from .queries import Order


@dataclass(frozen=True, slots=True)
class Place:
    """Whose an order's money is, and the source of the lot that it is."""

    account_id: UUID
    lot_source: str


@dataclass(frozen=True, slots=True)
class Correction:
    """A move, and the source of the lot that it opens."""

    id: UUID

    @property
    def lot(self) -> str:
        """The source of its lot."""
        return f"correction:{self.id}"


async def place_of(work: UnitOfWork, *, order: Order) -> Place:
    """Where an order's money is now; the order's lock is held by whoever moves or takes it."""
    row = await work.fetchrow(
        "SELECT id, to_account FROM topups_correction WHERE group_id = $1 AND order_id = $2"
        " ORDER BY seq DESC LIMIT 1",
        work.group_id,
        order.id,
    )
    if row is None:
        return Place(order.account_id, f"topup:{order.id}")
    return Place(row["to_account"], Correction(row["id"]).lot)


async def add_correction(
    work: UnitOfWork,
    *,
    order: Order,
    from_account: UUID,
    to_account: UUID,
    amount: Money,
    reason: str,
    actor: Actor,
    at: datetime,
) -> Correction:
    """Write down a move; the order's lock is held."""
    correction_id = uuid7(at)
    await work.execute(
        "INSERT INTO topups_correction (group_id, id, project_id, order_id, seq, from_account,"
        " to_account, amount_hao, reason, corrected_by, corrected_at)"
        " SELECT $1, $2, $3, $4, 1 + count(*), $5, $6, $7, $8, $9, $10 FROM topups_correction"
        " WHERE group_id = $1 AND order_id = $4",
        work.group_id,
        correction_id,
        order.project_id,
        order.id,
        from_account,
        to_account,
        amount.hao,
        reason,
        actor.name,
        at,
    )
    return Correction(correction_id)
