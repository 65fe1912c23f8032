"""What the book has of a merchant account, as a channel's bill is compared with it (C6)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.clock import Period
from backend.kernel.db import UnitOfWork
from backend.kernel.ids import earliest_at


@dataclass(frozen=True, slots=True)
class BookedOrder:
    """An order at a merchant account, in fen. `paid_at` None: it is not paid."""

    order_no: str
    transaction_id: str | None
    amount_fen: int
    paid_at: datetime | None


@dataclass(frozen=True, slots=True)
class BookedRefund:
    """A refund at a merchant account, in fen. `done_at` None: the money has not gone back yet."""

    refund_no: str
    order_no: str
    amount_fen: int
    done_at: datetime | None


async def booked_orders(
    work: UnitOfWork, *, credential_id: UUID, order_nos: Collection[str], period: Period
) -> list[BookedOrder]:
    """The orders of a merchant account that have these numbers or were paid in `period`."""
    rows = await work.fetch(
        "SELECT order_no, transaction_id, amount_fen, paid_at FROM topups_order"
        " WHERE group_id = $1 AND credential_id = $2 AND order_no = ANY($3)"
        " UNION SELECT order_no, transaction_id, amount_fen, paid_at FROM topups_order"
        " WHERE group_id = $1 AND credential_id = $2 AND paid_at >= $4 AND paid_at < $5"
        " ORDER BY order_no",
        work.group_id,
        credential_id,
        list(order_nos),
        period.start,
        period.end,
    )
    return [BookedOrder(*row) for row in rows]


async def numbers_to_ask(
    work: UnitOfWork, *, credential_id: UUID, period: Period, since: datetime
) -> tuple[list[str], list[str]]:
    """The orders and refunds of a merchant account that may have moved money in `period`: what the book
    has of it, and what was made `since` and has not ended by the book."""
    orders = await work.fetch(
        "SELECT order_no FROM topups_order WHERE group_id = $1 AND credential_id = $2"
        " AND paid_at >= $3 AND paid_at < $4"
        " UNION SELECT order_no FROM topups_order WHERE group_id = $1 AND credential_id = $2"
        " AND id >= $6 AND state <> 'PAID' AND created_at >= $5 AND created_at < $4"
        " ORDER BY order_no",
        work.group_id,
        credential_id,
        period.start,
        period.end,
        since,
        earliest_at(since),
    )
    refunds = await work.fetch(
        "SELECT refund_no FROM topups_refund WHERE group_id = $1 AND credential_id = $2"
        " AND sent_at < $4 AND (finished_at IS NULL OR finished_at >= $3) ORDER BY refund_no",
        work.group_id,
        credential_id,
        period.start,
        period.end,
    )
    return [row["order_no"] for row in orders], [row["refund_no"] for row in refunds]


async def booked_refunds(
    work: UnitOfWork, *, credential_id: UUID, refund_nos: Collection[str], period: Period
) -> list[BookedRefund]:
    """The refunds by a merchant account that have these numbers or were done in `period`; refused and
    failed ones moved no money."""
    rows = await work.fetch(
        "SELECT refund_no, order_no, amount_fen,"
        "  CASE WHEN state = 'DONE' THEN finished_at END AS done_at FROM topups_refund"
        " WHERE group_id = $1 AND credential_id = $2 AND state NOT IN ('FAILED', 'REFUSED')"
        "  AND (refund_no = ANY($3)"
        "   OR state = 'DONE' AND finished_at >= $4 AND finished_at < $5)"
        " ORDER BY refund_no",
        work.group_id,
        credential_id,
        list(refund_nos),
        period.start,
        period.end,
    )
    return [BookedRefund(*row) for row in rows]
