"""A stand-in for WeChat Pay APIv3: real signatures both ways, a cashier page, and faults on demand.

Loopback only: whoever reaches /control can mark any order paid.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.kernel.clock import CHINA, Clock
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.sandbox.answers import control, json_object, text_of
from backend.sandbox.faults import Faults
from backend.sandbox.pay_api import API_FAULTS, PayApi
from backend.sandbox.pay_book import Order, PayBook
from backend.sandbox.pay_cashier import VISITOR, Cashier
from backend.sandbox.pay_certificates import SIGNING_FAULTS, Signing, serial_of
from backend.sandbox.pay_keys import Merchant, Platform
from backend.sandbox.pay_notices import NOTICE_FAULTS, Notices, order_json
from backend.sandbox.sending import RETRIES_S


def wechat_pay_app(
    *,
    clock: Clock,
    store: str = ":memory:",
    public_url: str | None = None,
    retries_s: Sequence[float] = RETRIES_S,
) -> Starlette:
    """The stand-in as an ASGI application.

    `store` is a SQLite file that keeps orders, merchants and the platform key over a restart;
    `public_url` is where browsers reach it (default: as the request came); `retries_s` are the
    pauses between tries of a notice that was not taken.
    """
    book = PayBook(store)
    platform = Platform(book.platform_pem())
    faults = Faults(*NOTICE_FAULTS, *API_FAULTS, *SIGNING_FAULTS)
    signing = Signing(book=book, platform=platform, faults=faults)
    notices = Notices(book=book, signing=signing, faults=faults, clock=clock, retries_s=retries_s)
    api = PayApi(book=book, signing=signing, faults=faults, clock=clock, public_url=public_url)
    cashier = Cashier(book=book, notices=notices, clock=clock)
    controls = _Controls(
        book=book,
        platform=platform,
        signing=signing,
        faults=faults,
        notices=notices,
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await notices.stop()

    return Starlette(
        routes=[*api.routes(), *cashier.routes(), *controls.routes()], lifespan=lifespan
    )


class _Controls:
    """What a test, the demo or a developer turns: merchants, payments, notices, faults."""

    def __init__(
        self,
        *,
        book: PayBook,
        platform: Platform,
        signing: Signing,
        faults: Faults,
        notices: Notices,
        clock: Clock,
    ) -> None:
        self._book = book
        self._platform = platform
        self._signing = signing
        self._faults = faults
        self._notices = notices
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("/control/merchants", control(self._merchants), methods=["POST"]),
            Route("/control/certificates", control(self._rotate), methods=["POST"]),
            Route("/control/pay", control(self._pay), methods=["POST"]),
            Route("/control/notify", control(self._notify), methods=["POST"]),
            Route("/control/notice", control(self._notice), methods=["POST"]),
            Route("/control/orders", control(self._orders)),
            Route("/control/refunds", control(self._refunds)),
            Route("/control/refund-notice", control(self._refund_notice), methods=["POST"]),
            Route("/control/faults", control(self._set_faults), methods=["POST"]),
        ]

    async def _merchants(self, request: Request) -> Response:
        """Register a merchant: with `certificates`, the platform signs for it by them; with `subs`
        ({sub_mchid: sub_appid or ""}), it is a service provider that collects for these."""
        body = await json_object(request)
        names = ("mchid", "appid", "cert_serial_no", "merchant_public_key", "apiv3_key")
        values = {name: text_of(body, name) for name in names}
        pem = values.pop("merchant_public_key")
        try:
            good = isinstance(load_pem_public_key(pem.encode()), RSAPublicKey)
        except ValueError:
            good = False
        if not good or len(values["apiv3_key"].encode()) != 32:
            raise InvalidInput("an RSA public key and a 32-byte APIv3 key are needed")
        certificates, subs = body.get("certificates", False), body.get("subs", {})
        if not isinstance(certificates, bool) or not isinstance(subs, dict):
            raise InvalidInput("certificates is true or false, subs an object")
        self._book.put_merchant(Merchant(public_key_pem=pem, certificates=certificates, **values))
        self._book.put_sub_merchants(
            values["mchid"], {str(sub): str(appid) for sub, appid in subs.items()}
        )
        return JSONResponse(
            {
                "public_key_id": self._platform.public_key_id,
                "public_key": self._platform.public_pem,
            }
        )

    async def _rotate(self, request: Request) -> Response:
        """A new platform certificate signs from now on; `drop_old` takes the others off the list."""
        body = await json_object(request)
        made = self._signing.rotate(at=self._clock.now(), drop_old=bool(body.get("drop_old")))
        return JSONResponse({"serial_no": serial_of(made)})

    async def _order(self, request: Request) -> tuple[Order, dict[str, object]]:
        """The order a control request names by out_trade_no (and mchid). Raises NotFound."""
        body = await json_object(request)
        number, mchid = text_of(body, "out_trade_no"), body.get("mchid")
        if isinstance(mchid, str):
            order = self._book.order(mchid=mchid, out_trade_no=number)
        else:
            order = self._book.find(number)
        if order is None:
            raise NotFound("no such order")
        return order, body

    async def _pay(self, request: Request) -> Response:
        """Pay; `force` also pays a closed or expired order (the payment that won the race)."""
        order, body = await self._order(request)
        if order.paid_at:
            raise Conflict("the order is paid already")
        late = order.state == "CLOSED" or order.expired(self._clock.now())
        if late and not body.get("force"):
            raise Conflict("the order is closed or too old")
        openid = body.get("openid")
        at = self._clock.now().astimezone(CHINA)
        paid = self._book.pay(
            order, openid=openid if isinstance(openid, str) and openid else VISITOR, at=at
        )
        return JSONResponse({"order": order_json(paid), "notices": await self._notices.tell(paid)})

    async def _notify(self, request: Request) -> Response:
        """Send the notice of a paid order again (late, duplicate)."""
        order, _ = await self._order(request)
        if not order.paid_at:
            raise Conflict("the order is not paid")
        return JSONResponse({"notices": await self._notices.tell(order)})

    async def _refunds(self, request: Request) -> Response:
        """The refunds of the merchant named by `mchid`, oldest first."""
        mchid = request.query_params.get("mchid", "")
        return JSONResponse({"refunds": [asdict(each) for each in self._book.refunds(mchid=mchid)]})

    async def _refund_notice(self, request: Request) -> Response:
        """Send the notice of a refund (again); one that is under way ends first."""
        body = await json_object(request)
        mchid, number = text_of(body, "mchid"), text_of(body, "out_refund_no")
        refund = self._book.refund(mchid=mchid, out_refund_no=number)
        if refund is None:
            raise NotFound("no such refund")
        if refund.status == "PROCESSING":
            refund = replace(refund, status="SUCCESS")
            self._book.put_refund(refund)
        return JSONResponse({"notices": await self._notices.tell_refund(refund)})

    async def _notice(self, request: Request) -> Response:
        """Headers and body of the notice of an order, paid or not, without sending it."""
        order, _ = await self._order(request)
        if not order.paid_at:
            at = self._clock.now().astimezone(CHINA).isoformat(timespec="seconds")
            number = f"42{secrets.randbelow(10**26):026d}"
            order = replace(order, state="SUCCESS", paid_at=at, transaction_id=number)
        headers, body = self._notices.message(order)
        return JSONResponse({"headers": headers, "body": body.decode()})

    async def _orders(self, request: Request) -> Response:
        shown = [asdict(order) for order in self._book.orders()]
        return JSONResponse({"orders": shown})

    async def _set_faults(self, request: Request) -> Response:
        return JSONResponse(self._faults.set(await json_object(request)))
