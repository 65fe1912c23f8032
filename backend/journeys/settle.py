"""Settle: the one place where a payment becomes money in the book and a numbered vend (C5, C8, C10).

Notice, active query and bill are three callers of this same function. Statements that come while others
of their group are being settled go together in the next commit (kernel/together.py): the orders are
locked first, by id. Everything is one commit, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from backend.alerts.operations import open_case
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.metrics import TOPUPS
from backend.kernel.money import Money
from backend.kernel.together import TogetherByGroup
from backend.tenancy import queries as tenancy
from backend.tenancy.queries import Credential
from backend.topups import operations as topups
from backend.topups import queries as orders
from backend.topups.operations import Paid
from backend.topups.ports import Payment, PaymentState
from backend.topups.queries import Order
from backend.topups.rules import Expected, OrderState, Verdict, judge

from .booking import Sale, book
from .late_settled import watch_late
from .ports import Ports


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a payment statement. `paid`: the order is paid, now or before."""

    verdict: Verdict
    reason: str
    order_id: UUID | None

    @property
    def paid(self) -> bool:
        """Whether the order's money is in the book."""
        return self.verdict in (Verdict.SETTLE, Verdict.ALREADY)


@dataclass(frozen=True, slots=True)
class _Statement:
    """A verified payment statement on its way to the book."""

    ports: Ports
    credential_id: UUID
    payment: Payment
    source: str


async def settle(
    ports: Ports, *, group_id: int, credential_id: UUID, payment: Payment, source: str
) -> Settled:
    """Compare a verified payment statement with our order and, when all agrees, book it.

    `credential_id` is the merchant account by which the statement came. A statement of a payment
    that fits no order of ours becomes an exception case; nothing is dropped (C5).
    """
    settled = await _settling(group_id, _Statement(ports, credential_id, payment, source))
    TOPUPS.labels(step=f"settle_{settled.verdict.value.lower()}").inc()
    return settled


async def _settle_all(group_id: int, statements: Sequence[_Statement]) -> list[Settled]:
    """Judge statements in the order in which they came, book those that settle: one transaction."""
    at = statements[0].ports.clock.now()
    numbers = list(dict.fromkeys(one.payment.order_no for one in statements))
    async with unit_of_work(group_id, by_key=True) as work:
        locked = await topups.lock_orders(work, order_nos=numbers)
        credentials = await _credentials(work, statements)
        paid_before = await orders.orders_of_transactions(
            work, transactions=_transactions(locked, statements)
        )
        found, sales = list[Settled](), list[Sale]()
        for one in statements:
            payment, credential = one.payment, credentials[one.credential_id]
            order = locked.get(payment.order_no)
            if order is None or order.credential_id != one.credential_id:
                found.append(await _unknown(work, credential, payment, one.source, at))
                continue
            verdict, reason = judge(_expected(order, credential), payment)
            if verdict is Verdict.SETTLE:
                assert payment.transaction_id is not None, "judge lets none without one through"
                transaction = (order.channel, payment.transaction_id)
                if other := paid_before.get(transaction):
                    verdict = Verdict.MISMATCH
                    reason = f"this transaction paid the order {other} before"
                else:
                    # One payment is never booked for two orders, nor an order paid twice, also not here.
                    paid_before[transaction] = order.order_no
                    paid = Paid(order.id, payment.transaction_id, payment.paid_at or at)
                    sales.append(Sale(order, paid))
                    locked[order.order_no] = replace(
                        order, state=OrderState.PAID, transaction_id=payment.transaction_id
                    )
            if verdict is Verdict.MISMATCH:
                await _mismatch(work, order.project_id, credential, payment, reason, one.source, at)
            found.append(Settled(verdict, reason, order.id))
        if sales:
            await book(work, sales=sales, at=at)
            await watch_late(work, sales=sales, at=at)
    return found


_settling = TogetherByGroup(_settle_all)


async def _credentials(
    work: UnitOfWork, statements: Sequence[_Statement]
) -> dict[UUID, Credential]:
    by_id = {one.credential_id: one.ports.box for one in statements}
    return {
        id_: await tenancy.credential_by_id(work, box=box, credential_id=id_)
        for id_, box in by_id.items()
    }


def _transactions(
    locked: dict[str, Order], statements: Sequence[_Statement]
) -> list[tuple[str, str]]:
    return [
        (locked[one.payment.order_no].channel, one.payment.transaction_id)
        for one in statements
        if one.payment.order_no in locked and one.payment.transaction_id
    ]


def _expected(order: Order, credential: Credential) -> Expected:
    return Expected(
        order_no=order.order_no,
        merchant_id=credential.key,
        app_id=credential.public.get("app_id", ""),
        amount_fen=order.amount_fen,
        state=order.state,
        transaction_id=order.transaction_id,
        provider_id=credential.public.get("sp_mchid", ""),
        provider_app_id=credential.public.get("sp_app_id", ""),
    )


async def _unknown(
    work: UnitOfWork, credential: Credential, payment: Payment, source: str, at: datetime
) -> Settled:
    """Money for an order that is not ours: a case in the project whose merchant account took it."""
    reason = "no order of this merchant account has that number"
    if payment.state is not PaymentState.PAID:
        return Settled(Verdict.WAIT, reason, None)
    assert credential.project_id is not None, "merchant accounts belong to a project"
    await _mismatch(work, credential.project_id, credential, payment, reason, source, at)
    return Settled(Verdict.MISMATCH, reason, None)


async def _mismatch(
    work: UnitOfWork,
    project_id: UUID,
    credential: Credential,
    payment: Payment,
    reason: str,
    source: str,
    at: datetime,
) -> None:
    await open_case(
        work,
        project_id=project_id,
        kind="PAYMENT_MISMATCH",
        subject=payment.order_no,
        detail={
            "reason": reason,
            "source": source,
            "paid": str(Money.of_fen(payment.amount_fen)),
            "currency": payment.currency,
            "transaction": payment.transaction_id or "",
            "channel": credential.kind,
            "credential": str(credential.id),
        },
        at=at,
    )
