"""The pay page of a link: who opened it (inside WeChat, by OAuth), then one static page."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.journeys.ports import Ports
from backend.journeys.visitor import COOKIE, seal_visitor, visitor_openid
from backend.kernel.db import unit_of_work
from backend.kernel.errors import DomainError
from backend.kernel.secrets import digest
from backend.tenancy import queries as tenancy
from backend.topups.queries import Link, link_by_digest

_WEEK_S = 7 * 86_400
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'",
    "Referrer-Policy": "strict-origin",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class PayPages:
    """GET /p/{token}: the page; inside WeChat first once to OAuth and back (snsapi_base, silent)."""

    def __init__(self, ports: Ports, *, page: Path) -> None:
        self._ports = ports
        self._page = page

    def routes(self) -> list[Route]:
        """Routes to mount."""
        return [
            Route("/p/{token}", self.page, methods=["GET"]),
            Route("/p/{token}/wechat", self.back, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """The page; it says itself when the link is no longer good, and asks GraphQL for the rest."""
        token: str = request.path_params["token"]
        inside_wechat = "MicroMessenger" in request.headers.get("user-agent", "")
        found = await self._link(token) if inside_wechat else None
        if found is not None:
            group_id, _ = found
            cookie = request.cookies.get(COOKIE)
            if visitor_openid(self._ports.box, group_id=group_id, cookie=cookie) is None:
                return await self._to_oauth(token, group_id)
        return FileResponse(self._page, headers=_HEADERS)

    async def back(self, request: Request) -> Response:
        """Back from OAuth with a code: keep who it is in a sealed cookie, then show the page."""
        token: str = request.path_params["token"]
        found = await self._link(token)
        if found is None:
            return FileResponse(self._page, headers=_HEADERS)
        group_id, _ = found
        page = RedirectResponse(f"/p/{token}", status_code=303, headers=_HEADERS)
        try:
            login = self._ports.visitor_login(await self._official_account(group_id))
            openid = await login.openid(request.query_params.get("code", ""))
        except DomainError:
            return FileResponse(self._page, headers=_HEADERS)
        page.set_cookie(
            COOKIE,
            seal_visitor(self._ports.box, group_id=group_id, openid=openid),
            max_age=_WEEK_S,
            httponly=True,
            samesite="lax",
            secure=self._ports.public_url.startswith("https"),
        )
        return page

    async def _to_oauth(self, token: str, group_id: int) -> Response:
        login = self._ports.visitor_login(await self._official_account(group_id))
        back = f"{self._ports.public_url}/p/{token}/wechat"
        return RedirectResponse(
            login.authorize_url(redirect_uri=back, state="pay"), status_code=302, headers=_HEADERS
        )

    async def _official_account(self, group_id: int) -> tenancy.Credential:
        async with unit_of_work(group_id) as work:
            return await tenancy.credential(
                work, box=self._ports.box, kind="WECHAT_OFFICIAL", project_id=None
            )

    async def _link(self, token: str) -> tuple[int, Link] | None:
        group_id = await tenancy.group_of_code(token.partition(".")[0])
        if group_id is None:
            return None
        async with unit_of_work(group_id) as work:
            link = await link_by_digest(
                work, token_digest=digest(token), at=self._ports.clock.now()
            )
        return None if link is None else (group_id, link)
