"""What people see of a top-up and of an account: three states kept apart (C10), money and meters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from backend.control.models import Vend
from backend.control.queries import vends_of_topups
from backend.control.rules import VendState
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.ledger.purses import recovered_by
from backend.ledger.rules import AccountKind
from backend.metering.queries import sold_assignments
from backend.metering.rules import CreditMode
from backend.topups.queries import Order
from backend.topups.rules import OrderState


class MoneyState(StrEnum):
    """Has the money arrived?"""

    WAITING = "WAITING"
    PAID = "PAID"
    CLOSED = "CLOSED"


class MeterCreditState(StrEnum):
    """Does the meter itself say that it holds the money? MOVED: the meter was taken down before it took
    it, and the money went on with the account's."""

    WAITING = "WAITING"
    SENDING = "SENDING"
    CREDITED = "CREDITED"
    STOPPED = "STOPPED"
    MOVED = "MOVED"


class PowerState(StrEnum):
    """Is the relay closed, as the meter said at its read-back?"""

    UNKNOWN = "UNKNOWN"
    ON = "ON"
    OFF = "OFF"


@dataclass(frozen=True, slots=True)
class TopUpView:
    """A top-up with its three states. `waiting_for` says why a vend has not gone on, if known. `recovered`:
    what of it paid arrears, by line in their order, so that nothing is swallowed without being told (C7)."""

    order: Order
    money: MoneyState
    meter_credit: MeterCreditState
    power: PowerState
    purchase_no: int | None
    credited_at: datetime | None
    waiting_for: str | None
    recovered: Mapping[AccountKind, Money] = field(default_factory=dict)


_MONEY = {
    OrderState.CREATED: MoneyState.WAITING,
    OrderState.PAID: MoneyState.PAID,
    OrderState.CLOSED: MoneyState.CLOSED,
}
_CREDIT = {
    VendState.QUEUED: MeterCreditState.WAITING,
    VendState.SENT: MeterCreditState.SENDING,
    VendState.VERIFIED: MeterCreditState.CREDITED,
    VendState.STOPPED: MeterCreditState.STOPPED,
    VendState.VOIDED: MeterCreditState.MOVED,
}


def view_of(order: Order, vend: Vend | None, *, in_cloud: bool = False) -> TopUpView:
    """The three states of one top-up. `in_cloud`: its money stays in the purse, so that what is paid is
    credited at once."""
    if in_cloud and vend is None and order.state is OrderState.PAID:
        return TopUpView(
            order=order,
            money=MoneyState.PAID,
            meter_credit=MeterCreditState.CREDITED,
            power=PowerState.UNKNOWN,
            purchase_no=None,
            credited_at=order.paid_at,
            waiting_for=None,
        )
    power = PowerState.UNKNOWN
    if vend is not None and vend.relay_closed_after is not None:
        power = PowerState.ON if vend.relay_closed_after else PowerState.OFF
    return TopUpView(
        order=order,
        money=_MONEY[order.state],
        meter_credit=_CREDIT[vend.state] if vend else MeterCreditState.WAITING,
        power=power,
        purchase_no=vend.purchase_no if vend else None,
        credited_at=vend.verified_at if vend else None,
        waiting_for=vend.last_error if vend else None,
    )


async def topup_views(work: UnitOfWork, *, orders: Sequence[Order]) -> list[TopUpView]:
    """Views of several orders by one more statement; two more for those that no meter was to get."""
    ids: list[UUID] = [order.id for order in orders]
    vends = await vends_of_topups(work, topup_ids=ids)
    kept = [o for o in orders if o.state is OrderState.PAID and o.id not in vends]
    if not kept:
        return [view_of(order, vends.get(order.id)) for order in orders]
    sold = await sold_assignments(work, assignment_ids=[order.assignment_id for order in kept])
    paid = await recovered_by(work, sources=[f"topup:{order.id}" for order in kept])
    in_cloud = {
        order.id
        for order in kept
        if order.assignment_id in sold and sold[order.assignment_id].credit_mode is CreditMode.CLOUD
    }
    views = [view_of(o, vends.get(o.id), in_cloud=o.id in in_cloud) for o in orders]
    return [
        replace(view, recovered=paid.get(f"topup:{view.order.id}", view.recovered))
        for view in views
    ]
