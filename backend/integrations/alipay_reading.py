"""Reads what Alipay says about an order: the answer of a query, and the form of a notice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from backend.integrations.alipay_config import AlipayConfig
from backend.integrations.alipay_wire import AlipayWire
from backend.kernel.clock import CHINA, utc
from backend.kernel.money import ZERO, Money
from backend.topups.ports import NoticeRejected, Payment, PaymentState, RefundNotice

BODY_LIMIT = 64 * 1024
# Alipay tries again for 24 h 24 min (4m, 10m, 10m, 1h, 2h, 6h, 15h; channels.md section 3.2 [mirror]) and
# says when it sends; whether a later try says so anew is not documented, so a day and some is fresh.
FRESH = timedelta(hours=26)
AHEAD = timedelta(minutes=5)
_CHARSETS = frozenset({"utf-8", "gbk", "gb2312", "gb18030"})
_MOST_FIELDS = 100
_PAID = frozenset({"TRADE_SUCCESS", "TRADE_FINISHED"})


def payment_of(trade: Mapping[str, Any], /, *, config: AlipayConfig) -> Payment:
    """The Payment of an `alipay.trade.query` answer. Raises ValueError for what cannot be read.

    Such an answer names neither seller nor app: it is about this app's own trade, signed for it.
    """
    at = _text(trade, "send_pay_date") if trade.get("send_pay_date") else None
    state = _state(_text(trade, "trade_status"), paid_at=at, refunded=False)
    return _payment(trade, state=state, paid_at=at, merchant=config.seller_id, app=config.app_id)


def open_notice(
    *, wire: AlipayWire, body: bytes, received_at: datetime, sign_type: str = "RSA2"
) -> Payment | RefundNotice:
    """Verify and read a notice from its raw form body. No network. Raises NoticeRejected.

    A refund is told by the same kind of notice, with TRADE_SUCCESS and a `refund_fee`: never a payment
    here, so that it credits nothing (channels.md section 3.2).
    """
    if len(body) > BODY_LIMIT:
        raise NoticeRejected("the notice is too long")
    try:
        params = _form(body)
        signature = params.pop("sign", "")
        if params.pop("sign_type", "") != sign_type or not signature:
            raise NoticeRejected("another signature type")
        if not wire.verifies(params, signature):
            raise NoticeRejected("the notice is not signed by Alipay")
        age = utc(received_at) - _instant(_text(params, "notify_time"))
        if not -AHEAD <= age <= FRESH:
            raise NoticeRejected("the notice was sent too long ago")
        return _told(params)
    except ValueError as error:
        raise NoticeRejected(f"the notice cannot be read: {error}") from None


def fen_of(yuan: str, /) -> int:
    """Whole fen of a decimal text of yuan, exactly. Raises ValueError, also for a negative amount."""
    amount = Money.parse(yuan)
    if amount < ZERO:
        raise ValueError("a negative amount")
    return amount.fen


def _told(params: Mapping[str, str]) -> Payment | RefundNotice:
    """What a verified notice says. Raises ValueError."""
    if params.get("notify_type", "trade_status_sync") != "trade_status_sync":
        raise ValueError("not a notice of a trade")
    at = params.get("gmt_payment") or None
    refunded = bool(fen_of(params.get("refund_fee") or "0"))
    state = _state(_text(params, "trade_status"), paid_at=at, refunded=refunded)
    merchant, app = _text(params, "seller_id"), _text(params, "app_id")
    if refunded and params.get("out_biz_no"):
        return RefundNotice(params["out_biz_no"], merchant)
    return _payment(params, state=state, paid_at=at, merchant=merchant, app=app)


def _state(trade_status: str, *, paid_at: str | None, refunded: bool) -> PaymentState:
    """TRADE_CLOSED is an unpaid trade that was closed, or a paid one that was given back whole."""
    if trade_status in _PAID:
        return PaymentState.REFUNDED if refunded else PaymentState.PAID
    if trade_status == "TRADE_CLOSED":
        return PaymentState.REFUNDED if paid_at else PaymentState.CLOSED
    if trade_status == "WAIT_BUYER_PAY":
        return PaymentState.UNPAID
    raise ValueError("an unknown trade status")


def _payment(
    trade: Mapping[str, Any], *, state: PaymentState, paid_at: str | None, merchant: str, app: str
) -> Payment:
    paid = state in (PaymentState.PAID, PaymentState.REFUNDED)
    payer = trade.get("buyer_open_id") or trade.get("buyer_user_id") or trade.get("buyer_id")
    return Payment(
        order_no=_text(trade, "out_trade_no"),
        state=state,
        merchant_id=merchant,
        app_id=app,
        amount_fen=fen_of(_text(trade, "total_amount")),
        # Said for foreign money only.
        currency=str(trade.get("trans_currency") or "CNY"),
        transaction_id=_text(trade, "trade_no") if paid else None,
        paid_at=_instant(paid_at or "") if paid else None,
        payer_id=str(payer) if payer else None,
    )


def _form(body: bytes) -> dict[str, str]:
    """The fields of a form in the character set that it names. Raises ValueError, also for a field that
    comes twice: which one was signed would be a guess."""
    raw = body.decode("ascii")
    charset = dict(parse_qsl(raw, max_num_fields=_MOST_FIELDS)).get("charset", "utf-8").lower()
    if charset not in _CHARSETS:
        raise ValueError("an unknown character set")
    pairs = parse_qsl(
        raw,
        keep_blank_values=True,
        strict_parsing=True,
        encoding=charset,
        errors="strict",
        max_num_fields=_MOST_FIELDS,
    )
    if len(pairs) != len(dict(pairs)):
        raise ValueError("a field comes twice")
    return dict(pairs)


def _instant(china: str) -> datetime:
    """An instant of Alipay's text, which is in China's time. Raises ValueError."""
    at = datetime.strptime(china[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA)
    return at.astimezone(UTC)


def _text(mapping: Mapping[str, Any], name: str) -> str:
    """The non-empty text under `name`. Raises ValueError."""
    value = mapping.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value
