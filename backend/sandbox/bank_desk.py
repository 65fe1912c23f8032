"""What the UnionPay and ChinaPay stand-ins share: a cashier page a person can click, and their controls.

Loopback only: whoever reaches /control can mark any order paid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.clock import Clock
from backend.kernel.errors import Conflict, NotFound
from backend.sandbox.answers import control, json_object, text_of
from backend.sandbox.bank_book import DONE, PAY, BankBook, Trade
from backend.sandbox.cashier_page import Bill, Brand, cashier_page, refusal_page, safe_back
from backend.sandbox.faults import Faults
from backend.sandbox.sending import Sender

# The fields of a trade's notice, signed, with the faults that are switched on.
MakeNotice = Callable[[Trade], dict[str, str]]


class BankDesk:
    """The cashier and the controls of one stand-in, over its book."""

    def __init__(
        self,
        *,
        brand: Brand,
        book: BankBook,
        sender: Sender,
        faults: Faults,
        clock: Clock,
        notice: MakeNotice,
    ) -> None:
        self._brand = brand
        self._book = book
        self._sender = sender
        self._faults = faults
        self._clock = clock
        self._notice = notice

    def routes(self) -> list[Route]:
        """Routes under the root of the stand-in."""
        return [
            Route("/cashier/{number}", self._cashier, methods=["GET", "POST"]),
            Route("/control/pay", control(self._pay), methods=["POST"]),
            Route("/control/notify", control(self._notify), methods=["POST"]),
            Route("/control/notice", control(self._show_notice), methods=["POST"]),
            Route("/control/orders", control(self._orders)),
            Route("/control/faults", control(self._set_faults), methods=["POST"]),
        ]

    def page(self, trade: Trade, /, *, action: str) -> Response:
        """The cashier page of an order; its button posts to `action`."""
        paid = trade.state == DONE
        too_late = trade.too_late(self._clock.now())
        bill = Bill(
            subject="商户订单",
            fen=trade.fen,
            particulars={"商户号": trade.mer_id, "订单号": trade.number},
            action=action,
            back=safe_back(trade.front_url),
            paid=paid,
            stopped="订单已过期" if too_late and not paid else "",
            # The real gateways send the payer back by a form POST.
            back_form=self._notice(trade) if paid else {},
        )
        return cashier_page(self._brand, bill)

    async def tell(self, trade: Trade, /) -> list[int]:
        """Send a notice; what each try made at once was answered."""
        return await self._sender.tell(trade.notify_url, lambda: self._message(trade))

    def _message(self, trade: Trade) -> tuple[dict[str, str], bytes]:
        body = urlencode(self._notice(trade)).encode()
        return {"Content-Type": "application/x-www-form-urlencoded"}, body

    async def _cashier(self, request: Request) -> Response:
        trade = self._book.find(request.path_params["number"])
        if trade is None or trade.kind != PAY:
            return refusal_page(self._brand, "订单不存在")
        now = self._clock.now()
        if request.method == "POST" and trade.state != DONE and not trade.too_late(now):
            trade = self._book.done(trade, at=now)
            await self.tell(trade)
        return self.page(trade, action=trade.number)

    async def _trade(self, request: Request) -> tuple[Trade, dict[str, object]]:
        """The trade a control request names by `order_no`. Raises NotFound."""
        body = await json_object(request)
        trade = self._book.find(text_of(body, "order_no"))
        if trade is None:
            raise NotFound("no such order")
        return trade, body

    async def _pay(self, request: Request) -> Response:
        """Pay; `force` also pays an order past its time (the payment that won the race)."""
        trade, body = await self._trade(request)
        if trade.state == DONE:
            raise Conflict("the order is paid already")
        if trade.too_late(self._clock.now()) and not body.get("force"):
            raise Conflict("the order is too old")
        paid = self._book.done(trade, at=self._clock.now())
        return JSONResponse({"order": asdict(paid), "notices": await self.tell(paid)})

    async def _notify(self, request: Request) -> Response:
        """Send the notice of a paid order again (late, duplicate)."""
        trade, _ = await self._trade(request)
        if trade.state != DONE:
            raise Conflict("the order is not paid")
        return JSONResponse({"notices": await self.tell(trade)})

    async def _show_notice(self, request: Request) -> Response:
        """The body of the notice of an order, paid or not, without sending it."""
        trade, _ = await self._trade(request)
        if trade.state != DONE:
            trade = _as_if_paid(trade)
        headers, body = self._message(trade)
        return JSONResponse({"headers": headers, "body": body.decode()})

    async def _orders(self, request: Request) -> Response:
        return JSONResponse({"orders": [asdict(trade) for trade in self._book.trades()]})

    async def _set_faults(self, request: Request) -> Response:
        return JSONResponse(self._faults.set(await json_object(request)))


def _as_if_paid(trade: Trade) -> Trade:
    """The trade as it would be paid, without writing it down."""
    return Trade(
        **asdict(trade) | {"state": DONE, "serial": trade.made + "0000001", "at": trade.made}
    )
