"""A top-up at a cash desk: money in the hand first, then the same order and book as every other (A15).

Cash goes to the drawer of the cashier's open shift, a card slip to the bank of the terminal. The order
is created and paid by one commit: nothing waits to be settled, and a repeat of the request takes no
money twice.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.audit.operations import record
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.metrics import TOPUPS
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.ledger.purses import recovered_by
from backend.ledger.rules import AccountKey, AccountKind
from backend.metering import queries as metering
from backend.metering.rules import CreditMode
from backend.tenancy import queries as tenancy
from backend.tenancy.rules import Permission
from backend.topups import operations as topups
from backend.topups import queries as orders
from backend.topups import receipts, refunds, shifts
from backend.topups.operations import Paid
from backend.topups.queries import Order
from backend.topups.receipts import Receipt, ReceiptLine
from backend.topups.rules import Channel, OrderState, PayMethod, Way, check_amount
from backend.topups.shift_rules import check_slip
from backend.topups.shifts import Shift

from .booking import Sale, book
from .cash_desk import drawer_of
from .refund import order_for

_AT_DESK = (Channel.CASH, Channel.CARD)
_RECOVERED = {
    AccountKind.ENERGY: "补缴电费",
    AccountKind.FIXED_FEE: "补缴固定费",
    AccountKind.LOSS: "补缴损耗",
    AccountKind.PUBLIC: "补缴公摊",
    AccountKind.SERVICE: "补缴服务费",
}


async def take_money(
    *,
    scope: Scope,
    account_id: UUID,
    amount: Money,
    channel: Channel,
    slip_no: str | None,
    idempotency_key: str,
    at: datetime,
    meter_id: UUID | None = None,
) -> Order:
    """Top up an account by money taken at the desk of the caller's open shift; the order is paid. `meter_id`:
    which of its meters gets the money, None: the first that holds money.

    A repeat with the same key answers the same order. Raises NotFound, Forbidden, InvalidInput
    (amount, channel, slip), Conflict (no open shift, closed account, selling stopped, no meter, the slip
    was used, the key was used otherwise).
    """
    if channel not in _AT_DESK:
        raise InvalidInput("a desk takes CASH or CARD", field="channel")
    if amount.hao % 100:
        raise InvalidInput("a payment is a whole number of fen", field="amount")
    if not 8 <= len(idempotency_key) <= 255:
        raise InvalidInput("an idempotency key has 8 to 255 characters", field="idempotencyKey")
    slip = check_slip(slip_no, by_card=channel is Channel.CARD)
    async with unit_of_work(scope.group_id) as work:
        account = await accounts.account(work, scope=scope, account_id=account_id)
        scope.require(Permission.CASH_TAKE, account.project_id)
        project = await tenancy.project_by_id(work, project_id=account.project_id)
        check_amount(
            amount_fen=amount.fen, min_fen=project.topup_min_fen, max_fen=project.topup_max_fen
        )
        known = await orders.order_of_key(
            work, account_id=account.id, idempotency_key=idempotency_key
        )
        if known is not None:
            return await _repeated(work, known, amount, channel, slip, meter_id)
        if account.closed_at is not None or account.closing_at is not None:
            raise Conflict("the account is closed, or being closed")
        shift = await shifts.own_open_shift(
            work, project_id=account.project_id, operator_id=scope.actor.id
        )
        order, new = await topups.create_order(
            work,
            project_id=account.project_id,
            account_id=account.id,
            assignment_id=await _sold_by(work, account.id, meter_id),
            customer_id=None,
            credential_id=None,
            way=Way(channel, PayMethod.COUNTER),
            payer_id=None,
            amount_fen=amount.fen,
            idempotency_key=idempotency_key,
            at=at,
        )
        if not new:
            return await _same_slip(work, order, slip)
        await _book(work, order, shift, slip, scope, at)
        paid = await orders.order_by_id(work, order_id=order.id)
    assert paid is not None
    TOPUPS.labels(step="taken_at_desk").inc()
    return paid


async def _sold_by(work: UnitOfWork, account_id: UUID, meter_id: UUID | None) -> UUID:
    assignment = await metering.live_assignment_of_account(
        work, account_id=account_id, meter_id=meter_id
    )
    if assignment is None:
        raise Conflict("no such meter that is sold to serves this account now")
    meter = await metering.meter_by_id(work, meter_id=assignment.meter_id)
    if meter.credit_mode == CreditMode.NONE:
        raise Conflict("this meter is not sold to")
    if meter.selling_stopped_at is not None:
        raise Conflict("selling to this meter is stopped until the manager has checked it")
    return assignment.id


async def _repeated(
    work: UnitOfWork,
    order: Order,
    amount: Money,
    channel: Channel,
    slip: str | None,
    meter_id: UUID | None,
) -> Order:
    """What was taken by this key before, whatever became of account, shift or meter since."""
    same = (order.amount_fen, order.channel) == (amount.fen, channel)
    if meter_id is not None:
        sold = await metering.assignment_by_id(work, assignment_id=order.assignment_id)
        same = same and sold.meter_id == meter_id
    if not same:
        raise Conflict("this idempotency key was used for a different top-up")
    return await _same_slip(work, order, slip)


async def _same_slip(work: UnitOfWork, order: Order, slip: str | None) -> Order:
    taken = await shifts.counter_of(work, order_id=order.id)
    if taken is None or taken.slip_no != slip:
        raise Conflict("this idempotency key was used for a different top-up")
    return order


async def _book(
    work: UnitOfWork, order: Order, shift: Shift, slip: str | None, scope: Scope, at: datetime
) -> None:
    await shifts.note_counter(
        work,
        order_id=order.id,
        project_id=order.project_id,
        shift_id=shift.id,
        slip_no=slip,
    )
    into = drawer_of(shift.id)
    if order.channel == Channel.CARD:
        into = AccountKey(AccountKind.CARD_SLIPS, order.project_id)
    paid = Paid(order.id, order.order_no, at)
    await book(work, sales=[Sale(order, paid, into)], at=at)
    await record(
        work,
        actor=scope.actor,
        action="topup:self:take",
        subject=str(order.id),
        at=at,
        project_id=order.project_id,
        after={
            "order": order.order_no,
            "account": str(order.account_id),
            "amount": str(Money.of_fen(order.amount_fen)),
            "channel": str(order.channel),
            "slip": slip,
            "shift": str(shift.id),
        },
    )


async def receipt(work: UnitOfWork, *, scope: Scope, order_id: UUID) -> Receipt:
    """The receipt of a paid top-up as it would be printed next. Raises NotFound, Conflict (unpaid)."""
    order = await order_for(work, scope=scope, order_id=order_id)
    return await _receipt(work, order, copy=1 + await shifts.copies(work, order_id=order.id))


async def print_receipt(*, scope: Scope, order_id: UUID, at: datetime) -> Receipt:
    """Count a print, audited: every copy after the first says that it is one.

    Raises NotFound, Forbidden, Conflict (unpaid).
    """
    async with unit_of_work(scope.group_id) as work:
        order = await order_for(work, scope=scope, order_id=order_id)
        scope.require(Permission.CASH_TAKE, order.project_id)
        made = await _receipt(work, order, copy=1)
        copy = await shifts.count_copy(work, order_id=order.id, at=at)
        await record(
            work,
            actor=scope.actor,
            action="topup:receipt:print",
            subject=str(order.id),
            at=at,
            project_id=order.project_id,
            after={"order": order.order_no, "copy": copy},
        )
    return receipts.as_copy(made, copy=copy)


async def _receipt(work: UnitOfWork, order: Order, *, copy: int) -> Receipt:
    if order.state is not OrderState.PAID or order.paid_at is None:
        raise Conflict("nothing was paid by this order")
    account = await accounts.account_by_id(work, account_id=order.account_id)
    project = await tenancy.project_by_id(work, project_id=order.project_id)
    source = f"topup:{order.id}"
    recovered = tuple(
        ReceiptLine(_RECOVERED[line], amount)
        for line, amount in (await recovered_by(work, sources=[source]))[source].items()
    )
    paid = Money.of_fen(order.amount_fen)
    taken = await shifts.counter_of(work, order_id=order.id)
    return Receipt(
        project=project.name,
        order_no=order.order_no,
        account_no=account.no,
        account_name=account.name,
        channel=order.channel,
        slip_no=None if taken is None else taken.slip_no,
        paid_at=order.paid_at,
        paid=paid,
        recovered=recovered,
        credited=Money(paid.hao - sum(line.amount.hao for line in recovered)),
        refunded=await refunds.refunded_of_order(work, order_id=order.id),
        cashier=None if taken is None else taken.operator_name,
        desk=None if taken is None else taken.desk,
        copy=copy,
    )
