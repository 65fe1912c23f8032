"""The demo's stage: a tenant's phone, the wall of virtual meters and the till, on one page.

Everything on it is simulated, and it speaks for anybody: loopback only, for callers of this machine
and for pages of this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from backend.kernel.clock import Clock
from backend.kernel.errors import InvalidInput
from backend.sandbox.answers import control, json_object, text_of
from backend.sandbox.stage_door import LoopbackOnly, Neighbour, NeighbourSilent
from backend.sandbox.stage_view import Spoken, Tenant, chat_of, order_of

_PAGES = Path(__file__).parent / "stage_pages"
_ORDERS_SHOWN = 20
# What the page may turn; everything else of the stand-ins stays with their own control endpoints.
METER_FAULTS = ("silent", "drop_write_answers")
NOTICE_FAULTS = (
    "lost_notice", "duplicate_notice", "delay_notice", "wrong_amount_notice",
    "bad_signature_notice", "stale_notice", "wrong_merchant_notice",
)  # fmt: skip


def stage_app(
    *, sandbox_url: str, site_control_urls: Sequence[str], tenants: Sequence[Tenant], clock: Clock
) -> Starlette:
    """The stage, to be mounted at /stage of the stand-ins' process (it works at any path).

    `sandbox_url` is where backend.sandbox.app is served, `site_control_urls` the control pages of
    virtual sites; all of this machine. Raises InvalidInput for another host or without a tenant.
    """
    if not tenants:
        raise InvalidInput("the stage needs a tenant", field="tenants")
    stage = _Stage(
        sandbox=Neighbour(sandbox_url),
        sites=[Neighbour(url) for url in site_control_urls],
        tenants=tenants,
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await stage.close()

    return Starlette(
        routes=[*stage.routes(), Mount("/", StaticFiles(directory=_PAGES, html=True))],
        middleware=[Middleware(LoopbackOnly)],
        lifespan=lifespan,
    )


class _Stage:
    """The page's endpoints. It remembers only what tenants said: the stand-ins keep the rest."""

    def __init__(
        self,
        *,
        sandbox: Neighbour,
        sites: Sequence[Neighbour],
        tenants: Sequence[Tenant],
        clock: Clock,
    ) -> None:
        self._sandbox, self._sites = sandbox, sites
        self._tenants, self._clock = tenants, clock
        self._spoken: dict[tuple[str, str], list[Spoken]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("/", self._page),
            Route("/api/tenants", control(self._list)),
            Route("/api/now", control(self._now)),
            Route("/api/say", control(self._say), methods=["POST"]),
            Route("/api/pay", control(self._pay), methods=["POST"]),
            Route("/api/notices", control(self._notices), methods=["POST"]),
            Route("/api/sites/{site:int}/{kind}/{serial}", control(self._fault), methods=["POST"]),
        ]

    async def close(self) -> None:
        """Close the connections."""
        for neighbour in (self._sandbox, *self._sites):
            await neighbour.close()

    async def _page(self, request: Request) -> Response:
        # By name: StaticFiles would look for index.html.
        return Response((_PAGES / "stage.html").read_bytes(), media_type="text/html")

    async def _list(self, request: Request) -> Response:
        return JSONResponse({"tenants": [tenant.shown() for tenant in self._tenants]})

    def _tenant(self, number: object) -> Tenant:
        """The tenant of this place in the list. Raises InvalidInput."""
        if isinstance(number, str) and number.isascii() and number.isdigit():
            number = int(number)
        if type(number) is not int or not 0 <= number < len(self._tenants):
            raise InvalidInput("no such tenant", field="tenant")
        return self._tenants[number]

    async def _now(self, request: Request) -> Response:
        """All that the page shows; a part whose server does not answer is null."""
        tenant = self._tenant(request.query_params.get("tenant", "0"))
        inbox = {"appid": tenant.app_id, "openid": tenant.openid}
        chat, sms, orders, faults, *sites = await asyncio.gather(
            _or_none(self._sandbox.get("/wechat/control/inbox", inbox)),
            _or_none(self._sandbox.get("/sms/control/inbox", {"phone": tenant.phone})),
            _or_none(self._sandbox.get("/wechat-pay/control/orders")),
            _or_none(self._sandbox.post("/wechat-pay/control/faults", {})),
            *(
                _or_none(site.get(path))
                for site in self._sites
                for path in ("/gateways", "/meters")
            ),
        )
        now = self._clock.now()
        spoken = self._spoken.get((tenant.app_id, tenant.openid), [])
        return JSONResponse(
            {
                "now": now.isoformat(),
                "chat": None if chat is None else chat_of(chat["messages"], spoken),
                "sms": None if sms is None else sms["messages"],
                "orders": None if orders is None else _newest(orders["orders"]),
                "notices": None if faults is None else {k: faults[k] for k in NOTICE_FAULTS},
                "sites": [
                    {"gateways": gateways, "meters": meters}
                    for gateways, meters in zip(sites[::2], sites[1::2], strict=True)
                ],
            }
        )

    async def _say(self, request: Request) -> Response:
        """The tenant writes `text`, or follows the account (`event`: subscribe)."""
        body = await json_object(request)
        tenant = self._tenant(body.get("tenant"))
        said = {"appid": tenant.app_id, "openid": tenant.openid}
        if body.get("event") is None:
            text = said["text"] = text_of(body, "text")
        else:
            text, said["event"] = "（关注公众号）", text_of(body, "event")
        words = self._spoken.setdefault((tenant.app_id, tenant.openid), [])
        words.append(Spoken(text, self._clock.now()))
        heard = await self._sandbox.post("/wechat/control/say", said)
        return JSONResponse({"status": heard["status"], "reply": heard["reply"]})

    async def _pay(self, request: Request) -> Response:
        """The tenant pays an order of the till."""
        body = await json_object(request)
        tenant = self._tenant(body.get("tenant"))
        paid = {name: text_of(body, name) for name in ("mchid", "out_trade_no")}
        answer = await self._sandbox.post(
            "/wechat-pay/control/pay", paid | {"openid": tenant.openid}
        )
        return JSONResponse({"notices": answer["notices"]})

    async def _notices(self, request: Request) -> Response:
        """Turn the notice faults."""
        body = await json_object(request)
        if not body.keys() <= set(NOTICE_FAULTS):
            raise InvalidInput("no such notice fault")
        faults = await self._sandbox.post("/wechat-pay/control/faults", body)
        return JSONResponse({name: faults[name] for name in NOTICE_FAULTS})

    async def _fault(self, request: Request) -> Response:
        """Turn faults of a meter or a gateway of a site."""
        body, found = await json_object(request), request.path_params
        known = {"meters": METER_FAULTS, "gateways": ("offline",)}.get(found["kind"], ())
        if not 0 <= found["site"] < len(self._sites) or not body.keys() <= set(known):
            raise InvalidInput("no such site or fault")
        path = f"/{found['kind']}/{found['serial']}/faults"
        return JSONResponse(await self._sites[found["site"]].post(path, body))


def _newest(orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [order_of(order) for order in reversed(orders[-_ORDERS_SHOWN:])]


async def _or_none(asked: Any) -> Any:
    """The answer, or None when that server does not answer: the rest of the page lives on."""
    try:
        return await asked
    except (NeighbourSilent, InvalidInput):
        return None
