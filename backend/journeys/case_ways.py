"""An operator's way out of a case about money: try it again, or give it back (C5). Nothing is dropped.

Each is done in the commit that closes the case with its note.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.alerts.queries import Case
from backend.control.queries import vends_of_topups
from backend.control.rules import VendSource
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.ledger import operations as ledger
from backend.ledger.lots import lot_state
from backend.ledger.rules import AccountKey, AccountKind, move
from backend.metering.rules import MeterModel
from backend.outbox.operations import postpone
from backend.tenancy.rules import Permission
from backend.topups import operations as topups
from backend.topups import refunds
from backend.topups.corrections import Place, place_of
from backend.topups.queries import Order
from backend.topups.refund_rules import RefundState
from backend.topups.refunds import Refund, Source
from backend.topups.rules import Channel, OrderState

from .purse_vend import send_on
from .refund import TOPIC, add_and_agree, request_of_order

_CHANNELS = frozenset(str(channel) for channel in Channel)


@dataclass(frozen=True, slots=True)
class Handling:
    """A case in the hands of an operator. `models`: meter models by name."""

    case: Case
    scope: Scope
    note: str
    models: Mapping[str, MeterModel]
    at: datetime


Way = Callable[[UnitOfWork, Handling], Awaitable[None]]


async def _ask_channel(work: UnitOfWork, handling: Handling) -> None:
    """PAYMENT_MISMATCH: ask the channel itself what was paid; its word is settled as every other."""
    order = await topups.lock_order(work, order_no=handling.case.subject)
    if order is None:
        raise InvalidInput("there is no such order here to ask for", field="action")
    if order.state is OrderState.PAID:
        raise Conflict("the order is paid; what came beside it can be given back")
    await postpone(work, topic="topup.query", key=str(order.id), due_at=handling.at)


async def _deliver(work: UnitOfWork, handling: Handling) -> None:
    """PAID_WITHOUT_METER: the account has a meter by now; what is left of the order goes there."""
    order = await _order(work, handling)
    place = await place_of(work, order=order)
    lot = await lot_state(work, source=place.lot_source)
    if lot is None or min(lot.left, lot.purse_left) <= Money(0):
        raise Conflict("nothing of this top-up is in the purse any more")
    sent_before = order.id in await vends_of_topups(work, topup_ids=[order.id])
    await send_on(
        work,
        project_id=order.project_id,
        account_id=place.account_id,
        purse=lot.purse_ref,
        amount=min(lot.left, lot.purse_left),
        source=VendSource.TRANSFER if sent_before else VendSource.TOPUP,
        source_id=handling.case.id if sent_before else order.id,
        at=handling.at,
    )


async def _ask_refund(work: UnitOfWork, handling: Handling) -> None:
    """REFUND_STUCK: ask the channel for it now."""
    refund = await _refund(work, handling)
    if refund.at_counter:
        raise InvalidInput("a refund at a desk is fetched or taken back", field="action")
    await postpone(work, topic=TOPIC, key=str(refund.id), due_at=handling.at)


async def _refund_again(work: UnitOfWork, handling: Handling) -> None:
    """REFUND_FAILED: the same again, under a number of its own."""
    failed = await _refund(work, handling)
    if failed.state is not RefundState.FAILED:
        raise Conflict("this refund has not failed")
    _may_ask(handling)
    if failed.source.order_id is None:
        await add_and_agree(
            work,
            source=failed.source,
            amount=failed.amount,
            reason=failed.reason,
            idempotency_key=_key(handling),
            actor=handling.scope.actor,
            at=handling.at,
        )
        return
    order = await topups.lock_order(work, order_no=failed.source.order_no)
    assert order is not None, "orders are never deleted"
    await _request(
        work, handling, order, failed.amount, failed.reason, place=await _returned(work, failed)
    )


async def _returned(work: UnitOfWork, failed: Refund) -> Place | None:
    """Where a failed refund's money went back to, if it is there still; None: it was moved on since."""
    account_id, source = failed.source.account_id, failed.source.lot_source
    if account_id is None or source is None:
        return None
    lot = await lot_state(work, source=source)
    return None if lot is None or lot.left < failed.amount else Place(account_id, source)


async def _give_back(work: UnitOfWork, handling: Handling) -> None:
    """PAID_WITHOUT_METER: what is left of the order goes back to the payer."""
    order = await _order(work, handling)
    source = (await place_of(work, order=order)).lot_source
    lot = await lot_state(work, source=source)
    asked = await refunds.asked_of_order(work, order_no=order.order_no, lot_source=source)
    held = Money(0) if lot is None else min(lot.left, lot.purse_left)
    _may_ask(handling)
    amount = Money.of_fen(max(0, held.hao // 100 - asked.waiting_fen))
    await _request(work, handling, order, amount, handling.note)


async def _give_back_stray(work: UnitOfWork, handling: Handling) -> None:
    """PAYMENT_MISMATCH: a payment that no order of ours fits goes back by the account that took it.

    It is booked as received into SUSPENSE first: money is never given back that is in no book.
    """
    case, detail = handling.case, handling.case.detail
    credential, channel = detail.get("credential", ""), detail.get("channel", "")
    if not credential or channel not in _CHANNELS or detail.get("currency") != "CNY":
        raise InvalidInput("the case does not tell what the channel took", field="action")
    _may_ask(handling)
    order = await topups.lock_order(work, order_no=case.subject)
    if (
        order is not None
        and order.state is OrderState.PAID
        and order.transaction_id == detail.get("transaction")
    ):
        raise Conflict("this payment was booked meanwhile: refund its top-up")
    amount = Money.parse(detail["paid"])
    source = Source(
        project_id=case.project_id,
        order_id=None,
        account_id=None,
        lot_source=None,
        order_no=case.subject,
        total_fen=amount.fen,
        channel=channel,
        credential_id=UUID(credential),
    )
    received = move(
        business_key=f"stray:{channel}:{detail.get('transaction') or case.subject}:received",
        kind="STRAY_RECEIVED",
        debit=AccountKey(AccountKind.CHANNEL, UUID(credential)),
        credit=AccountKey(AccountKind.SUSPENSE, case.project_id),
        amount=amount,
    )
    if not await ledger.post(work, project_id=case.project_id, transfer=received, at=handling.at):
        raise Conflict("this payment was given back before")
    await add_and_agree(
        work,
        source=source,
        amount=amount,
        reason=handling.note[:200],
        idempotency_key=_key(handling),
        actor=handling.scope.actor,
        at=handling.at,
    )


async def _order(work: UnitOfWork, handling: Handling) -> Order:
    order = await topups.lock_order(work, order_no=handling.case.subject)
    if order is None:
        raise InvalidInput("this case is about no order", field="action")
    return order


async def _refund(work: UnitOfWork, handling: Handling) -> Refund:
    found = await refunds.refund_of_number(work, refund_no=handling.case.subject)
    if found is None:
        raise InvalidInput("this case is about no refund", field="action")
    return found


async def _request(
    work: UnitOfWork,
    handling: Handling,
    order: Order,
    amount: Money,
    reason: str,
    *,
    place: Place | None = None,
) -> None:
    await request_of_order(
        work,
        order=order,
        amount=amount,
        reason=reason[:200],
        idempotency_key=_key(handling),
        actor=handling.scope.actor,
        models=handling.models,
        at=handling.at,
        place=place,
    )


def _may_ask(handling: Handling) -> None:
    handling.scope.require(Permission.REFUND_REQUEST, handling.case.project_id)


def _key(handling: Handling) -> str:
    return f"case-{handling.case.id}"


RETRIES: dict[str, Way] = {
    "PAYMENT_MISMATCH": _ask_channel,
    "PAID_WITHOUT_METER": _deliver,
    "REFUND_STUCK": _ask_refund,
    "REFUND_FAILED": _refund_again,
}
REFUNDS: dict[str, Way] = {
    "PAYMENT_MISMATCH": _give_back_stray,
    "PAID_WITHOUT_METER": _give_back,
}
