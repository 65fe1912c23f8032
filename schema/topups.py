"""Top-ups as operators see them, live too: three states, kept apart (C10)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from uuid import UUID

import strawberry

from backend.journeys.views import (
    MeterCreditState,
    MoneyState,
    PowerState,
    TopUpView,
    topup_views,
)
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import NotFound
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.ledger.rules import LINES
from backend.tariffs.rules import LineKind
from backend.tenancy.rules import Permission
from backend.topups.queries import order_by_id
from backend.topups.rules import Channel, PayMethod

from .context import Info
from .nodes import Node
from .resolvers import field, subscription
from .scalars import ref, uuid_of

strawberry.enum(MoneyState, description="Has the money arrived?")
strawberry.enum(MeterCreditState, description="Does the meter itself say that it holds the money?")
strawberry.enum(PowerState, description="Is the relay closed, as the meter said at its read-back?")
strawberry.enum(Channel, description="By whom the money comes.")
strawberry.enum(
    PayMethod,
    description="In the channel's app (JSAPI), from a phone's browser (H5, WAP) or a desktop's (PAGE),"
    " by a QR code (NATIVE), at the cashier's (COUNTER).",
)


_LINES = dict(
    zip(
        LINES,
        (LineKind.ENERGY, LineKind.FIXED, LineKind.LOSS, LineKind.PUBLIC, LineKind.SERVICE),
        strict=True,
    )
)


@strawberry.type(description="What a top-up paid of arrears, by line.")
class ArrearsPaid:
    """欠费冲抵."""

    line: LineKind
    amount: Money


@strawberry.type(description="A top-up order.")
class TopUp(Node):
    """充值单."""

    key: strawberry.Private[UUID]
    order_no: str
    account: strawberry.ID
    amount: Money
    channel: Channel
    method: PayMethod
    money: MoneyState
    meter_credit: MeterCreditState
    power: PowerState
    purchase_no: int | None = strawberry.field(description="Its number at the meter (充值次数).")
    created_at: datetime
    paid_at: datetime | None
    credited_at: datetime | None
    waiting_for: str | None = strawberry.field(description="Why the meter is not credited yet.")
    arrears: list[ArrearsPaid] = strawberry.field(
        description="What of it paid arrears, before anything was bought with it."
    )


def topup_of(view: TopUpView) -> TopUp:
    """A top-up as the schema shows it to operators."""
    order = view.order
    return TopUp(
        id=ref("TopUp", order.id),
        key=order.id,
        order_no=order.order_no,
        account=ref("Account", order.account_id),
        amount=Money.of_fen(order.amount_fen),
        channel=order.channel,
        method=order.method,
        money=view.money,
        meter_credit=view.meter_credit,
        power=view.power,
        purchase_no=view.purchase_no,
        created_at=order.created_at,
        paid_at=order.paid_at,
        credited_at=view.credited_at,
        waiting_for=view.waiting_for,
        arrears=[ArrearsPaid(line=_LINES[k], amount=v) for k, v in view.recovered.items()],
    )


async def load_topup(work: UnitOfWork, *, scope: Scope, order_id: UUID) -> TopUp:
    """One top-up for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    order = await order_by_id(work, order_id=order_id)
    if order is None or not scope.may(Permission.TOPUP_READ, order.project_id):
        raise NotFound("no such top-up")
    return topup_of((await topup_views(work, orders=[order]))[0])


@strawberry.type
class TopUpQueries:
    """Reads."""

    @field(description="One top-up.")
    async def top_up(self, info: Info, id: strawberry.ID) -> TopUp:
        """By id. Raises NotFound."""
        async with info.context.work() as work:
            return await load_topup(
                work, scope=info.context.caller(), order_id=uuid_of(id, "TopUp")
            )


@strawberry.type
class TopUpSubscriptions:
    """Live."""

    @subscription(
        description="The top-up as it is now, then at every change, as long as the caller may see it."
    )
    async def top_up_changed(self, info: Info, id: strawberry.ID) -> AsyncGenerator[TopUp, None]:
        """Authorised anew at every event. Raises Unauthenticated, NotFound."""
        order_id, seen = uuid_of(id, "TopUp"), None
        group_id = (await info.context.scope_now()).group_id
        with info.context.bell.listen(group_id=group_id, order_id=order_id) as rings:
            while True:
                found = await _read_now(info, order_id)
                if found != seen:
                    yield found
                seen = found
                await rings.get()


async def _read_now(info: Info, order_id: UUID) -> TopUp:
    scope = await info.context.scope_now()
    async with unit_of_work(scope.group_id) as work:
        return await load_topup(work, scope=scope, order_id=order_id)
