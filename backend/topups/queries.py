"""Reads of orders and pay links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork

from .rules import Channel, OrderState, PayMethod, Way


@dataclass(frozen=True, slots=True)
class Order:
    """A top-up order. `page` is what the payer's page needs, once the channel knows the order;
    `credential_id` the merchant account, None for what is paid at a cash desk."""

    id: UUID
    order_no: str
    project_id: UUID
    account_id: UUID
    assignment_id: UUID
    customer_id: UUID | None
    credential_id: UUID | None
    channel: Channel
    method: PayMethod
    payer_id: str | None
    amount_fen: int
    state: OrderState
    page: Mapping[str, str] | None
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    transaction_id: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """A pay link: which account it pays for (and which meter of it), and an amount when one was asked for."""

    account_id: UUID
    customer_id: UUID
    amount_fen: int | None
    expires_at: datetime
    meter_id: UUID | None = None


def order_of(row: Row) -> Order:
    """An order from its table row."""
    return Order(
        id=row["id"],
        order_no=row["order_no"],
        project_id=row["project_id"],
        account_id=row["account_id"],
        assignment_id=row["assignment_id"],
        customer_id=row["customer_id"],
        credential_id=row["credential_id"],
        channel=Channel(row["channel"]),
        method=PayMethod(row["method"]),
        payer_id=row["payer_id"],
        amount_fen=row["amount_fen"],
        state=OrderState(row["state"]),
        page=row["page"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        paid_at=row["paid_at"],
        transaction_id=row["transaction_id"],
    )


async def order_by_id(work: UnitOfWork, *, order_id: UUID) -> Order | None:
    """One order of this group, or None."""
    row = await work.fetchrow(
        "SELECT * FROM topups_order WHERE group_id = $1 AND id = $2", work.group_id, order_id
    )
    return None if row is None else order_of(row)


async def orders_of_transactions(
    work: UnitOfWork, *, transactions: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The numbers of the orders that were paid by `transactions` (channel, its own number)."""
    rows = await work.fetch(
        "SELECT o.channel, o.transaction_id, o.order_no"
        " FROM unnest($2::text[], $3::text[]) AS t(channel, transaction_id)"
        " JOIN topups_order o ON o.group_id = $1 AND o.channel = t.channel"
        "  AND o.transaction_id = t.transaction_id",
        work.group_id,
        [channel for channel, _ in transactions],
        [transaction for _, transaction in transactions],
    )
    return {(row["channel"], row["transaction_id"]): row["order_no"] for row in rows}


async def orders_of_account(
    work: UnitOfWork, *, account_id: UUID, before: UUID | None, limit: int
) -> list[Order]:
    """The orders of an account, newest first, those older than `before` (keyset)."""
    rows = await work.fetch(
        "SELECT * FROM topups_order WHERE group_id = $1 AND account_id = $2"
        " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
        work.group_id,
        account_id,
        before,
        limit,
    )
    return [order_of(row) for row in rows]


async def orders_of_accounts(
    work: UnitOfWork, *, account_ids: Sequence[UUID], before: UUID | None, limit: int
) -> dict[UUID, list[Order]]:
    """The newest orders of each of several accounts, by one statement (see `orders_of_account`)."""
    rows = await work.fetch(
        "SELECT o.* FROM unnest($2::uuid[]) AS k(account_id) CROSS JOIN LATERAL"
        " (SELECT * FROM topups_order WHERE group_id = $1 AND account_id = k.account_id"
        "   AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4) o ORDER BY o.id DESC",
        work.group_id,
        list(account_ids),
        before,
        limit,
    )
    found: dict[UUID, list[Order]] = {account_id: [] for account_id in account_ids}
    for row in rows:
        found[row["account_id"]].append(order_of(row))
    return found


async def order_of_key(work: UnitOfWork, *, account_id: UUID, idempotency_key: str) -> Order | None:
    """The order that an account began by an idempotency key, or None."""
    row = await work.fetchrow(
        "SELECT * FROM topups_order"
        " WHERE group_id = $1 AND account_id = $2 AND idempotency_key = $3",
        work.group_id,
        account_id,
        idempotency_key,
    )
    return None if row is None else order_of(row)


async def live_order(
    work: UnitOfWork,
    *,
    account_id: UUID,
    amount_fen: int,
    way: Way,
    payer_id: str | None,
    at: datetime,
) -> Order | None:
    """An unpaid, unexpired order of the same account, amount, way and payer: reused, not doubled."""
    row = await work.fetchrow(
        "SELECT * FROM topups_order WHERE group_id = $1 AND account_id = $2 AND amount_fen = $3"
        " AND channel = $4 AND method = $5 AND payer_id IS NOT DISTINCT FROM $6"
        " AND state = 'CREATED' AND page IS NOT NULL AND expires_at > $7"
        " ORDER BY id DESC LIMIT 1",
        work.group_id,
        account_id,
        amount_fen,
        way.channel,
        way.method,
        payer_id,
        at,
    )
    return None if row is None else order_of(row)


async def link_by_digest(work: UnitOfWork, *, token_digest: bytes, at: datetime) -> Link | None:
    """A living pay link, or None."""
    row = await work.fetchrow(
        "SELECT account_id, customer_id, amount_fen, expires_at, meter_id FROM topups_link"
        " WHERE group_id = $1 AND token_digest = $2 AND expires_at > $3",
        work.group_id,
        token_digest,
        at,
    )
    if row is None:
        return None
    return Link(*row)
