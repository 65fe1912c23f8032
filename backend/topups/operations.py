"""Writes of orders and pay links. Nothing here talks to a channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.ids import order_no, uuid7

from .queries import Order, order_of
from .rules import LINK_LIFE, ORDER_LIFE, Way

# Rung with `group:order` when a top-up moves: the live subscription listens.
BELL = "shuidian_topup"


async def create_link(
    work: UnitOfWork,
    *,
    token_digest: bytes,
    account_id: UUID,
    customer_id: UUID,
    amount_fen: int | None,
    at: datetime,
    meter_id: UUID | None = None,
) -> None:
    """Remember a pay link by the digest of its token; it lives seven days. `meter_id`: which meter it
    pays for, None: the first that holds money."""
    await work.execute(
        "INSERT INTO topups_link (group_id, token_digest, account_id, customer_id, amount_fen,"
        " created_at, expires_at, meter_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        work.group_id,
        token_digest,
        account_id,
        customer_id,
        amount_fen,
        at,
        at + LINK_LIFE,
        meter_id,
    )


async def create_order(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    assignment_id: UUID,
    customer_id: UUID | None,
    credential_id: UUID | None,
    way: Way,
    payer_id: str | None,
    amount_fen: int,
    idempotency_key: str,
    at: datetime,
) -> tuple[Order, bool]:
    """Create an order, or find the one of the same key: (order, whether it is new).

    `credential_id` is None only for the counter's channels. Raises Conflict when the key was used for
    another amount, meter or way of paying.
    """
    row = await work.fetchrow(
        "INSERT INTO topups_order (group_id, id, order_no, project_id, account_id, assignment_id,"
        " customer_id, credential_id, channel, method, payer_id, amount_fen, idempotency_key,"
        " state, created_at, expires_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'CREATED', $14, $15)"
        " ON CONFLICT (group_id, account_id, idempotency_key) DO NOTHING RETURNING *",
        work.group_id,
        uuid7(at),
        order_no(at),
        project_id,
        account_id,
        assignment_id,
        customer_id,
        credential_id,
        way.channel,
        way.method,
        payer_id,
        amount_fen,
        idempotency_key,
        at,
        at + ORDER_LIFE,
    )
    if row is not None:
        return order_of(row), True
    row = await work.fetchrow(
        "SELECT * FROM topups_order"
        " WHERE group_id = $1 AND account_id = $2 AND idempotency_key = $3",
        work.group_id,
        account_id,
        idempotency_key,
    )
    assert row is not None
    order = order_of(row)
    same = (order.amount_fen, order.assignment_id, order.channel, order.method, order.payer_id)
    if same != (amount_fen, assignment_id, way.channel, way.method, payer_id):
        raise Conflict("this idempotency key was used for a different top-up")
    return order, False


async def store_page(work: UnitOfWork, *, order_id: UUID, page: Mapping[str, str]) -> None:
    """Keep what the payer's page needs, so that a repeat of the request answers the same."""
    await work.execute(
        "UPDATE topups_order SET page = $3 WHERE group_id = $1 AND id = $2",
        work.group_id,
        order_id,
        dict(page),
    )


async def lock_order(work: UnitOfWork, *, order_no: str) -> Order | None:
    """The order of that number, locked until commit."""
    return (await lock_orders(work, order_nos=[order_no])).get(order_no)


async def lock_orders(work: UnitOfWork, *, order_nos: Sequence[str]) -> dict[str, Order]:
    """The orders of those numbers, locked by id until commit: the first lock of every settle."""
    rows = await work.fetch(
        "SELECT * FROM topups_order WHERE group_id = $1 AND order_no = ANY($2)"
        " ORDER BY id FOR UPDATE",
        work.group_id,
        list(order_nos),
    )
    return {row["order_no"]: order_of(row) for row in rows}


@dataclass(frozen=True, slots=True)
class Paid:
    """What a channel says of an order's money: its own number and when it came."""

    order_id: UUID
    transaction_id: str
    at: datetime


async def mark_paid(work: UnitOfWork, *, paid: Sequence[Paid]) -> None:
    """The orders' money has arrived. Only from CREATED or CLOSED; the locks are held."""
    changed = await work.execute(
        "UPDATE topups_order o SET state = 'PAID', transaction_id = p.transaction_id, paid_at = p.at"
        " FROM unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS p(id, transaction_id, at)"
        " WHERE o.group_id = $1 AND o.id = ANY($2) AND o.id = p.id AND o.state <> 'PAID'",
        work.group_id,
        [one.order_id for one in paid],
        [one.transaction_id for one in paid],
        [one.at for one in paid],
    )
    assert changed == len(paid), "settle holds the orders' locks"


async def mark_closed(work: UnitOfWork, *, order_id: UUID, at: datetime) -> bool:
    """The channel took the order back unpaid; False when it was paid or closed meanwhile."""
    return bool(
        await work.execute(
            "UPDATE topups_order SET state = 'CLOSED', closed_at = $3"
            " WHERE group_id = $1 AND id = $2 AND state = 'CREATED'",
            work.group_id,
            order_id,
            at,
        )
    )
