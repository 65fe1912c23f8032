"""Book what was paid: paid, entry, lot, number, reserve, doorbell, for many orders by one commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.alerts.operations import open_case
from backend.control.operations import NewVend, queue_vends
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.ledger import operations as ledger
from backend.ledger.operations import NewLot
from backend.ledger.rules import AccountKey, AccountKind, LotKind, topup_paid, vend_reserved
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.metering.rules import CreditMode
from backend.outbox.operations import emit_all
from backend.topups import operations as topups
from backend.topups.operations import BELL, Paid
from backend.topups.queries import Order

from .charge_topup import pay_arrears
from .supply_owing import wake


@dataclass(frozen=True, slots=True)
class Sale:
    """An order whose money has arrived; the order is locked. `into`: where a cash desk put it, None for
    the order's channel."""

    order: Order
    paid: Paid
    into: AccountKey | None = None

    @property
    def amount(self) -> Money:
        """What was paid."""
        return Money.of_fen(self.order.amount_fen)


async def book(work: UnitOfWork, *, sales: Sequence[Sale], at: datetime) -> None:
    """Everything that follows from paid orders, in the caller's transaction (C8, C10).

    Lock order: the orders (held by the caller), meter assignments by id, ledger accounts by id.
    """
    await topups.mark_paid(work, paid=[sale.paid for sale in sales])
    targets = await _targets(work, sales, at)
    by_project: dict[UUID, list[Sale]] = defaultdict(list)
    for sale in sales:
        by_project[sale.order.project_id].append(sale)
    vended = [sale for sale in sales if sale.order.id in targets]
    vends = await _queue(work, vended, targets, at)
    for project_id, those in by_project.items():
        await _post(work, project_id, those, targets, vends, at)
    if vends:
        events = {
            str(vend_id): {
                "meter_id": str(targets[order_id].meter_id),
                "vend_id": str(vend_id),
            }
            for order_id, vend_id in vends.items()
        }
        await emit_all(work, topic="vend.due", events=events, at=at)
    work.notify(BELL, *(f"{work.group_id}:{sale.order.id}" for sale in sales))


async def _targets(
    work: UnitOfWork, sales: Sequence[Sale], at: datetime
) -> dict[UUID, meters.Sold]:
    """The assignment of a METER-mode meter that each order's money goes to, by order. Without one it
    stays in the purse; that is a case where a meter was to get it and is gone."""
    ids = [sale.order.assignment_id for sale in sales]
    known = await meters.sold_assignments(work, assignment_ids=ids)
    targets: dict[UUID, meters.Sold] = {}
    for sale in sales:
        order = sale.order
        target: meters.Sold | None = known[order.assignment_id]
        if target is not None and target.ended:
            target = await _successor(work, order)
        if target is None:
            await open_case(
                work,
                project_id=order.project_id,
                kind="PAID_WITHOUT_METER",
                subject=order.order_no,
                detail={"order": str(order.id), "amount": str(sale.amount)},
                at=at,
            )
        elif target.credit_mode is CreditMode.METER:
            targets[order.id] = target
    return targets


async def _successor(work: UnitOfWork, order: Order) -> meters.Sold | None:
    """The assignment that took the place of an order's own, which has ended."""
    live = await meters.live_assignment_of_account(work, account_id=order.account_id)
    if live is None:
        return None
    return (await meters.sold_assignments(work, assignment_ids=[live.id]))[live.id]


async def _queue(
    work: UnitOfWork, sales: Sequence[Sale], targets: dict[UUID, meters.Sold], at: datetime
) -> dict[UUID, UUID]:
    """Numbered vends of the orders that go to a meter, by order."""
    if not sales:
        return {}
    numbers = await metering.allocate_purchase_nos(
        work, assignment_ids=[targets[sale.order.id].id for sale in sales]
    )
    vends = [
        NewVend(
            project_id=sale.order.project_id,
            meter_id=targets[sale.order.id].meter_id,
            assignment_id=targets[sale.order.id].id,
            counter_epoch=epoch,
            purchase_no=number,
            amount=sale.amount,
            source_id=sale.order.id,
        )
        for sale, (epoch, number) in zip(sales, numbers, strict=True)
    ]
    ids = await queue_vends(work, vends=vends, at=at)
    return {sale.order.id: vend_id for sale, vend_id in zip(sales, ids, strict=True)}


def channel_of(order: Order) -> AccountKey:
    """Where the money of an order that a merchant account took stands."""
    assert order.credential_id is not None, "a cash desk says where it put the money"
    return AccountKey(AccountKind.CHANNEL, order.credential_id)


async def _post(
    work: UnitOfWork,
    project_id: UUID,
    sales: Sequence[Sale],
    targets: dict[UUID, meters.Sold],
    vends: dict[UUID, UUID],
    at: datetime,
) -> None:
    """The entries and lots of one project's sales; what stands in arrears is paid before the rest is used."""
    purses = await accounts.purses(work, account_ids=[sale.order.account_id for sale in sales])
    paid = [
        topup_paid(
            topup_id=sale.order.id,
            into=sale.into or channel_of(sale.order),
            account=purses[sale.order.account_id],
            amount=sale.amount,
        )
        for sale in sales
    ]
    reserved = [
        vend_reserved(
            vend_id=vends[sale.order.id],
            account=purses[sale.order.account_id],
            meter=targets[sale.order.id].meter_id,
            amount=sale.amount,
        )
        for sale in sales
        if sale.order.id in vends
    ]
    await ledger.post_all(work, project_id=project_id, transfers=[*paid, *reserved], at=at)
    lots = [
        NewLot(purses[sale.order.account_id], LotKind.PAID, f"topup:{sale.order.id}", sale.amount)
        for sale in sales
    ]
    await ledger.open_lots(work, project_id=project_id, lots=lots, at=at)
    kept = {
        sale.order.id: purses[sale.order.account_id] for sale in sales if sale.order.id not in vends
    }
    if kept:
        await pay_arrears(work, project_id=project_id, topups=kept, at=at)
        await wake(work, topups=kept, at=at)
