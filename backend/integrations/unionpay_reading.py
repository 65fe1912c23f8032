"""Reads what UnionPay says of a transaction: the same fields in a query answer and in a notice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from backend.integrations.bank_form import NOTICE_LIMIT, china_time, fen_in, form_of, text_in
from backend.integrations.unionpay_wire import Trust, Unverified
from backend.kernel.clock import CHINA, utc
from backend.topups.ports import NoticeRejected, Payment, PaymentState, RefundNotice

# A notice is sent at most five times within minutes of the payment (pauses 0, 1, 2, 4 minutes; comment
# in public copies of UnionPay's demo, grade: mirror), and an order lives minutes. It carries no time of
# signing, so the order's own time is what a replay is known by.
FRESH = timedelta(days=1)
_SKEW = timedelta(minutes=5)
_CURRENCIES = {"156": "CNY"}
PAY = "01"
REFUND = "04"


class Word(StrEnum):
    """What a response code means (channels.md 4.1). ASK: nobody knows yet, query later."""

    OK = "OK"
    ASK = "ASK"
    FAILED = "FAILED"


# A6: done, with a defect that is UnionPay's own. 34: no such transaction, which may also be one that
# has not been written yet; the caller who queries knows more.
_WORDS = dict.fromkeys(("00", "A6"), Word.OK) | dict.fromkeys(
    ("01", "03", "04", "05", "12", "34", "60"), Word.ASK
)
UNKNOWN_ORDER = "34"
NO_FILE = "98"


def word_of(code: str, /) -> Word:
    """The class of a response code; one we do not know has failed."""
    return _WORDS.get(code, Word.FAILED)


def near(month_to_second: str, /, *, order: datetime) -> datetime:
    """MMddHHmmss of China as the instant that is not long before `order`. Raises ValueError.

    UnionPay leaves out the year, so what was ordered on 31 December is paid in the next one.
    """
    year = order.astimezone(CHINA).year
    found = china_time(f"{year}{month_to_second}")
    return (
        found if found >= order - timedelta(days=1) else china_time(f"{year + 1}{month_to_second}")
    )


def payment_of(fields: Mapping[str, str], state: PaymentState, /) -> Payment:
    """The Payment of a transaction that is paid. Raises ValueError for a shape we do not know."""
    order = china_time(text_in(fields, "txnTime"))
    currency = text_in(fields, "currencyCode")
    return Payment(
        order_no=text_in(fields, "orderId"),
        state=state,
        merchant_id=text_in(fields, "merId"),
        app_id="",
        amount_fen=fen_in(fields, "txnAmt"),
        currency=_CURRENCIES.get(currency, currency),
        transaction_id=text_in(fields, "queryId"),
        paid_at=near(text_in(fields, "traceTime"), order=order),
    )


def open_notice(*, trust: Trust, body: bytes, received_at: datetime) -> Payment | RefundNotice:
    """Verify and read a notice (a true form POST). No network. Raises NoticeRejected.

    Merchant, order, amount and currency are returned for the caller to compare (C5).
    """
    if len(body) > NOTICE_LIMIT:
        raise NoticeRejected("the notice is too long")
    at = utc(received_at)
    try:
        fields = form_of(body)
        trust.require(fields, at=at)
        told = _told_in(fields)
        age = at - china_time(fields["txnTime"])
    except Unverified as error:
        raise NoticeRejected(f"the notice is not signed by UnionPay: {error}") from None
    except ValueError as error:
        raise NoticeRejected(f"the notice cannot be read: {error}") from None
    if not -_SKEW <= age <= FRESH:
        raise NoticeRejected("the notice is about an order of another day")
    return told


def _told_in(fields: Mapping[str, str]) -> Payment | RefundNotice:
    if word_of(text_in(fields, "respCode")) is not Word.OK:
        raise ValueError("the transaction did not succeed")
    if fields.get("txnType") == REFUND:
        return RefundNotice(text_in(fields, "orderId"), text_in(fields, "merId"))
    if fields.get("txnType") != PAY:
        raise ValueError("not a notice of a payment or a refund")
    return payment_of(fields, PaymentState.PAID)
