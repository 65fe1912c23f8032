"""A stand-in for Alipay: real signatures both ways, a cashier page, and faults on demand.

Loopback only: whoever reaches /control can mark any trade paid.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import datetime
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.kernel.clock import CHINA, Clock
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.money import Money
from backend.sandbox.alipay_api import API_FAULTS, Gateway
from backend.sandbox.alipay_book import AlipayBook, Trade, TradeRefund, told
from backend.sandbox.alipay_keys import Alipay, App, certificate_pem, serial_of
from backend.sandbox.alipay_life import LifeAccount
from backend.sandbox.alipay_notices import NOTICE_FAULTS, AlipayNotices
from backend.sandbox.answers import control, json_object, text_of
from backend.sandbox.cashier_page import Bill, Brand, cashier_page, refusal_page, safe_back
from backend.sandbox.faults import Faults
from backend.sandbox.sending import RETRIES_S

_BRAND = Brand("支付宝", "#0b5bc4")


def alipay_app(
    *,
    clock: Clock,
    store: str = ":memory:",
    public_url: str | None = None,
    retries_s: Sequence[float] = RETRIES_S,
) -> Starlette:
    """The stand-in as an ASGI application; its arguments are those of `wechat_pay_app`."""
    book = AlipayBook(store)
    platform = Alipay(book.platform_pem(), at=clock.now())
    faults = Faults(*NOTICE_FAULTS, *API_FAULTS)
    notices = AlipayNotices(platform=platform, faults=faults, clock=clock, retries_s=retries_s)
    life = LifeAccount()
    gateway = Gateway(
        life=life,
        book=book,
        platform=platform,
        faults=faults,
        notices=notices,
        clock=clock,
        public_url=public_url,
    )
    cashier = _Cashier(book=book, notices=notices, clock=clock)
    controls = _Controls(book=book, platform=platform, faults=faults, notices=notices, clock=clock)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await notices.stop()

    return Starlette(
        routes=[*gateway.routes(), *cashier.routes(), *controls.routes(), *life.routes()],
        lifespan=lifespan,
    )


class _Cashier:
    """GET shows the trade, POST pays it, tells the merchant and sends the payer back."""

    def __init__(self, *, book: AlipayBook, notices: AlipayNotices, clock: Clock) -> None:
        self._book = book
        self._notices = notices
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("/cashier/{trade_no}", self._show),
            Route("/cashier/{trade_no}/pay", self._pay, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        trade = self._book.find(request.path_params["trade_no"])
        return refusal_page(_BRAND, "订单不存在") if trade is None else self._page(trade)

    async def _pay(self, request: Request) -> Response:
        trade = self._book.find(request.path_params["trade_no"])
        if trade is None:
            return refusal_page(_BRAND, "订单不存在")
        if trade.state == "WAIT_BUYER_PAY" and not trade.expired(self._now()):
            trade = self._book.pay(trade, at=self._now())
            await self._notices.tell(trade)
        back = _back(trade)
        return RedirectResponse(back, 303) if back and trade.paid_at else self._page(trade)

    def _now(self) -> datetime:
        return self._clock.now().astimezone(CHINA)

    def _page(self, trade: Trade) -> Response:
        stopped = ""
        if trade.state == "TRADE_CLOSED":
            stopped = "交易已关闭"
        elif trade.expired(self._now()):
            stopped = "交易已超时"
        bill = Bill(
            subject=trade.subject,
            fen=trade.total,
            particulars={"收款方": trade.seller_id, "订单号": trade.out_trade_no},
            action=f"{trade.trade_no}/pay",
            back=_back(trade),
            paid=bool(trade.paid_at),
            stopped=stopped,
        )
        return cashier_page(_BRAND, bill)


def _back(trade: Trade) -> str:
    """The merchant's page, with what Alipay adds to its address; nobody may believe that."""
    back = safe_back(trade.return_url)
    if not back:
        return ""
    added = {
        "out_trade_no": trade.out_trade_no,
        "trade_no": trade.trade_no,
        "total_amount": str(Money.of_fen(trade.total)),
    }
    return f"{back}{'&' if '?' in back else '?'}{urlencode(added)}"


class _Controls:
    """What a test, the demo or a developer turns: apps, payments, notices, faults."""

    def __init__(
        self,
        *,
        book: AlipayBook,
        platform: Alipay,
        faults: Faults,
        notices: AlipayNotices,
        clock: Clock,
    ) -> None:
        self._book = book
        self._platform = platform
        self._faults = faults
        self._notices = notices
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("/control/merchants", control(self._merchants), methods=["POST"]),
            Route("/control/pay", control(self._pay), methods=["POST"]),
            Route("/control/notify", control(self._notify), methods=["POST"]),
            Route("/control/notice", control(self._notice), methods=["POST"]),
            Route("/control/refunds", control(self._refunds), methods=["POST"]),
            Route("/control/orders", control(self._orders)),
            Route("/control/faults", control(self._set_faults), methods=["POST"]),
        ]

    async def _merchants(self, request: Request) -> Response:
        """Register an app; `certificates` true gives its certificate, Alipay's and the roots."""
        body = await json_object(request)
        app_id, seller, pem = (text_of(body, n) for n in ("app_id", "seller_id", "app_public_key"))
        try:
            good = isinstance(load_pem_public_key(pem.encode()), RSAPublicKey)
        except ValueError:
            good = False
        if not good:
            raise InvalidInput("an RSA public key is needed")
        app = App(app_id, seller, pem, auth_token=str(body.get("app_auth_token") or ""))
        told_back = {"alipay_public_key": self._platform.public_pem}
        if body.get("certificates"):
            issued = self._platform.issue(pem)
            app = replace(app, app_sn=serial_of(issued), root_sn=serial_of(self._platform.root))
            told_back |= {
                "app_cert": certificate_pem(issued),
                "alipay_cert": certificate_pem(self._platform.certificate),
                "root_cert": certificate_pem(self._platform.root),
            }
        self._book.put_app(app)
        return JSONResponse(told_back)

    async def _trade(self, request: Request) -> tuple[Trade, dict[str, object]]:
        """The trade a control request names by out_trade_no. Raises NotFound."""
        body = await json_object(request)
        trade = self._book.find(text_of(body, "out_trade_no"))
        if trade is None:
            raise NotFound("no such trade: its page was not opened")
        return trade, body

    async def _pay(self, request: Request) -> Response:
        """Pay; `force` also pays a closed or expired trade (the payment that won the race)."""
        trade, body = await self._trade(request)
        at = self._clock.now().astimezone(CHINA)
        if trade.paid_at:
            raise Conflict("the trade is paid already")
        if (trade.state == "TRADE_CLOSED" or trade.expired(at)) and not body.get("force"):
            raise Conflict("the trade is closed or too old")
        paid = self._book.pay(trade, at=at)
        return JSONResponse({"order": asdict(paid), "notices": await self._notices.tell(paid)})

    async def _notify(self, request: Request) -> Response:
        """Send the notice of a paid trade again (late, duplicate, out of order)."""
        trade, _ = await self._trade(request)
        if not trade.paid_at:
            raise Conflict("the trade is not paid")
        return JSONResponse({"notices": await self._notices.tell(trade)})

    async def _notice(self, request: Request) -> Response:
        """Headers and body of a notice, paid or not, without sending it; `refund_fen`: of a refund."""
        trade, body = await self._trade(request)
        at = told(self._clock.now().astimezone(CHINA))
        if not trade.paid_at:
            trade = replace(trade, state="TRADE_SUCCESS", paid_at=at, buyer_id="2088000000000001")
        refund = None
        if isinstance(fen := body.get("refund_fen"), int):
            number = secrets.token_hex(8)
            refund = TradeRefund(trade.app_id, number, trade.out_trade_no, fen, True, at)
        headers, form = self._notices.message(trade, refund)
        return JSONResponse({"headers": headers, "body": form.decode()})

    async def _refunds(self, request: Request) -> Response:
        """Let the money of refunds that were taken move now."""
        trade, _ = await self._trade(request)
        found = self._book.refunds(app_id=trade.app_id, out_trade_no=trade.out_trade_no)
        for refund in found:
            self._book.put_refund(replace(refund, done=True))
        return JSONResponse({"refunds": len(found)})

    async def _orders(self, request: Request) -> Response:
        return JSONResponse({"orders": [asdict(trade) for trade in self._book.trades()]})

    async def _set_faults(self, request: Request) -> Response:
        return JSONResponse(self._faults.set(await json_object(request)))
