"""Payment notices of the stand-in: signed, sealed, sent to notify_url, with the faults asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from backend.kernel.clock import CHINA, Clock
from backend.sandbox.faults import Faults
from backend.sandbox.pay_book import Order, PayBook, Refund
from backend.sandbox.pay_certificates import Signing
from backend.sandbox.pay_keys import Merchant, seal
from backend.sandbox.sending import RETRIES_S as RETRIES_S
from backend.sandbox.sending import SENDING_FAULTS, Sender

NOTICE_FAULTS = (
    *SENDING_FAULTS,
    "wrong_amount_notice",
    "bad_signature_notice",
    "stale_notice",
    "wrong_merchant_notice",
    "wrong_provider_notice",
)


def order_json(order: Order, /) -> dict[str, Any]:
    """A transaction object as query and notice show it."""
    shown: dict[str, Any] = {
        **_parties(order),
        "out_trade_no": order.out_trade_no,
        "trade_state": order.state,
        "trade_state_desc": {"SUCCESS": "支付成功", "REFUND": "转入退款"}.get(
            order.state, "未支付"
        ),
        "amount": {"total": order.total, "currency": "CNY"},
    }
    if order.paid_at:
        shown["transaction_id"] = order.transaction_id
        shown["trade_type"] = "MWEB" if order.kind == "H5" else order.kind
        shown["bank_type"] = "OTHERS"
        shown["success_time"] = order.paid_at
        shown["amount"] |= {"payer_total": order.total, "payer_currency": "CNY"}
    return shown


def _parties(order: Order) -> dict[str, Any]:
    """Merchants, apps and payer of an order; of a provider's both sides, as its documents show them."""
    if not order.sp_mchid:
        return {"appid": order.appid, "mchid": order.mchid, "payer": {"openid": order.openid}}
    shown: dict[str, Any] = {
        "sp_appid": order.sp_appid,
        "sp_mchid": order.sp_mchid,
        "sub_mchid": order.mchid,
        "payer": {"sp_openid": order.openid},
    }
    if order.appid:
        payer = {"sp_openid": f"sp-{order.openid}", "sub_openid": order.openid}
        shown |= {"sub_appid": order.appid, "payer": payer}
    return shown


def refund_json(refund: Refund, /) -> dict[str, Any]:
    """A refund as the API shows it."""
    shown: dict[str, Any] = {
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
        "out_trade_no": refund.out_trade_no,
        "status": refund.status,
        "create_time": refund.at,
        "amount": {"refund": refund.refund, "total": refund.total, "currency": "CNY"},
    }
    return shown | ({"success_time": refund.at} if refund.status == "SUCCESS" else {})


class Notices:
    """Payment notices of APIv3; retries run in the background until `stop`."""

    def __init__(
        self,
        *,
        book: PayBook,
        signing: Signing,
        faults: Faults,
        clock: Clock,
        retries_s: Sequence[float] = RETRIES_S,
    ) -> None:
        self._book = book
        self._signing = signing
        self._faults = faults
        self._clock = clock
        self._sender = Sender(faults=faults, retries_s=retries_s)

    async def tell(self, order: Order, /) -> list[int]:
        """Send the notice of a paid order (see Sender.tell)."""
        return await self._sender.tell(order.notify_url, partial(self.message, order))

    async def stop(self) -> None:
        """Give up what is still to be sent."""
        await self._sender.stop()

    def message(self, order: Order, /) -> tuple[dict[str, str], bytes]:
        """Headers and body of a notice, with a fault when one is switched on."""
        merchant = self._book.merchant(order.sp_mchid or order.mchid)
        assert merchant is not None  # an order is only taken from a registered merchant
        now = self._clock.now()
        told = order
        if self._faults.take("wrong_amount_notice"):
            told = replace(told, total=told.total + 1)
        if self._faults.take("wrong_merchant_notice"):
            told = replace(told, mchid="1999999999")
        if self._faults.take("wrong_provider_notice"):
            told = replace(told, sp_mchid="1888888888")
        body = _notice(
            merchant,
            order_json(told),
            event="TRANSACTION.SUCCESS",
            kind="transaction",
            at=now,
        )
        if self._faults.take("stale_notice"):
            now -= timedelta(hours=2)
        signed = body + b" " if self._faults.take("bad_signature_notice") else body
        headers = self._signing.headers(merchant, body=signed, at=now)
        return headers | {"Content-Type": "application/json"}, body

    async def tell_refund(self, refund: Refund, /) -> list[int]:
        """Send the notice of a refund that ended, to where its order's notices go (see Sender.tell)."""
        order = self._book.order(mchid=refund.mchid, out_trade_no=refund.out_trade_no)
        assert order is not None  # a refund is only taken for an order
        return await self._sender.tell(order.notify_url, partial(self.refund_message, refund))

    def refund_message(self, refund: Refund, /) -> tuple[dict[str, str], bytes]:
        """Headers and body of the notice of a refund."""
        order = self._book.order(mchid=refund.mchid, out_trade_no=refund.out_trade_no)
        assert order is not None  # see tell_refund
        merchant = self._book.merchant(order.sp_mchid or order.mchid)
        assert merchant is not None  # see message
        now = self._clock.now()
        shown = refund_json(refund)
        owner = {"mchid": refund.mchid}
        if order.sp_mchid:
            owner = {"sp_mchid": order.sp_mchid, "sub_mchid": refund.mchid}
        told = shown | owner | {"refund_status": shown.pop("status")}
        event = f"REFUND.{refund.status}"
        body = _notice(merchant, told, event=event, kind="refund", at=now)
        headers = self._signing.headers(merchant, body=body, at=now)
        return headers | {"Content-Type": "application/json"}, body


def _notice(
    merchant: Merchant, resource: dict[str, Any], *, event: str, kind: str, at: datetime
) -> bytes:
    notice = {
        "id": str(uuid.uuid4()),
        "create_time": at.astimezone(CHINA).isoformat(timespec="seconds"),
        "resource_type": "encrypt-resource",
        "event_type": event,
        "summary": "支付成功" if kind == "transaction" else "退款结果",
        "resource": seal(resource=resource, apiv3_key=merchant.apiv3_key, kind=kind),
    }
    return json.dumps(notice, ensure_ascii=False).encode()
