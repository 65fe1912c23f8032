"""WebSockets of graphql-transport-ws: shape and size checked, and cut when the session ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, cast

import orjson
from starlette.websockets import WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
)

from backend.kernel.errors import Unauthenticated

from .context import Context

MAX_SUBSCRIPTIONS = 20
RECHECK_S = 3
SESSION_ENDED = 4403


class TextSocket(ASGIWebSocketAdapter):
    """Text frames both ways, as the protocol wants them."""

    async def iter_json(
        self, *, ignore_parsing_errors: bool = False
    ) -> AsyncGenerator[object, None]:
        """Messages; a frame that is not JSON of a sane size and depth ends the connection."""
        try:
            while self.ws.application_state != WebSocketState.DISCONNECTED:
                yield self.view.decode_json(await self.ws.receive_text())
        except (orjson.JSONDecodeError, KeyError) as error:
            raise NonJsonMessageReceived from error
        except WebSocketDisconnect:
            return

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Send one message as text."""
        try:
            await self.ws.send_text(orjson.dumps(message).decode())
        except (WebSocketDisconnect, RuntimeError) as error:
            raise WebSocketDisconnected from error


class Socket(BaseGraphQLTransportWSHandler[Context, None]):
    """One connection. An operator's session is looked at every three seconds."""

    _watch: asyncio.Task[None] | None = None

    async def handle_message(self, message: Message) -> None:
        """Pass a well-formed message on; anything else ends the connection."""
        if _well_formed(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("Failed to parse message")

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        """Sign in, then watch that the session lives."""
        await super().handle_connection_init(message)
        if self.connection_acknowledged and self.context.session and self._watch is None:
            self._watch = asyncio.create_task(self._cut_when_revoked())

    async def shutdown(self) -> None:
        """End the watch with the connection."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await super().shutdown()

    async def _cut_when_revoked(self) -> None:
        try:
            while True:
                await asyncio.sleep(RECHECK_S)
                await self.context.scope_now()
        except Unauthenticated:
            for operation_id in list(self.operations):
                await self.cleanup_operation(operation_id)
            with suppress(WebSocketDisconnected, RuntimeError):
                await self.websocket.close(SESSION_ENDED, "the session has ended")


def _well_formed(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    given = cast("dict[str, Any]", message)
    if given["type"] in ("subscribe", "complete") and not isinstance(given.get("id"), str):
        return False
    if given["type"] != "subscribe":
        return True
    payload = given.get("payload")
    return (
        isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
    )
