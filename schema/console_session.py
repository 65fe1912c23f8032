"""The console's session: in a cookie that no script can read, taken from our own page only.

A page of another site cannot make a browser send the header (that takes a preflight, which we do not
answer), and its WebSocket is refused by its Origin before anything is said. `SameSite=Strict` is the
second lock.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

COOKIE = "shuidian_console"
HEADER = "x-shuidian-console"
_PATH = "/graphql"


def session_of_console(request: Request | WebSocket) -> str | None:
    """The session in the browser's cookie, None when another than our own page may have sent it."""
    ours = isinstance(request, WebSocket) or is_console(request)
    return request.cookies.get(COOKIE) if ours else None


def is_console(request: Request) -> bool:
    """Whether our own page asks."""
    return HEADER in request.headers


def keep(response: Response, session: str, *, public_url: str) -> None:
    """Give the browser the session until it is closed, or the session ends."""
    secure = public_url.startswith("https:")
    response.set_cookie(
        COOKIE, session, path=_PATH, httponly=True, samesite="strict", secure=secure
    )


def forget(response: Response) -> None:
    """Take it back."""
    response.delete_cookie(COOKIE, path=_PATH)
