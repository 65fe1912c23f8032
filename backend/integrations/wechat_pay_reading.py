"""Reads what WeChat Pay says about an order: the same JSON in a query answer and in a notice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from wechatpayv3.utils import aes_decrypt

from backend.integrations.wechat_pay_wire import Probe, SignedWire, Unverified
from backend.kernel.clock import utc
from backend.topups.ports import (
    ChannelUnavailable,
    NoticeProbe,
    NoticeRejected,
    Payment,
    PaymentState,
    RefundNotice,
)

FRESH = timedelta(seconds=300)
BODY_LIMIT = 64 * 1024
PAID_EVENT = "TRANSACTION.SUCCESS"
# The refund has ended, one way or another; general knowledge of the APIv3 documents, not re-checked.
REFUND_EVENTS = frozenset({"REFUND.SUCCESS", "REFUND.ABNORMAL", "REFUND.CLOSED"})

# REVOKED, USERPAYING and PAYERROR belong to payment codes shown to a cashier, which we do not use.
_STATES = {
    "SUCCESS": PaymentState.PAID,
    "REFUND": PaymentState.REFUNDED,
    "NOTPAY": PaymentState.UNPAID,
    "CLOSED": PaymentState.CLOSED,
}


def payment_of(order: Mapping[str, Any], /) -> Payment:
    """The Payment of a transaction object. Raises ValueError for a shape or state we do not know."""
    state = _STATES.get(_text(order, "trade_state"))
    if state is None:
        raise ValueError("an unknown trade state")
    paid = state in (PaymentState.PAID, PaymentState.REFUNDED)
    amount = order.get("amount")
    if not isinstance(amount, dict):
        if paid:
            raise ValueError("a paid order without an amount")
        amount = {"total": 0, "currency": "CNY"}
    total = amount.get("total", None if paid else 0)
    if type(total) is not int or total < 0:
        raise ValueError("the amount is no whole number of fen")
    return Payment(
        order_no=_text(order, "out_trade_no"),
        state=state,
        amount_fen=total,
        currency=_text(amount, "currency") if paid else str(amount.get("currency", "CNY")),
        transaction_id=_text(order, "transaction_id") if paid else None,
        paid_at=utc(datetime.fromisoformat(_text(order, "success_time"))) if paid else None,
        **_parties(order),
    )


def _parties(order: Mapping[str, Any]) -> dict[str, Any]:
    """Whose money it is, who collected it for them, and who paid. Raises ValueError.

    A service provider's order (`sp_`, `sub_`) names both merchants and both apps; its payer is known
    to the sub-merchant's app, when the order has one, and otherwise to the provider's.
    """
    if "sp_mchid" not in order:
        merchant, app = _text(order, "mchid"), _text(order, "appid")
        return {"merchant_id": merchant, "app_id": app, "payer_id": _payer(order, "openid")}
    app = str(order.get("sub_appid") or "")
    return {
        "merchant_id": _text(order, "sub_mchid"),
        "app_id": app,
        "payer_id": _payer(order, "sub_openid" if app else "sp_openid"),
        "provider_id": _text(order, "sp_mchid"),
        "provider_app_id": _text(order, "sp_appid"),
    }


def _payer(order: Mapping[str, Any], name: str) -> str | None:
    payer = order.get("payer")
    openid = payer.get(name) if isinstance(payer, dict) else None
    return openid if isinstance(openid, str) and openid else None


def open_notice(
    *,
    wire: SignedWire,
    apiv3_key: str,
    headers: Mapping[str, str],
    body: bytes,
    received_at: datetime,
) -> Payment | RefundNotice:
    """Verify, decrypt and read a notice (blocking: its certificate may have to be fetched).

    Raises NoticeRejected, NoticeProbe.

    A correctly signed notice of long ago is a replay: its time must be within 300 s (FRESH).
    """
    if len(body) > BODY_LIMIT:
        raise NoticeRejected("the notice is too long")
    try:
        signed_at = wire.verify(headers=headers, body=body)
    except Probe:
        raise NoticeProbe("a signature probe") from None
    except Unverified as error:
        raise NoticeRejected(f"the notice is not signed by WeChat Pay: {error}") from None
    except ChannelUnavailable as error:
        raise NoticeRejected(f"the notice cannot be verified now: {error.message}") from None
    if abs(utc(received_at).timestamp() - signed_at) > FRESH.total_seconds():
        raise NoticeRejected("the notice was signed more than five minutes from now")
    try:
        return _told_in(json.loads(body), apiv3_key)
    except (ValueError, TypeError) as error:
        raise NoticeRejected(f"the notice cannot be read: {error}") from None


def _told_in(notice: object, apiv3_key: str) -> Payment | RefundNotice:
    """What is inside a verified notice. Raises ValueError."""
    event = notice.get("event_type") if isinstance(notice, dict) else None
    if not isinstance(notice, dict) or event not in {PAID_EVENT, *REFUND_EVENTS}:
        raise ValueError("not a notice of a payment or a refund")
    told = _opened(notice, apiv3_key)
    if event != PAID_EVENT:
        if "sp_mchid" in told:
            return RefundNotice(
                _text(told, "out_refund_no"), _text(told, "sub_mchid"), _text(told, "sp_mchid")
            )
        return RefundNotice(_text(told, "out_refund_no"), _text(told, "mchid"))
    payment = payment_of(told)
    if payment.state is not PaymentState.PAID:
        raise ValueError("the order in it is not paid")
    return payment


def _opened(notice: Mapping[str, Any], apiv3_key: str) -> dict[str, Any]:
    """The sealed resource of a notice. Raises ValueError."""
    resource = notice.get("resource")
    if notice.get("resource_type") != "encrypt-resource" or not isinstance(resource, dict):
        raise ValueError("no encrypted resource")
    if resource.get("algorithm") != "AEAD_AES_256_GCM":
        raise ValueError("another algorithm")
    plain = aes_decrypt(
        nonce=_text(resource, "nonce"),
        ciphertext=_text(resource, "ciphertext"),
        associated_data=str(resource.get("associated_data") or ""),
        apiv3_key=apiv3_key,
    )
    if plain is None:
        raise ValueError("the resource does not decrypt")
    told = json.loads(plain)
    if not isinstance(told, dict):
        raise ValueError("the resource is no object")
    return told


def _text(mapping: Mapping[str, Any], name: str) -> str:
    """The non-empty text under `name`. Raises ValueError."""
    value = mapping.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value
