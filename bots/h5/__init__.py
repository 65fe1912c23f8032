"""Pages in WeChat, Alipay and any browser: the pay page of a link, and 自助购电, the menu's first button.

Inside an app the visitor is sent once to its OAuth and back (snsapi_base, auth_base: silent); who it is
stays in a sealed cookie. The way back is bound to the browser that was sent: the `state` must be the one
in its own cookie, and is good once, so nobody can be made to pay as somebody else by a link to click.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.accounts.operations import ensure_customer
from backend.accounts.queries import bound_accounts
from backend.journeys.pay_link import alipay_app, group_of_token, new_link
from backend.journeys.ports import Ports
from backend.journeys.visitor import ALIPAY_COOKIE, COOKIE, seal_visitor, visitor_openid
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, DomainError, NotFound
from backend.kernel.secrets import digest
from backend.tenancy import queries as tenancy
from backend.topups.queries import link_by_digest
from backend.topups.rules import Browser, browser_of

log = logging.getLogger(__name__)
_WEEK_S = 7 * 86_400
_STATE = "shuidian_oauth"
_STATE_S = 600
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
            Route("/p/{token}/alipay", self.alipay_back, methods=["GET"]),
            Route("/buy/{group}", self.buy, methods=["GET"]),
            Route("/buy/{group}/wechat", self.buy_back, methods=["GET"]),
        ]

    async def pay(self, request: Request) -> Response:
        """The page; it says itself when the link is no longer good, and asks GraphQL for the rest."""
        token: str = request.path_params.get("token", "")
        browser = browser_of(request.headers.get("user-agent", ""))
        # Whom the app would not tell us stays on the page, which says so and offers what else works; who
        # comes back from a cashier wants to see the order.
        if not {"login", "back"} & request.query_params.keys():
            if browser is Browser.WECHAT:
                group_id = await self._group_of_link(token)
                if group_id is not None and self._visitor(request, group_id) is None:
                    return await self._to_wechat(group_id, home=_home_of(token))
            elif browser is Browser.ALIPAY:
                app = await alipay_app(self._ports, token=token)
                if app is not None and not await self._alipay_user(request, token, app):
                    return self._to_oauth(app, home=_home_of(token), back="/alipay")
        return self._page("pay.html")

    async def pay_back(self, request: Request) -> Response:
        """Back from WeChat's OAuth with a code: keep who it is, then show the page."""
        token: str = request.path_params["token"]
        return await self._wechat_back(
            request,
            await self._group_of_link(token),
            home=_home_of(token),
            failed=f"{_home_of(token)}?login=failed",
        )

    async def alipay_back(self, request: Request) -> Response:
        """Back from Alipay's OAuth with a code: keep who it is, then show the page."""
        token: str = request.path_params["token"]
        home = _home_of(token)
        app = await alipay_app(self._ports, token=token)
        openid = None
        if app is not None:
            openid = await self._proved(
                request, app, code=request.query_params.get("auth_code", "")
            )
        if app is None or openid is None:
            return self._home(f"{home}?login=failed", state_of=home)
        sealed = seal_visitor(
            self._ports.box,
            group_id=await group_of_token(token),
            openid=openid,
            app_id=app.public["app_id"],
        )
        return self._home(home, state_of=home, keep=(ALIPAY_COOKIE, sealed))

    async def paid_back(self, request: Request) -> Response:
        """Back from UnionPay or ChinaPay, which post the payer back. What the form says is not even read:
        the page asks our own backend what became of the order."""
        token: str = request.path_params["token"]
        return RedirectResponse(f"{_home_of(token)}?back=1", status_code=303, headers=_HEADERS)

    async def buy(self, request: Request) -> Response:
        """自助购电: straight to the pay page of the visitor's first bound account."""
        code: str = request.path_params["group"]
        group_id = await tenancy.group_of_code(code)
        if group_id is None:
            return Response(status_code=404)
        openid = self._visitor(request, group_id)
        if openid is None:
            return await self._to_wechat(group_id, home=f"/buy/{code}")
        url = await self._first_link(group_id, openid)
        if url is None:
            return self._page("unbound.html")
        return RedirectResponse(url, status_code=303, headers=_HEADERS)

    async def buy_back(self, request: Request) -> Response:
        """Back from OAuth: keep who it is, then go on buying."""
        code: str = request.path_params["group"]
        # Without a link there is no page that could go on: it says that it is no longer good.
        return await self._wechat_back(
            request, await tenancy.group_of_code(code), home=f"/buy/{code}", failed="/p/"
        )

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

    async def _alipay_user(self, request: Request, token: str, app: tenancy.Credential) -> bool:
        """Whether the browser holds who it is inside Alipay, for this app."""
        found = visitor_openid(
            self._ports.box,
            group_id=await group_of_token(token),
            cookie=request.cookies.get(ALIPAY_COOKIE),
            app_id=app.public["app_id"],
        )
        return found is not None

    async def _wechat_back(
        self, request: Request, group_id: int | None, *, home: str, failed: str
    ) -> Response:
        if group_id is None:
            return self._page("pay.html")
        openid = None
        with suppress(NotFound):
            account = await self._official_account(group_id)
            code = request.query_params.get("code", "")
            openid = await self._proved(request, account, code=code)
        if openid is None:
            return self._home(failed, state_of=home)
        sealed = seal_visitor(self._ports.box, group_id=group_id, openid=openid)
        return self._home(home, state_of=home, keep=(COOKIE, sealed))

    async def _proved(
        self, request: Request, account: tenancy.Credential, *, code: str
    ) -> str | None:
        """Whom OAuth names to the browser that we sent there, None for anybody else or a bad code."""
        sent, came = request.cookies.get(_STATE, ""), request.query_params.get("state", "")
        if not sent or not secrets.compare_digest(sent.encode(), came.encode()):
            return None
        try:
            return await self._ports.visitor_login(account).openid(code)
        except DomainError as error:
            log.warning("a visitor stays unknown", extra={"fields": {"reason": error.message}})
            return None

    def _home(
        self, to: str, *, state_of: str, keep: tuple[str, str] | None = None
    ) -> RedirectResponse:
        """To our own page; the state is used up, whatever came of it."""
        page = RedirectResponse(to, status_code=303, headers=_HEADERS)
        page.delete_cookie(_STATE, path=state_of)
        if keep is not None:
            self._set_cookie(page, *keep, max_age=_WEEK_S)
        return page

    def _set_cookie(
        self, page: Response, name: str, value: str, *, max_age: int, path: str = "/"
    ) -> None:
        page.set_cookie(
            name,
            value,
            max_age=max_age,
            path=path,
            httponly=True,
            samesite="lax",
            secure=self._ports.public_url.startswith("https"),
        )

    async def _to_wechat(self, group_id: int, *, home: str) -> Response:
        try:
            account = await self._official_account(group_id)
        except NotFound:  # the group has no official account: the page works without a visitor
            return self._page("pay.html")
        return self._to_oauth(account, home=home, back="/wechat")

    def _to_oauth(self, account: tenancy.Credential, *, home: str, back: str) -> Response:
        """To the app's OAuth, with a state that only this browser has."""
        state = secrets.token_hex(16)
        url = self._ports.visitor_login(account).authorize_url(
            redirect_uri=self._ports.public_url + home + back, state=state
        )
        page = RedirectResponse(url, status_code=302, headers=_HEADERS)
        self._set_cookie(page, _STATE, state, max_age=_STATE_S, path=home)
        return page

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


def _home_of(token: str) -> str:
    """The path of a link's page, as a browser has it."""
    return f"/p/{quote(token, safe='')}"
