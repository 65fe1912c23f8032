"""What people see of a top-up and of an account: three states kept apart (C10), money and meters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from backend.control.models import Vend
from backend.control.queries import vends_of_topups
from backend.control.rules import VendState
from backend.kernel.db import UnitOfWork
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
    """A top-up with its three states. `waiting_for` says why a vend has not gone on, if known."""

    order: Order
    money: MoneyState
    meter_credit: MeterCreditState
    power: PowerState
    purchase_no: int | None
    credited_at: datetime | None
    waiting_for: str | None


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


def view_of(order: Order, vend: Vend | None) -> TopUpView:
    """The three states of one top-up."""
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
    """Views of several orders by one more statement."""
    ids: list[UUID] = [order.id for order in orders]
    vends = await vends_of_topups(work, topup_ids=ids)
    return [view_of(order, vends.get(order.id)) for order in orders]
