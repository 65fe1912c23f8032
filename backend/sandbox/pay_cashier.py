"""The cashier page of the WeChat Pay stand-in: what a payer sees on the phone instead of WeChat."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from backend.kernel.clock import CHINA, Clock
from backend.sandbox.cashier_page import Bill, Brand, cashier_page, refusal_page, safe_back
from backend.sandbox.pay_book import Order, PayBook
from backend.sandbox.pay_notices import Notices

VISITOR = "o-sandbox-visitor"
_BRAND = Brand("微信支付", "#067a3b")


class Cashier:
    """GET shows the order, POST pays it, tells the merchant and sends the payer back."""

    def __init__(self, *, book: PayBook, notices: Notices, clock: Clock) -> None:
        self._book = book
        self._notices = notices
        self._clock = clock

    def routes(self) -> list[Route]:
        """Routes under the root of the stand-in."""
        return [
            Route("/cashier/{reference}", self._show),
            Route("/cashier/{reference}/pay", self._pay, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        order = self._book.find(request.path_params["reference"])
        if order is None:
            return refusal_page(_BRAND, "订单不存在")
        return self._page(order, safe_back(request.query_params.get("redirect_url", "")))

    async def _pay(self, request: Request) -> Response:
        order = self._book.find(request.path_params["reference"])
        if order is None:
            return refusal_page(_BRAND, "订单不存在")
        back = safe_back(request.query_params.get("redirect_url", ""))
        if order.state == "NOTPAY" and not order.expired(self._clock.now()):
            at = self._clock.now().astimezone(CHINA)
            order = self._book.pay(order, openid=VISITOR, at=at)
            await self._notices.tell(order)
        if back and order.paid_at:
            return RedirectResponse(back, 303)
        return self._page(order, back)

    def _page(self, order: Order, back: str) -> Response:
        stopped = ""
        if order.state == "CLOSED":
            stopped = "订单已关闭"
        elif order.expired(self._clock.now()):
            stopped = "订单已过期"
        query = f"?redirect_url={quote(back, safe='')}" if back else ""
        bill = Bill(
            subject=order.description,
            fen=order.total,
            particulars={"商户号": order.mchid, "订单号": order.out_trade_no},
            action=f"{order.prepay_id}/pay{query}",
            back=back,
            paid=bool(order.paid_at),
            stopped=stopped,
        )
        return cashier_page(_BRAND, bill)
