"""The stage's two doors: who may come in, and the servers of this machine that it asks."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.kernel.errors import InvalidInput, Unavailable

_ANSWER_S = 8.0
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def is_loopback(host: str | None, /) -> bool:
    """Whether `host` (a name or an address) is this machine."""
    if host == "localhost":
        return True
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False


class LoopbackOnly:
    """ASGI middleware: callers, the name they call by, and the page that asks are of this machine.

    The Host check stops a web site that lets its own name point here, the Origin check a web site
    that posts here from the visitor's browser.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 403, or go on and add the safety headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not _from_here(scope):
            await PlainTextResponse("loopback only", 403)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in _SAFE.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await self._app(scope, receive, with_headers)


def _from_here(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    client = scope.get("client")
    origin = headers.get("origin")
    return (
        client is not None
        and is_loopback(client[0])
        and is_loopback(_host_of(f"//{headers.get('host', '')}"))
        and (origin is None or is_loopback(_host_of(origin)))
    )


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class NeighbourSilent(Unavailable):
    """A stand-in or a virtual site does not answer."""


class Neighbour:
    """A server of this machine with JSON control endpoints, at `url`. Raises InvalidInput else."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not is_loopback(parts.hostname):
            raise InvalidInput("the stage asks this machine only", field="url")
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/"), timeout=_ANSWER_S, trust_env=False
        )

    async def get(self, path: str, query: Mapping[str, str] | None = None, /) -> Any:
        """The JSON answer. Raises NeighbourSilent, InvalidInput with what the server refused."""
        return await self._ask("GET", path, params=query)

    async def post(self, path: str, body: Mapping[str, Any], /) -> Any:
        """The JSON answer. Raises NeighbourSilent, InvalidInput with what the server refused."""
        return await self._ask("POST", path, json=body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            answer = await self._client.request(method, quote(path), **more)
            told = answer.json()
        except (httpx.HTTPError, ValueError):
            raise NeighbourSilent("a server behind the stage does not answer") from None
        if answer.status_code != 200:
            why = told.get("message") or told.get("error") if isinstance(told, dict) else None
            raise InvalidInput(str(why or f"refused with {answer.status_code}"))
        return told
