"""Refunds by the account whose money it is, and the orders behind a purse's lots: for closing it (C4)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .queries import Order, order_by_id
from .refund_rules import RefundState
from .refunds import Refund, refund_of

_TOPUP, _CORRECTION = "topup:", "correction:"


async def order_of_lot(work: UnitOfWork, *, source: str) -> Order | None:
    """The order whose money a lot is (its own, or one that was corrected to this account), or None."""
    if source.startswith(_TOPUP):
        return await order_by_id(work, order_id=UUID(source.removeprefix(_TOPUP)))
    if not source.startswith(_CORRECTION):
        return None
    order_id: UUID | None = await work.fetchval(
        "SELECT order_id FROM topups_correction WHERE group_id = $1 AND id = $2",
        work.group_id,
        UUID(source.removeprefix(_CORRECTION)),
    )
    return None if order_id is None else await order_by_id(work, order_id=order_id)


async def open_refunds(work: UnitOfWork, *, account_id: UUID) -> list[Refund]:
    """An account's refunds that are neither done nor failed nor refused."""
    rows = await work.fetch(
        "SELECT * FROM topups_refund WHERE group_id = $1 AND account_id = $2"
        " AND finished_at IS NULL ORDER BY id",
        work.group_id,
        account_id,
    )
    return [refund_of(row) for row in rows]


async def newest_refunds(
    work: UnitOfWork, *, account_ids: Sequence[UUID], limit: int
) -> list[Refund]:
    """The newest refunds of these accounts together, whatever became of them."""
    rows = await work.fetch(
        "SELECT * FROM topups_refund WHERE group_id = $1 AND account_id = ANY($2)"
        " ORDER BY id DESC LIMIT $3",
        work.group_id,
        list(account_ids),
        limit,
    )
    return [refund_of(row) for row in rows]


def moved_nothing(refund: Refund) -> bool:
    """Whether it ended without money having left."""
    return refund.state in (RefundState.FAILED, RefundState.REFUSED)
