"""Settle: the one place where a payment becomes money in the book and a numbered vend (C5, C8, C10).

Notice, active query and bill are three callers of this same function. Lock order: the order, then
the meter assignment, then ledger accounts by id. Everything is one commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.alerts.operations import open_case
from backend.control.operations import queue_vend
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.metrics import TOPUPS
from backend.kernel.money import Money
from backend.ledger import operations as ledger
from backend.ledger.rules import LotKind, topup_paid, vend_reserved
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.outbox.operations import emit
from backend.tenancy import queries as tenancy
from backend.tenancy.queries import Credential
from backend.topups import operations as topups
from backend.topups import queries as orders
from backend.topups.operations import BELL
from backend.topups.ports import Payment, PaymentState
from backend.topups.queries import Order
from backend.topups.rules import Expected, Verdict, judge

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


async def settle(
    ports: Ports, *, group_id: int, credential_id: UUID, payment: Payment, source: str
) -> Settled:
    """Compare a verified payment statement with our order and, when all agrees, book it.

    `credential_id` is the merchant account by which the statement came. A statement of a payment
    that fits no order of ours becomes an exception case; nothing is dropped (C5).
    """
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        credential = await tenancy.credential_by_id(
            work, box=ports.box, credential_id=credential_id
        )
        order = await topups.lock_order(work, order_no=payment.order_no)
        if order is None or order.credential_id != credential_id:
            return await _unknown(work, credential, payment, source, at)
        verdict, reason = judge(_expected(order, credential), payment)
        if verdict is Verdict.SETTLE and (other := await _paid_by_it(work, order, payment)):
            verdict, reason = Verdict.MISMATCH, f"this transaction paid the order {other} before"
        if verdict is Verdict.SETTLE:
            await _book(work, order, payment, at)
        elif verdict is Verdict.MISMATCH:
            await _mismatch(work, order.project_id, order.order_no, payment, reason, source, at)
    TOPUPS.labels(step=f"settle_{verdict.value.lower()}").inc()
    return Settled(verdict, reason, order.id)


def _expected(order: Order, credential: Credential) -> Expected:
    return Expected(
        order_no=order.order_no,
        merchant_id=credential.key,
        app_id=credential.public["app_id"],
        amount_fen=order.amount_fen,
        state=order.state,
        transaction_id=order.transaction_id,
    )


async def _paid_by_it(work: UnitOfWork, order: Order, payment: Payment) -> str | None:
    """Another order that this transaction paid: one payment is never booked for two orders."""
    assert payment.transaction_id is not None, "judge lets no payment without one through"
    return await orders.order_of_transaction(
        work, channel=order.channel, transaction_id=payment.transaction_id
    )


async def _book(work: UnitOfWork, order: Order, payment: Payment, at: datetime) -> None:
    """Paid, entry, lot, number, reserve, doorbell: one commit, or nothing."""
    assert payment.transaction_id is not None, "judge lets no payment without one through"
    await topups.mark_paid(
        work,
        order_id=order.id,
        transaction_id=payment.transaction_id,
        paid_at=payment.paid_at or at,
    )
    amount = Money.of_fen(order.amount_fen)
    paid = topup_paid(
        topup_id=order.id, channel=order.credential_id, account=order.account_id, amount=amount
    )
    await ledger.post(work, project_id=order.project_id, transfer=paid, at=at)
    await ledger.open_lot(
        work,
        project_id=order.project_id,
        account_id=order.account_id,
        kind=LotKind.PAID,
        source=f"topup:{order.id}",
        amount=amount,
        at=at,
    )
    await _send_to_meter(work, order, amount, at)
    await work.notify(BELL, f"{work.group_id}:{order.id}")


async def _send_to_meter(work: UnitOfWork, order: Order, amount: Money, at: datetime) -> None:
    assignment = await meters.assignment_by_id(work, assignment_id=order.assignment_id)
    if assignment.ended_at is not None:
        assignment_now = await meters.live_assignment_of_account(work, account_id=order.account_id)
        if assignment_now is None:
            await open_case(
                work,
                project_id=order.project_id,
                kind="PAID_WITHOUT_METER",
                subject=order.order_no,
                detail={"order": str(order.id), "amount": str(amount)},
                at=at,
            )
            return
        assignment = assignment_now
    epoch, number = await metering.allocate_purchase_no(work, assignment_id=assignment.id)
    vend_id = await queue_vend(
        work,
        project_id=order.project_id,
        meter_id=assignment.meter_id,
        assignment_id=assignment.id,
        counter_epoch=epoch,
        purchase_no=number,
        amount=amount,
        topup_id=order.id,
        at=at,
    )
    reserved = vend_reserved(
        vend_id=vend_id, account=order.account_id, meter=assignment.meter_id, amount=amount
    )
    await ledger.post(work, project_id=order.project_id, transfer=reserved, at=at)
    await emit(
        work,
        topic="vend.due",
        key=str(vend_id),
        payload={"meter_id": str(assignment.meter_id), "vend_id": str(vend_id)},
        at=at,
    )


async def _unknown(
    work: UnitOfWork, credential: Credential, payment: Payment, source: str, at: datetime
) -> Settled:
    """Money for an order that is not ours: a case in the project whose merchant account took it."""
    reason = "no order of this merchant account has that number"
    if payment.state is not PaymentState.PAID:
        return Settled(Verdict.WAIT, reason, None)
    assert credential.project_id is not None, "merchant accounts belong to a project"
    await _mismatch(work, credential.project_id, payment.order_no, payment, reason, source, at)
    return Settled(Verdict.MISMATCH, reason, None)


async def _mismatch(
    work: UnitOfWork,
    project_id: UUID,
    order_no: str,
    payment: Payment,
    reason: str,
    source: str,
    at: datetime,
) -> None:
    await open_case(
        work,
        project_id=project_id,
        kind="PAYMENT_MISMATCH",
        subject=order_no,
        detail={
            "reason": reason,
            "source": source,
            "paid": str(Money.of_fen(payment.amount_fen)),
            "currency": payment.currency,
            "transaction": payment.transaction_id or "",
        },
        at=at,
    )
