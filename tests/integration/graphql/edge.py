"""The GraphQL application as a client sees it: over ASGI, or over a socket of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from backend.journeys.ports import Ports
from backend.kernel.db import unit_of_work
from backend.kernel.secrets import digest
from backend.tenancy import operations as tenancy
from schema.app import graphql_app
from schema.bell import TopupBell

from ..world import World

Body = dict[str, Any]
PATH = "/graphql"


@dataclass
class Api:
    """The application and the bell it listens to."""

    app: ASGIApp
    bell: TopupBell

    async def post(
        self,
        document: str,
        variables: Mapping[str, object] | None = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """POST one document."""
        sent = {"content-type": "application/json", **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        body = json.dumps({"query": document, "variables": dict(variables or {})})
        return await self.send("POST", body.encode(), headers=sent)

    async def send(
        self, method: str, body: bytes = b"", *, headers: Mapping[str, str], path: str = "/graphql"
    ) -> httpx.Response:
        """Any request."""
        transport = httpx.ASGITransport(self.app, client=("203.0.113.9", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
            return await client.request(method, path, content=body, headers=dict(headers))

    async def ask(
        self,
        document: str,
        variables: Mapping[str, object] | None = None,
        *,
        token: str | None = None,
    ) -> Body:
        """POST one document; gives the JSON answer."""
        body: Body = (await self.post(document, variables, token=token)).json()
        return body

    async def data(
        self,
        document: str,
        variables: Mapping[str, object] | None = None,
        *,
        token: str | None = None,
    ) -> Body:
        """POST one document that must be answered without errors; gives its data."""
        body = await self.ask(document, variables, token=token)
        assert "errors" not in body, body["errors"]
        data: Body = body["data"]
        return data


def make_api(ports: Ports, *, dsn: str, production: bool = True) -> Api:
    """The application as asgi.py routes to it. The bell is not started."""
    bell = TopupBell(dsn)
    app = graphql_app(ports, production=production, bell=bell)
    return Api(Starlette(routes=[Route(PATH, app), WebSocketRoute(PATH, app)]), bell)


async def operator_token(
    world: World,
    *,
    role: str | None = "administrator",
    project_id: UUID | None = None,
    also: Mapping[UUID | None, str] = MappingProxyType({}),
) -> str:
    """A session of a new operator who holds `role` in the project (None: in the whole group), and other
    roles in other projects (`also`)."""
    token = f"{world.code}.{secrets.token_urlsafe(16)}"
    at = world.clock.now()
    async with unit_of_work(world.group_id) as work:
        operator = await tenancy.add_operator(
            work,
            scope=world.scope,
            login=f"op{secrets.token_hex(4)}",
            name="Wang",
            password_hash="-",
            at=at,
        )
        first = {} if role is None else {project_id: role}
        for project, name in {**first, **also}.items():
            await tenancy.grant(
                work,
                scope=world.scope,
                operator_id=operator.id,
                role=name,
                project_id=project,
                at=at,
            )
        await tenancy.open_session(
            work,
            operator_id=operator.id,
            login=operator.login,
            token_digest=digest(token),
            at=at,
        )
    return token


class _Server(uvicorn.Server):
    """Says when it takes connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """Serve `app` in this loop on a free port, because the database's pool belongs to this loop."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(10):
        await server.up.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


def knock(
    port: int, *, protocol: str = "graphql-transport-ws", origin: str | None = None
) -> connect:
    """A WebSocket to the edge, to be entered."""
    return connect(
        f"ws://127.0.0.1:{port}{PATH}",
        subprotocols=[Subprotocol(protocol)],
        origin=None if origin is None else Origin(origin),
        proxy=None,
    )


@asynccontextmanager
async def live(port: int, *, token: str | None = None) -> AsyncIterator[ClientConnection]:
    """A graphql-transport-ws connection, acknowledged."""
    async with knock(port) as ws:
        payload = {} if token is None else {"authorization": f"Bearer {token}"}
        await tell(ws, {"type": "connection_init", "payload": payload})
        assert (await hear(ws))["type"] == "connection_ack"
        yield ws


async def tell(ws: ClientConnection, message: Mapping[str, object]) -> None:
    """Send one message."""
    await ws.send(json.dumps(message))


async def hear(ws: ClientConnection, *, within_s: float = 5) -> Body:
    """The next message, as text."""
    async with asyncio.timeout(within_s):
        text = await ws.recv()
    assert isinstance(text, str), "graphql-transport-ws speaks text frames"
    message: Body = json.loads(text)
    return message


async def subscribe(
    ws: ClientConnection, document: str, variables: Mapping[str, object], *, id_: str = "1"
) -> None:
    """Begin an operation."""
    payload = {"query": document, "variables": dict(variables)}
    await tell(ws, {"type": "subscribe", "id": id_, "payload": payload})
