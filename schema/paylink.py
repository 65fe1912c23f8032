"""The pay page of a link: pay for one account, follow that payment, see nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated

import strawberry

from backend.journeys import pay_link as journey
from backend.journeys.views import MeterCreditState, MoneyState, PowerState, TopUpView
from backend.kernel.money import Money
from backend.topups.rules import Channel, PayMethod, Way

from .audit import KeyValue, pairs
from .context import Info
from .meter_marks import MeterStateMark, mark_of
from .models import MeterKind
from .problems import AnyProblem
from .resolvers import field, subscription
from .rights import open_mutation
from .scalars import ref, uuid_of

_NOT_YET = "the meter has not answered yet"
_DECIDED = (MeterCreditState.STOPPED, MeterCreditState.MOVED)


@strawberry.type(description="A channel, and how it is paid there.")
class PayWay:
    """One button of the pay page."""

    channel: Channel
    method: PayMethod


@strawberry.type(description="A meter that can be paid for.")
class PayMeter:
    """One choice of the pay page."""

    id: strawberry.ID
    name: str = strawberry.field(description="The last characters of its serial number.")
    kind: MeterKind
    state: MeterStateMark | None = strawberry.field(
        description="Told to the customer himself only: who was sent the link may pay, not look."
    )


@strawberry.type(description="What a pay link pays for; name and place are masked.")
class PayLink:
    """A forwarded link may pay, not look."""

    account_name: str
    place: str
    project: str
    amount: Money | None = strawberry.field(description="The amount that was asked for, if any.")
    chips: list[Money] = strawberry.field(description="Amounts to offer.")
    min: Money
    max: Money
    ways: list[PayWay] = strawberry.field(description="How this visitor can pay, the best first.")
    meters: list[PayMeter] = strawberry.field(
        description="What can be paid for, the one that is paid for unasked first."
    )


@strawberry.type(description="A top-up as the payer sees it.")
class PayerTopUp:
    """Three states, and nothing of balance or use: `waitingFor` tells that, not what, it waits for."""

    id: strawberry.ID
    order_no: str = strawberry.field(
        description="商户单号: as the payer's receipt at the channel has it."
    )
    amount: Money
    channel: Channel
    money: MoneyState
    meter_credit: MeterCreditState
    power: PowerState
    purchase_no: int | None
    expires_at: datetime
    credited_at: datetime | None
    waiting_for: str | None


@strawberry.type(
    description="The order is registered at the channel; `page` is what the page needs to pay."
)
class TopUpStarted:
    """A started top-up."""

    top_up: PayerTopUp
    page: list[KeyValue]


StartTopUpResult = Annotated[TopUpStarted | AnyProblem, strawberry.union("StartTopUpResult")]


def payer_topup_of(view: TopUpView) -> PayerTopUp:
    """A top-up as its payer may see it; a vend's own words may tell a balance and are left out."""
    waits = view.waiting_for is not None and view.meter_credit not in _DECIDED
    return PayerTopUp(
        id=ref("TopUp", view.order.id),
        order_no=view.order.order_no,
        amount=Money.of_fen(view.order.amount_fen),
        channel=view.order.channel,
        money=view.money,
        meter_credit=view.meter_credit,
        power=view.power,
        purchase_no=view.purchase_no,
        expires_at=view.order.expires_at,
        credited_at=view.credited_at,
        waiting_for=_NOT_YET if waits else None,
    )


def pay_meter_of(meter: journey.PayMeter) -> PayMeter:
    """A meter that can be paid for, as the schema shows it."""
    return PayMeter(
        id=ref("Meter", meter.id),
        name=meter.tail,
        kind=MeterKind(meter.kind),
        state=None if meter.state is None else mark_of(meter.state),
    )


def link_of(link: journey.OpenedLink) -> PayLink:
    """A pay link as the schema shows it."""
    return PayLink(
        account_name=link.account_name,
        place=link.place,
        project=link.project_name,
        amount=link.amount,
        chips=list(link.amounts),
        min=link.least,
        max=link.most,
        ways=[PayWay(channel=way.channel, method=way.method) for way in link.ways],
        meters=[pay_meter_of(each) for each in link.meters],
    )


@strawberry.type
class PayLinkQueries:
    """Reads."""

    @field(description="What a pay link pays for.")
    async def pay_link(self, info: Info, token: str) -> PayLink:
        """By its token. Raises NotFound."""
        context = info.context
        link = await journey.open_link(context.ports, token=token, visitor=context.visitor)
        return link_of(link)

    @field(description="A top-up of the link's account.")
    async def top_up_by_link(self, info: Info, token: str, id: strawberry.ID) -> PayerTopUp:
        """By token and id. Raises NotFound."""
        view = await journey.topup_of_link(
            info.context.ports, token=token, order_id=uuid_of(id, "TopUp")
        )
        return payer_topup_of(view)


@strawberry.type
class PayLinkMutations:
    """Writes."""

    @open_mutation(why="the link's token is the right to pay for its account")
    async def start_top_up_by_link(
        self,
        info: Info,
        token: str,
        amount: Money,
        method: PayMethod,
        idempotency_key: str,
        channel: Channel = Channel.WECHAT_PAY,
        meter: strawberry.ID | None = None,
    ) -> StartTopUpResult:
        """Start a payment; the same key again answers the same order."""
        view = await journey.start_by_link(
            info.context.ports,
            token=token,
            amount=amount,
            way=Way(channel, method),
            visitor=info.context.visitor,
            idempotency_key=idempotency_key,
            meter_id=None if meter is None else uuid_of(meter, "Meter"),
        )
        return TopUpStarted(top_up=payer_topup_of(view), page=pairs(view.order.page))


@strawberry.type
class PayLinkSubscriptions:
    """Live."""

    @subscription(
        description="The top-up as it is now, then at every change, as long as the link is good."
    )
    async def top_up_by_link_changed(
        self, info: Info, token: str, id: strawberry.ID
    ) -> AsyncGenerator[PayerTopUp, None]:
        """Authorised anew at every event. Raises NotFound."""
        order_id, ports, seen = uuid_of(id, "TopUp"), info.context.ports, None
        group_id = await journey.group_of_token(token)
        with info.context.bell.listen(group_id=group_id, order_id=order_id) as rings:
            while True:
                view = await journey.topup_of_link(ports, token=token, order_id=order_id)
                if view != seen:
                    yield payer_topup_of(view)
                seen = view
                await rings.get()
