"""The API process: GraphQL, callbacks, pay page, console, health and metrics in one ASGI application."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.bootstrap import NOTICE_PATHS, build_ports
from backend.callbacks.payment_notice import notice_routes
from backend.callbacks.sms_receipt import sms_receipt_route
from backend.kernel.clock import Clock
from backend.kernel.db import DATABASE_AWAY, Database, platform_connection
from backend.kernel.settings import Settings
from bots.conversation import Conversation
from bots.h5 import PayPages
from bots.wechat.endpoint import WechatCallback
from schema.app import graphql_app
from schema.bell import TopupBell
from schema.console_page import console_routes
from schema.exports import export_routes
from workers.models import meter_models

log = logging.getLogger(__name__)
WEB = Path(__file__).resolve().parent.parent / "web"
_POOL = 10
_QUIET = frozenset({"/health", "/metrics"})


def build_app(settings: Settings, *, clock: Clock) -> Starlette:
    """The application. It opens its connections when it starts and closes them when it ends."""
    ports = build_ports(settings, clock=clock, meter_models=meter_models())
    redis = Redis.from_url(settings.redis_url)
    bell = TopupBell(settings.database_url)

    async def health(_: Request) -> Response:
        """200 when PostgreSQL answers; Redis is named but its loss stops nothing (C12)."""
        state = {"database": "ok", "redis": "ok"}
        try:
            async with platform_connection() as connection:
                await connection.fetchval("SELECT 1")
        except DATABASE_AWAY:
            state["database"] = "down"
        try:
            await redis.ping()
        except (RedisError, OSError):
            state["redis"] = "down"
        return JSONResponse(state, status_code=200 if state["database"] == "ok" else 503)

    async def metrics(_: Request) -> Response:
        """Prometheus text. Give it to the scraper's network only (compose.yaml does)."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await Database.open(settings.database_url, pool_max=settings.pool_max or _POOL)
        await bell.start()
        yield
        await bell.stop()
        await redis.aclose()
        await Database.close()

    graphql = graphql_app(ports, production=settings.production, bell=bell)
    routes: list[BaseRoute] = [
        Route("/health", health),
        Route("/metrics", metrics),
        *notice_routes(ports, paths=NOTICE_PATHS),
        sms_receipt_route(ports),
        *WechatCallback(ports, Conversation(ports, redis)).routes(),
        *PayPages(ports, pages=WEB / "h5").routes(),
        *export_routes(ports),
        Route("/graphql", graphql),
        WebSocketRoute("/graphql", graphql),
        *console_routes(WEB / "console"),
    ]
    if (WEB / "h5").is_dir():
        routes.append(Mount("/h5", StaticFiles(directory=WEB / "h5")))
    app = Starlette(routes=routes, lifespan=lifespan)
    app.add_middleware(RequestLog)
    return app


class RequestLog:
    """One line a request: method, path (tokens hidden by the formatter), status, milliseconds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log how it ended."""
        if scope["type"] != "http" or scope["path"] in _QUIET:
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            took = int((time.monotonic() - begun) * 1000)
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "ms": took,
            }
            log.info("request", extra={"fields": fields})
