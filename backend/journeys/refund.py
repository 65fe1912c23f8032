"""A refund's way back to the payer: asked for, agreed to, taken out of the purse, asked at the channel
until it is done or failed (C4, C30).

Lock order: the order, then the refund, then ledger accounts. The purse is lowered in the commit that
agrees, before any money leaves; a channel's "accepted" is no end, and a failure gives the purse its
money back by a reversing entry. Money on a meter is not in the purse: it cannot leave by this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.metrics import REFUNDS
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Actor, Scope
from backend.ledger import operations as ledger
from backend.ledger.lots import lot_state
from backend.ledger.rules import AccountKey, AccountKind, Overdrawn
from backend.metering import queries as metering
from backend.metering.rules import MeterModel
from backend.outbox.operations import emit
from backend.tenancy.rules import Permission
from backend.topups import operations as topups
from backend.topups import queries as orders
from backend.topups import refunds as rows
from backend.topups.corrections import Place, place_of
from backend.topups.queries import Order
from backend.topups.refund_rules import (
    Refundable,
    RefundState,
    check_approver,
    check_request,
    needs_second,
)
from backend.topups.refunds import Refund, Source
from backend.topups.rules import OrderState

from .charge_figures import figures

TOPIC = "refund.due"


async def refundable(work: UnitOfWork, *, scope: Scope, order_id: UUID) -> Refundable:
    """What of an order can go back now, for an operator. Raises NotFound."""
    order = await order_for(work, scope=scope, order_id=order_id)
    source = (await place_of(work, order=order)).lot_source
    return await _refundable(work, order.order_no, source)


async def request_refund(
    *,
    scope: Scope,
    order_id: UUID,
    amount: Money,
    reason: str,
    idempotency_key: str,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> Refund:
    """Ask for a refund; within the project's limit it is agreed to by the same commit.

    A repeat with the same key answers the same refund. Raises NotFound, Forbidden, InvalidInput,
    Conflict (not paid, more than remains, key used for another refund).
    """
    async with unit_of_work(scope.group_id) as work:
        order = await order_for(work, scope=scope, order_id=order_id)
        scope.require(Permission.REFUND_REQUEST, order.project_id)
        return await request_of_order(
            work,
            order=order,
            amount=amount,
            reason=reason,
            idempotency_key=idempotency_key,
            actor=scope.actor,
            models=models,
            at=at,
        )


async def request_of_order(
    work: UnitOfWork,
    *,
    order: Order,
    amount: Money,
    reason: str,
    idempotency_key: str,
    actor: Actor,
    models: Mapping[str, MeterModel],
    at: datetime,
    place: Place | None = None,
) -> Refund:
    """As `request_refund`, in the caller's transaction; the caller has checked the right. `place`: whose
    money and which lot it is; None: where the order's money went when it was corrected."""
    if amount.hao % 100:
        raise InvalidInput("a refund is whole fen", field="amount")
    locked = await topups.lock_order(work, order_no=order.order_no)
    assert locked is not None, "orders are never deleted"
    known = await rows.refund_of_key(
        work, project_id=order.project_id, idempotency_key=idempotency_key
    )
    if known is not None:
        if (known.source.order_id, known.amount) != (order.id, amount):
            raise Conflict("this idempotency key was used for a different refund")
        return known
    if locked.state is not OrderState.PAID:
        raise Conflict("nothing was paid by this order")
    if place is None:
        place = await place_of(work, order=order)
    told = check_request(
        amount_fen=amount.fen,
        reason=reason,
        refundable=await _refundable(work, order.order_no, place.lot_source),
        taken_back=await taken_back(work, account_id=place.account_id, models=models),
    )
    source = Source(
        project_id=order.project_id,
        order_id=order.id,
        account_id=place.account_id,
        lot_source=place.lot_source,
        order_no=order.order_no,
        total_fen=order.amount_fen,
        channel=order.channel,
        credential_id=order.credential_id,
    )
    return await add_and_agree(
        work,
        source=source,
        amount=amount,
        reason=told,
        idempotency_key=idempotency_key,
        actor=actor,
        at=at,
    )


async def add_and_agree(
    work: UnitOfWork,
    *,
    source: Source,
    amount: Money,
    reason: str,
    idempotency_key: str,
    actor: Actor,
    at: datetime,
) -> Refund:
    """Write down a checked request, and agree to it when one operator is enough; audited."""
    asked = await rows.asked_of_order(work, order_no=source.order_no, lot_source=source.lot_source)
    refund = await rows.add_refund(
        work,
        source=source,
        amount_fen=amount.fen,
        reason=reason,
        four_eyes=needs_second(
            amount_fen=amount.fen,
            gone_back_fen=asked.all_fen,
            alone_fen=await rows.alone_fen(work, project_id=source.project_id),
        ),
        idempotency_key=idempotency_key,
        actor=actor,
        at=at,
    )
    if not refund.four_eyes:
        refund = await _agree(work, refund, actor, at)
    await audit_refund(work, refund, actor, "request", at)
    REFUNDS.labels(step="requested").inc()
    return refund


async def approve_refund(*, scope: Scope, refund_id: UUID, at: datetime) -> Refund:
    """A second operator agrees: the purse is lowered and the money goes on its way by one commit.

    Raises NotFound, Forbidden (no right, or the one who asked), Conflict (decided before, or the
    money was used meanwhile: the request then waits on).
    """
    async with unit_of_work(scope.group_id) as work:
        refund = await _to_decide(work, scope, refund_id)
        if refund.state is not RefundState.REQUESTED:
            raise Conflict("this refund was decided before")
        check_approver(requested_by=refund.requested_by, approver=scope.actor.id)
        refund = await _agree(work, refund, scope.actor, at)
        await audit_refund(work, refund, scope.actor, "approve", at)
    return refund


async def refuse_refund(*, scope: Scope, refund_id: UUID, note: str, at: datetime) -> Refund:
    """Say no to a request; or take back one that was agreed to but nobody fetched at the desk: purse
    and lot have their money again.

    Raises NotFound, Forbidden, InvalidInput, Conflict (on its way, or ended).
    """
    told = note.strip()
    if len(told) < 4:
        raise InvalidInput("say in a few words why not", field="note")
    async with unit_of_work(scope.group_id) as work:
        refund = await _to_decide(work, scope, refund_id)
        state = RefundState.REFUSED
        if refund.state is RefundState.APPROVED:
            await give_back(work, refund, at)
            state = RefundState.FAILED
        refund = await rows.mark_finished(
            work, refund_id=refund.id, state=state, outcome=told, at=at
        )
        await audit_refund(work, refund, scope.actor, "refuse", at)
    return refund


async def give_back(work: UnitOfWork, refund: Refund, at: datetime) -> None:
    """No money left: purse and lot have theirs again, by a reversing entry. The row is locked; once,
    however often. What fits no order stays in SUSPENSE."""
    if refund.source.lot_source is None:
        return
    lot = await lot_state(work, source=refund.source.lot_source)
    assert lot is not None, "lots are never deleted"
    await ledger.hold(work, accounts=[lot.purse_id])  # the purse first, as whoever spends
    await ledger.unspend(
        work,
        project_id=refund.project_id,
        business_key=key_of(refund, "due"),
        reason="failed",
        at=at,
    )


def due_account(refund: Refund) -> AccountKey:
    """Where a refund's money stands while it is on its way back."""
    account_id = refund.source.account_id
    if account_id is None:
        return AccountKey(AccountKind.SUSPENSE, refund.project_id)
    return AccountKey(AccountKind.REFUND_DUE, account_id)


async def order_for(work: UnitOfWork, *, scope: Scope, order_id: UUID) -> Order:
    """One top-up for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    order = await orders.order_by_id(work, order_id=order_id)
    if order is None or not scope.may(Permission.TOPUP_READ, order.project_id):
        raise NotFound("no such top-up")
    return order


async def _refundable(work: UnitOfWork, order_no: str, lot_source: str) -> Refundable:
    lot = await lot_state(work, source=lot_source)
    asked = await rows.asked_of_order(work, order_no=order_no, lot_source=lot_source)
    if lot is None:
        return Refundable(ZERO, ZERO, asked.waiting_fen)
    # What was used and is not charged yet is spent all the same (C3).
    used = (await figures(work, account_ids=[lot.purse_ref]))[lot.purse_ref].uncharged
    return Refundable(lot.left, lot.purse_left - used, asked.waiting_fen)


async def taken_back(
    work: UnitOfWork, *, account_id: UUID, models: Mapping[str, MeterModel]
) -> str:
    """What the profile of the account's meter says of lowering its money."""
    assignment = await metering.live_assignment_of_account(work, account_id=account_id)
    if assignment is None:
        return ""
    meter = await metering.meter_by_id(work, meter_id=assignment.meter_id)
    model = models.get(meter.profile)
    return "" if model is None else model.taken_back


async def _to_decide(work: UnitOfWork, scope: Scope, refund_id: UUID) -> Refund:
    seen = await rows.refund(work, scope=scope, refund_id=refund_id)
    scope.require(Permission.REFUND_APPROVE, seen.project_id)
    await topups.lock_order(work, order_no=seen.source.order_no)
    refund = await rows.lock_refund(work, refund_id=refund_id)
    undecided = refund is not None and (
        refund.state is RefundState.REQUESTED
        or (refund.state is RefundState.APPROVED and refund.at_counter)
    )
    if refund is None or not undecided:
        raise Conflict("this refund was decided before")
    return refund


async def _agree(work: UnitOfWork, refund: Refund, actor: Actor, at: datetime) -> Refund:
    """Lower the purse by the lot's money and set the refund on its way. Raises Conflict: the money
    was used, or is on a meter by now."""
    source = refund.source
    if source.lot_source is not None:
        lot = await lot_state(work, source=source.lot_source)
        assert lot is not None, "it was seen when the refund was asked for"
        try:
            await ledger.spend(
                work,
                project_id=source.project_id,
                account_id=lot.purse_ref,
                business_key=key_of(refund, "due"),
                amount=refund.amount,
                at=at,
                kind="REFUND_DUE",
                to=due_account(refund),
                source=source.lot_source,
            )
        except Overdrawn as error:
            raise Conflict("what was left of this top-up is used, or at the meter, now") from error
    agreed = await rows.mark_approved(work, refund_id=refund.id, actor=actor, at=at)
    if not agreed.at_counter:
        payload = {"refund_id": str(refund.id)}
        await emit(work, topic=TOPIC, key=str(refund.id), payload=payload, at=at)
    return agreed


def key_of(refund: Refund, part: str) -> str:
    """The business key of one of a refund's entries."""
    return f"refund:{refund.id}:{part}"


async def audit_refund(
    work: UnitOfWork, refund: Refund, actor: Actor, verb: str, at: datetime
) -> None:
    """Who did what with a refund."""
    await record(
        work,
        actor=actor,
        action=f"refund:self:{verb}",
        subject=str(refund.id),
        at=at,
        project_id=refund.project_id,
        after={
            "order": refund.source.order_no,
            "refundNo": refund.refund_no,
            "amount": str(refund.amount),
            "reason": refund.reason,
            "state": str(refund.state),
            "outcome": refund.outcome,
        },
    )
