"""A stand-in for a project's own system: checks the signature of what it hears, as a receiver should.

Loopback only: /control shows what was heard.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.kernel.clock import Clock
from backend.sandbox.answers import control, json_object, text_of
from backend.sandbox.faults import Faults

FAULTS = ("http_500", "redirect")
_FRESH_S = 300


def webhook_app(*, clock: Clock) -> Starlette:
    """The stand-in as an ASGI application; its state lives in memory."""
    receiver = _Receiver(clock=clock)
    return Starlette(
        routes=[
            Route("/news", receiver.take, methods=["POST"]),
            Route("/control/secret", control(receiver.secret), methods=["POST"]),
            Route("/control/heard", control(receiver.heard)),
            Route("/control/faults", control(receiver.set_faults), methods=["POST"]),
        ]
    )


class _Receiver:
    """Takes each piece of news once, and only when it is signed and fresh."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._secret = ""
        self._faults = Faults(*FAULTS)
        self._heard: dict[str, dict[str, Any]] = {}

    async def take(self, request: Request) -> Response:
        """401 for what is not proven, 204 for what is kept or was kept before."""
        if self._faults.take("http_500"):
            return Response(status_code=500)
        if self._faults.take("redirect"):
            return RedirectResponse("/control/heard", 307)
        body = await request.body()
        stamp = request.headers.get("x-shuidian-timestamp", "")
        told = hmac.new(self._secret.encode(), stamp.encode() + b"." + body, hashlib.sha256)
        given = request.headers.get("x-shuidian-signature", "")
        if not hmac.compare_digest(f"sha256={told.hexdigest()}".encode(), given.encode()):
            return Response(status_code=401)
        if not stamp.isdigit() or abs(self._clock.now().timestamp() - int(stamp)) > _FRESH_S:
            return Response(status_code=401)
        news = json.loads(body)
        self._heard[request.headers.get("x-shuidian-delivery", "")] = news
        return Response(status_code=204)

    async def secret(self, request: Request) -> Response:
        """Set what both sides know."""
        self._secret = text_of(await json_object(request), "secret")
        return JSONResponse({})

    async def heard(self, _: Request) -> Response:
        """What was taken, by delivery."""
        return JSONResponse({"news": self._heard})

    async def set_faults(self, request: Request) -> Response:
        """Turn fault switches."""
        return JSONResponse(self._faults.set(await json_object(request)))
