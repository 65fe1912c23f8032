"""Pages in WeChat and any browser: the pay page of a link, and 自助购电, the menu's first button.

Inside WeChat the visitor is sent once to OAuth and back (snsapi_base, silent); who it is stays in a
sealed cookie.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.accounts.operations import ensure_customer
from backend.accounts.queries import bound_accounts
from backend.journeys.pay_link import new_link
from backend.journeys.ports import Ports
from backend.journeys.visitor import COOKIE, seal_visitor, visitor_openid
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, DomainError, NotFound
from backend.kernel.secrets import digest
from backend.tenancy import queries as tenancy
from backend.topups.queries import link_by_digest

_WEEK_S = 7 * 86_400
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'",
    "Referrer-Policy": "strict-origin",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class PayPages:
    """GET /p/{token} and GET /buy/{group}, each with its way back from OAuth, and from a cashier."""

    def __init__(self, ports: Ports, *, pages: Path) -> None:
        self._ports = ports
        self._pages = pages

    def routes(self) -> list[Route]:
        """Routes to mount."""
        return [
            Route("/p/", self.pay, methods=["GET"]),
            Route("/p/{token}", self.pay, methods=["GET"]),
            Route("/p/{token}", self.paid_back, methods=["POST"]),
            Route("/p/{token}/wechat", self.pay_back, methods=["GET"]),
            Route("/buy/{group}", self.buy, methods=["GET"]),
            Route("/buy/{group}/wechat", self.buy_back, methods=["GET"]),
        ]

    async def pay(self, request: Request) -> Response:
        """The page; it says itself when the link is no longer good, and asks GraphQL for the rest."""
        token: str = request.path_params.get("token", "")
        if "MicroMessenger" in request.headers.get("user-agent", ""):
            group_id = await self._group_of_link(token)
            if group_id is not None and self._visitor(request, group_id) is None:
                return await self._to_oauth(group_id, back=f"/p/{token}/wechat")
        return self._page("pay.html")

    async def pay_back(self, request: Request) -> Response:
        """Back from OAuth with a code: keep who it is, then show the page."""
        token: str = request.path_params["token"]
        return await self._back(request, await self._group_of_link(token), to=f"/p/{token}")

    async def paid_back(self, request: Request) -> Response:
        """Back from UnionPay or ChinaPay, which post the payer back. What the form says is not even read:
        the page asks our own backend what became of the order."""
        token: str = request.path_params["token"]
        return RedirectResponse(f"/p/{quote(token)}?back=1", status_code=303, headers=_HEADERS)

    async def buy(self, request: Request) -> Response:
        """自助购电: straight to the pay page of the visitor's first bound account."""
        code: str = request.path_params["group"]
        group_id = await tenancy.group_of_code(code)
        if group_id is None:
            return Response(status_code=404)
        openid = self._visitor(request, group_id)
        if openid is None:
            return await self._to_oauth(group_id, back=f"/buy/{code}/wechat")
        url = await self._first_link(group_id, openid)
        if url is None:
            return self._page("unbound.html")
        return RedirectResponse(url, status_code=303, headers=_HEADERS)

    async def buy_back(self, request: Request) -> Response:
        """Back from OAuth: keep who it is, then go on buying."""
        code: str = request.path_params["group"]
        return await self._back(request, await tenancy.group_of_code(code), to=f"/buy/{code}")

    async def _first_link(self, group_id: int, openid: str) -> str | None:
        """A pay link for the first bound account that can be sold to, or None."""
        credential = await self._official_account(group_id)
        async with unit_of_work(group_id) as work:
            customer = await ensure_customer(
                work,
                channel="WECHAT",
                app_id=credential.key,
                external_id=openid,
                at=self._ports.clock.now(),
            )
            accounts = await bound_accounts(work, customer_id=customer.id)
        for account in accounts:
            try:
                return await new_link(
                    self._ports,
                    group_id=group_id,
                    customer_id=customer.id,
                    account_id=account.id,
                    amount=None,
                )
            except (NotFound, Conflict):
                continue
        return None

    def _page(self, name: str) -> Response:
        return FileResponse(self._pages / name, headers=_HEADERS)

    def _visitor(self, request: Request, group_id: int) -> str | None:
        cookie = request.cookies.get(COOKIE)
        return visitor_openid(self._ports.box, group_id=group_id, cookie=cookie)

    async def _back(self, request: Request, group_id: int | None, *, to: str) -> Response:
        if group_id is None:
            return self._page("pay.html")
        try:
            login = self._ports.visitor_login(await self._official_account(group_id))
            openid = await login.openid(request.query_params.get("code", ""))
        except DomainError:
            return self._page("pay.html")
        page = RedirectResponse(to, status_code=303, headers=_HEADERS)
        page.set_cookie(
            COOKIE,
            seal_visitor(self._ports.box, group_id=group_id, openid=openid),
            max_age=_WEEK_S,
            httponly=True,
            samesite="lax",
            secure=self._ports.public_url.startswith("https"),
        )
        return page

    async def _to_oauth(self, group_id: int, *, back: str) -> Response:
        try:
            login = self._ports.visitor_login(await self._official_account(group_id))
        except NotFound:  # the group has no official account: the page works without a visitor
            return self._page("pay.html")
        url = login.authorize_url(redirect_uri=self._ports.public_url + back, state="pay")
        return RedirectResponse(url, status_code=302, headers=_HEADERS)

    async def _official_account(self, group_id: int) -> tenancy.Credential:
        async with unit_of_work(group_id) as work:
            return await tenancy.credential(
                work, box=self._ports.box, kind="WECHAT_OFFICIAL", project_id=None
            )

    async def _group_of_link(self, token: str) -> int | None:
        group_id = await tenancy.group_of_code(token.partition(".")[0])
        if group_id is None:
            return None
        async with unit_of_work(group_id) as work:
            link = await link_by_digest(
                work, token_digest=digest(token), at=self._ports.clock.now()
            )
        return None if link is None else group_id
