"""Notices of the Alipay stand-in: a signed form to notify_url, with the faults asked for."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from urllib.parse import urlencode

from backend.kernel.clock import CHINA, Clock
from backend.kernel.money import Money
from backend.sandbox.alipay_book import Trade, TradeRefund, told
from backend.sandbox.alipay_keys import Alipay
from backend.sandbox.faults import Faults
from backend.sandbox.sending import RETRIES_S, SENDING_FAULTS, Sender

NOTICE_FAULTS = (
    *SENDING_FAULTS,
    "wrong_amount_notice",
    "wrong_seller_notice",
    "wrong_app_notice",
    "bad_signature_notice",
    "stale_notice",
)
_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


class AlipayNotices:
    """Tells merchants of trades; only the word `success` ends the tries."""

    def __init__(
        self,
        *,
        platform: Alipay,
        faults: Faults,
        clock: Clock,
        retries_s: Sequence[float] = RETRIES_S,
    ) -> None:
        self._platform = platform
        self._faults = faults
        self._clock = clock
        self._sender = Sender(
            faults=faults, retries_s=retries_s, taken=lambda _, text: text == "success"
        )

    async def tell(self, trade: Trade, refund: TradeRefund | None = None, /) -> list[int]:
        """Tell of a payment or a refund (see Sender.tell); nothing where nobody wants to hear."""
        if not trade.notify_url:
            return []
        return await self._sender.tell(trade.notify_url, partial(self.message, trade, refund))

    def message(
        self, trade: Trade, refund: TradeRefund | None = None, /
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a notice, with a fault when one is switched on."""
        now = self._clock.now()
        if self._faults.take("stale_notice"):
            now -= timedelta(days=3)
        total = trade.total + int(self._faults.take("wrong_amount_notice"))
        amount = str(Money.of_fen(total))
        wrong_seller = self._faults.take("wrong_seller_notice")
        wrong_app = self._faults.take("wrong_app_notice")
        app_id = "2021999999999999" if wrong_app else trade.app_id
        fields = {
            "notify_time": told(now.astimezone(CHINA)),
            "notify_type": "trade_status_sync",
            "notify_id": secrets.token_hex(16),
            "charset": "utf-8",
            "version": "1.0",
            "app_id": app_id,
            "auth_app_id": app_id,
            "trade_no": trade.trade_no,
            "out_trade_no": trade.out_trade_no,
            "seller_id": "2088999999999999" if wrong_seller else trade.seller_id,
            "buyer_id": trade.buyer_id,
            "trade_status": trade.state,
            "total_amount": amount,
            "receipt_amount": amount,
            "subject": trade.subject,
            "gmt_create": trade.created_at,
            "gmt_payment": trade.paid_at,
        }
        if refund is not None:
            fields["gmt_refund"] = refund.at
            fields["refund_fee"] = str(Money.of_fen(refund.amount))
            fields["out_biz_no"] = refund.out_request_no
        text = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
        signed = text + " " if self._faults.take("bad_signature_notice") else text
        form = fields | {"sign": self._platform.sign(signed), "sign_type": "RSA2"}
        return dict(_FORM), urlencode(form).encode()

    async def stop(self) -> None:
        """Give up what is still to be sent."""
        await self._sender.stop()
