"""Payment notices of the stand-in: signed, sealed, sent to notify_url, with the faults asked for."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx

from backend.kernel.clock import CHINA, Clock
from backend.sandbox.answers import caller
from backend.sandbox.faults import Faults
from backend.sandbox.pay_book import Order, PayBook
from backend.sandbox.pay_keys import Platform, seal

# The real platform tries 15 times over a day; a demo wants the first four of them.
RETRIES_S = (15.0, 15.0, 30.0, 180.0)
_ANSWER_S = 5.0
NOTICE_FAULTS = (
    "lost_notice",
    "duplicate_notice",
    "delay_notice",
    "wrong_amount_notice",
    "bad_signature_notice",
    "stale_notice",
    "wrong_merchant_notice",
)


def order_json(order: Order, /) -> dict[str, Any]:
    """A transaction object as query and notice show it."""
    shown: dict[str, Any] = {
        "appid": order.appid,
        "mchid": order.mchid,
        "out_trade_no": order.out_trade_no,
        "trade_state": order.state,
        "trade_state_desc": {"SUCCESS": "支付成功", "REFUND": "转入退款"}.get(
            order.state, "未支付"
        ),
        "amount": {"total": order.total, "currency": "CNY"},
        "payer": {"openid": order.openid},
    }
    if order.paid_at:
        shown["transaction_id"] = order.transaction_id
        shown["trade_type"] = "MWEB" if order.kind == "H5" else order.kind
        shown["bank_type"] = "OTHERS"
        shown["success_time"] = order.paid_at
        shown["amount"] |= {"payer_total": order.total, "payer_currency": "CNY"}
    return shown


class Notices:
    """Sends notices; retries run in the background until `stop`."""

    def __init__(
        self,
        *,
        book: PayBook,
        platform: Platform,
        faults: Faults,
        clock: Clock,
        retries_s: Sequence[float] = RETRIES_S,
    ) -> None:
        self._book = book
        self._platform = platform
        self._faults = faults
        self._clock = clock
        self._retries_s = tuple(retries_s)
        self._running: set[asyncio.Task[None]] = set()

    async def tell(self, order: Order, /) -> list[int]:
        """Send the notice of a paid order; returns the HTTP status of each try made at once.

        0 stands for no answer. A lost or delayed notice gives an empty list.
        """
        if self._faults.take("lost_notice"):
            return []
        copies = 1 + self._faults.use_up("duplicate_notice")
        delay = self._faults.use_up("delay_notice")
        if delay:
            self._later(order, (float(delay),))
            return []
        headers, body = self.message(order)
        found = [await _post(order.notify_url, headers, body) for _ in range(copies)]
        if not any(200 <= status < 300 for status in found):
            self._later(order, self._retries_s)
        return found

    def message(self, order: Order, /) -> tuple[dict[str, str], bytes]:
        """Headers and body of a notice, with a fault when one is switched on."""
        merchant = self._book.merchant(order.mchid)
        assert merchant is not None  # an order is only taken from a registered merchant
        now = self._clock.now()
        told = order
        if self._faults.take("wrong_amount_notice"):
            told = replace(told, total=told.total + 1)
        if self._faults.take("wrong_merchant_notice"):
            told = replace(told, mchid="1999999999")
        notice = {
            "id": str(uuid.uuid4()),
            "create_time": now.astimezone(CHINA).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "resource": seal(
                resource=order_json(told), apiv3_key=merchant.apiv3_key, kind="transaction"
            ),
        }
        body = json.dumps(notice, ensure_ascii=False).encode()
        if self._faults.take("stale_notice"):
            now -= timedelta(hours=2)
        signed = body + b" " if self._faults.take("bad_signature_notice") else body
        headers = self._platform.headers(body=signed, at=now)
        return headers | {"Content-Type": "application/json"}, body

    async def stop(self) -> None:
        """Give up what is still to be sent."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _later(self, order: Order, delays: Sequence[float]) -> None:
        """Send again after each delay until it is taken."""
        task = asyncio.create_task(self._retry(order, delays))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _retry(self, order: Order, delays: Sequence[float]) -> None:
        for delay in delays:
            await asyncio.sleep(delay)
            headers, body = self.message(order)
            if 200 <= await _post(order.notify_url, headers, body) < 300:
                return


async def _post(url: str, headers: dict[str, str], body: bytes) -> int:
    """The status of one try, 0 when nobody answered in five seconds."""
    async with caller(timeout_s=_ANSWER_S) as client:
        try:
            return (await client.post(url, content=body, headers=headers)).status_code
        except httpx.HTTPError:
            return 0
