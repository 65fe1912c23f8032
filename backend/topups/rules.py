"""Pure decisions of top-ups: channels, limits, states, what a payment statement means for an order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money

ORDER_LIFE = timedelta(minutes=15)
LINK_LIFE = timedelta(days=7)
# Ask the channel actively: a notice may come never or late (C5; channels.md section 8 rule 6).
QUERY_AFTER = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=15, seconds=30),
    timedelta(hours=1),
)


class Channel(StrEnum):
    """By whom the money comes; but for the two of the counter, also the kind of a merchant account."""

    WECHAT_PAY = "WECHAT_PAY"
    ALIPAY = "ALIPAY"
    UNIONPAY = "UNIONPAY"
    CHINAPAY = "CHINAPAY"
    CASH = "CASH"
    CARD = "CARD"


class PayMethod(StrEnum):
    """How it is paid: in the channel's own app (JSAPI), from a phone's browser (H5 WeChat, WAP the
    others), from a desktop's (PAGE), by a QR on a screen (NATIVE), at the cashier's (COUNTER)."""

    JSAPI = "JSAPI"
    H5 = "H5"
    NATIVE = "NATIVE"
    WAP = "WAP"
    PAGE = "PAGE"
    COUNTER = "COUNTER"


_PAGES = (PayMethod.WAP, PayMethod.PAGE)
METHODS: Mapping[Channel, tuple[PayMethod, ...]] = {
    Channel.WECHAT_PAY: (PayMethod.JSAPI, PayMethod.H5, PayMethod.NATIVE),
    Channel.ALIPAY: (PayMethod.JSAPI, *_PAGES),
    Channel.UNIONPAY: _PAGES,
    Channel.CHINAPAY: _PAGES,
    Channel.CASH: (PayMethod.COUNTER,),
    Channel.CARD: (PayMethod.COUNTER,),
}


@dataclass(frozen=True, slots=True)
class Way:
    """A channel and one of its methods. Raises InvalidInput for a method that the channel has not."""

    channel: Channel
    method: PayMethod

    def __post_init__(self) -> None:
        if self.method not in METHODS[self.channel]:
            raise InvalidInput(f"{self.channel} is not paid by {self.method}", field="method")


class Browser(StrEnum):
    """Where a pay page was opened, by its user agent: a hint for what to offer, never a proof."""

    WECHAT = "WECHAT"
    ALIPAY = "ALIPAY"
    PHONE = "PHONE"
    DESKTOP = "DESKTOP"


# What works where (channels.md section 6.6), the first one first; of a channel the first way that can
# work. WeChat's H5 does not open inside WeChat, and the two apps block each other's cashiers.
_OFFERED: Mapping[Browser, tuple[Way, ...]] = {
    Browser.WECHAT: (Way(Channel.WECHAT_PAY, PayMethod.JSAPI),),
    Browser.ALIPAY: (
        Way(Channel.ALIPAY, PayMethod.JSAPI),
        Way(Channel.ALIPAY, PayMethod.WAP),
    ),
    Browser.PHONE: (
        Way(Channel.ALIPAY, PayMethod.WAP),
        Way(Channel.WECHAT_PAY, PayMethod.H5),
        Way(Channel.UNIONPAY, PayMethod.WAP),
        Way(Channel.CHINAPAY, PayMethod.WAP),
    ),
    Browser.DESKTOP: (
        Way(Channel.ALIPAY, PayMethod.PAGE),
        Way(Channel.WECHAT_PAY, PayMethod.H5),
        Way(Channel.UNIONPAY, PayMethod.PAGE),
        Way(Channel.CHINAPAY, PayMethod.PAGE),
    ),
}


def browser_of(user_agent: str) -> Browser:
    """The browser behind a User-Agent header."""
    if "MicroMessenger" in user_agent:
        return Browser.WECHAT
    if "AlipayClient" in user_agent:
        return Browser.ALIPAY
    return Browser.PHONE if "Mobile" in user_agent else Browser.DESKTOP


def ways_to_offer(
    browser: Browser, *, channels: Collection[Channel], known: Collection[Channel]
) -> tuple[Way, ...]:
    """How to pay in `browser` a project that has accounts at `channels`, each channel in one way. `known`:
    whose app told who the visitor is, without which JSAPI cannot work."""
    ways: dict[Channel, Way] = {}
    for way in _OFFERED[browser]:
        works = way.method is not PayMethod.JSAPI or way.channel in known
        if way.channel in channels and works:
            ways.setdefault(way.channel, way)
    return tuple(ways.values())


class OrderState(StrEnum):
    """CREATED waits for money; PAID is final; CLOSED may still become PAID by a late payment (C5)."""

    CREATED = "CREATED"
    PAID = "PAID"
    CLOSED = "CLOSED"


class PaymentState(StrEnum):
    """What the channel says of an order. UNKNOWN is never acted on: ask again."""

    UNPAID = "UNPAID"
    PAID = "PAID"
    CLOSED = "CLOSED"
    REFUNDED = "REFUNDED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Payment:
    """A channel's statement on one order: from a notice, a query or a bill. Amounts in fen.

    `merchant_id` is whose money it is; `provider_id` and `provider_app_id` are the service provider's
    (服务商) that collected it for them, both empty without one."""

    order_no: str
    state: PaymentState
    merchant_id: str
    app_id: str
    amount_fen: int
    currency: str
    transaction_id: str | None = None
    paid_at: datetime | None = None
    payer_id: str | None = None
    provider_id: str = ""
    provider_app_id: str = ""


class Verdict(StrEnum):
    """What to do with a payment statement."""

    SETTLE = "SETTLE"
    ALREADY = "ALREADY"
    WAIT = "WAIT"
    MISMATCH = "MISMATCH"


@dataclass(frozen=True, slots=True)
class Expected:
    """What our own order says a payment must be: amounts in fen. `app_id` is empty for a channel
    that has no apps, the provider's numbers for a merchant without a service provider."""

    order_no: str
    merchant_id: str
    app_id: str
    amount_fen: int
    state: OrderState
    transaction_id: str | None
    provider_id: str = ""
    provider_app_id: str = ""


def judge(expected: Expected, payment: Payment) -> tuple[Verdict, str]:
    """Whether `payment` settles the order, with the reason when it does not (C5).

    Believed only when order, merchant, app, service provider, amount and currency match ours. A CLOSED
    order that was paid after all is settled: money is never dropped. Money that was given back before
    we booked it is not ours to sell for.
    """
    if payment.state not in (PaymentState.PAID, PaymentState.REFUNDED):
        return Verdict.WAIT, f"the channel says {payment.state}"
    wrong = [
        name
        for name, ours, theirs in (
            ("order", expected.order_no, payment.order_no),
            ("merchant", expected.merchant_id, payment.merchant_id),
            ("app", expected.app_id, payment.app_id),
            ("provider", expected.provider_id, payment.provider_id),
            ("provider's app", expected.provider_app_id, payment.provider_app_id),
            ("amount", expected.amount_fen, payment.amount_fen),
            ("currency", "CNY", payment.currency),
        )
        if ours != theirs
    ]
    if not payment.transaction_id:
        wrong.append("transaction id")
    if wrong:
        return Verdict.MISMATCH, "differs from our order: " + ", ".join(wrong)
    if expected.state is OrderState.PAID:
        if expected.transaction_id != payment.transaction_id:
            return Verdict.MISMATCH, "the order was paid twice, by two transactions"
        return Verdict.ALREADY, "settled before"
    if payment.state is PaymentState.REFUNDED:
        return Verdict.MISMATCH, "the channel gave money back before the payment was booked"
    return Verdict.SETTLE, ""


def check_amount(*, amount_fen: int, min_fen: int, max_fen: int) -> int:
    """A top-up amount within the project's limits. Raises InvalidInput."""
    if not min_fen <= amount_fen <= max_fen:
        raise InvalidInput(
            f"a top-up is {Money.of_fen(min_fen)} to {Money.of_fen(max_fen)} yuan", field="amount"
        )
    return amount_fen


def next_query(*, created_at: datetime, at: datetime) -> datetime | None:
    """When to ask the channel for an order that is unpaid `at` its last look; None when there is nothing left
    to ask. By the order's age: questions that reached nobody are not looks."""
    age = at - created_at
    return next((created_at + after for after in QUERY_AFTER if after > age), None)
