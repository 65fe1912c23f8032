"""What the stand-ins share: JSON bodies in, JSON answers out, and an answer that breaks off."""

from __future__ import annotations

import importlib.util
import json
import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backend.kernel.errors import DomainError, InvalidInput, NotFound

Handler = Callable[[Request], Awaitable[Response]]


class CutAnswer(Response):
    """Promises more bytes than it sends, so the server drops the connection in the middle."""

    def __init__(self) -> None:
        super().__init__(b"{", media_type="application/json")
        self.headers["Content-Length"] = "4096"


async def json_object(request: Request, /) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object. Raises InvalidInput."""
    body = await request.body()
    try:
        found = json.loads(body) if body else {}
    except ValueError:
        raise InvalidInput("the body is no JSON") from None
    if not isinstance(found, dict):
        raise InvalidInput("the body is no object")
    return found


def text_of(body: dict[str, Any], name: str, /) -> str:
    """The non-empty text under `name`. Raises InvalidInput."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{name} is missing", field=name)
    return value


if importlib.util.find_spec("sniffio") is None:
    # httpcore asks for it many times a call, and each time the whole path is searched in vain: a tenth of
    # what a call costs. This is how Python is told that a module is not there.
    sys.modules["sniffio"] = None  # type: ignore[assignment] # the documented mark

# What httpx raises when nobody answers. The second is anyio's: the peer was killed between its accept
# and our first look at the socket (its raw socket is None then).
NO_ANSWER = (httpx.HTTPError, AttributeError)


def caller(*, timeout_s: float) -> httpx.AsyncClient:
    """A client for one call to somebody's callback; use it as a context.

    The TLS settings are made once: reading the certificates takes 30 ms, many times a call's own work.
    """
    return httpx.AsyncClient(timeout=timeout_s, trust_env=False, verify=_tls())


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def control(handler: Handler, /) -> Handler:
    """A control endpoint: anticipated errors become 400 or 404 with a code and a message."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except NotFound as error:
            return JSONResponse({"code": error.code, "message": error.message}, 404)
        except DomainError as error:
            return JSONResponse({"code": error.code, "message": error.message}, 400)

    return endpoint
