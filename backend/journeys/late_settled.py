"""A payment that was settled when the bill of its day was out must still stand on some bill (C6).

The comparison of that day may be over, and no other day asks for it. Few payments come so late (a notice
held back, an outage of ours), so each is looked at by itself once the next bill has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from backend.alerts.operations import open_case
from backend.kernel.clock import business_day
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.money import Money
from backend.outbox.operations import emit
from backend.reconcile import bills
from backend.reconcile.models import DayState
from backend.reconcile.rules import border_of, due_at, is_overdue
from backend.topups.queries import order_by_id

from .booking import Sale

TOPIC = "bill.late"
CASE = "PAYMENT_NOT_BILLED"
# A bill is planned, fetched and compared within that of its hour.
_LOOK_AFTER = timedelta(hours=1)
_NOT_COMPARED = (DayState.WAITING, DayState.FETCHED)


async def watch_late(work: UnitOfWork, *, sales: Sequence[Sale], at: datetime) -> None:
    """Plan a look at each payment whose own bill is out, in the commit that books it."""
    today = business_day(at)
    for sale in sales:
        if at >= due_at(_own_day(sale.order.channel, sale.paid.at)):
            await emit(
                work,
                topic=TOPIC,
                key=str(sale.order.id),
                payload={"order_id": str(sale.order.id), "settled_on": today.isoformat()},
                at=at,
                due_at=due_at(today) + _LOOK_AFTER,
            )


async def look_at_late(
    *, group_id: int, order_id: UUID, settled_on: date, at: datetime
) -> datetime | None:
    """Whether a bill names a payment that was settled late; when to look again.

    On none, neither of its own day nor of the China day in which it was settled: a case. What its own
    day's comparison told, or will tell, is not told again.
    """
    async with unit_of_work(group_id) as work:
        order = await order_by_id(work, order_id=order_id)
        assert order is not None, "orders are never deleted"
        assert order.credential_id is not None, "a bill is of a merchant account"
        assert order.paid_at is not None, "it was settled"
        assert order.transaction_id is not None, "it was settled"
        if await bills.is_told(
            work,
            credential_id=order.credential_id,
            order_no=order.order_no,
            transaction_id=order.transaction_id,
        ):
            return None
        own_day = _own_day(order.channel, order.paid_at)
        own, newer = [
            await bills.state_of(work, credential_id=order.credential_id, day=day)
            for day in (own_day, settled_on)
        ]
        if own in _NOT_COMPARED:
            return None
        if (newer is None or newer in _NOT_COMPARED) and not is_overdue(settled_on, at=at):
            return at + _LOOK_AFTER
        await open_case(
            work,
            project_id=order.project_id,
            kind=CASE,
            subject=order.order_no,
            detail={
                "day": own_day.isoformat(),
                "transaction": order.transaction_id,
                "ours": str(Money.of_fen(order.amount_fen)),
                "reason": f"settled on {settled_on}; no bill has the payment",
            },
            at=at,
        )
    return None


def _own_day(channel: str, paid_at: datetime) -> date:
    """The last day whose comparison asks for a payment: near midnight that is the next one."""
    return business_day(paid_at + border_of(channel))
