"""GraphQL over HTTP (POST only) and WebSocket (graphql-transport-ws only)."""

from __future__ import annotations

import re
from typing import Any, cast

import orjson
from cross_web import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.unset import UNSET, UnsetType

from backend.journeys.ports import Ports
from backend.journeys.sign_in import scope_of_token
from backend.journeys.visitor import ALIPAY_COOKIE, COOKIE
from backend.kernel.ids import token

from .bell import TopupBell
from .console_session import is_console, session_of_console
from .context import Context
from .guard import BodyGuard, checked_json
from .schema import make_schema
from .sockets import MAX_SUBSCRIPTIONS, Socket, TextSocket

RESPONSE_JSON = "application/graphql-response+json"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{8,64}$")
_BEARER = re.compile(r"^[Bb]earer +(\S{1,200})$")


def graphql_app(ports: Ports, *, production: bool, bell: TopupBell) -> ASGIApp:
    """The application to put behind a Route and a WebSocketRoute at /graphql (a Mount would redirect).

    `bell` is started and stopped by who made it.
    The development page (GraphiQL) is served outside production only, as is introspection to
    somebody who is not signed in.
    """
    return BodyGuard(_View(ports, production=production, bell=bell), page=not production)


class _View(GraphQL[Context, None]):
    """Strawberry's view with our context, our JSON and our sockets."""

    graphql_transport_ws_handler_class = Socket
    websocket_adapter_class = TextSocket

    def __init__(self, ports: Ports, *, production: bool, bell: TopupBell) -> None:
        super().__init__(
            make_schema(),
            graphql_ide=None if production else "graphiql",
            allow_queries_via_get=False,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            max_subscriptions_per_connection=MAX_SUBSCRIPTIONS,
        )
        self._ports = ports
        self._production = production
        self._bell = bell

    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> Context:
        """Who asks. On a WebSocket nobody, until connection_init says more."""
        given = request.headers.get("x-request-id", "")
        context = Context(
            ports=self._ports,
            bell=self._bell,
            production=self._production,
            client_address=request.client.host if request.client else "",
            request_id=given if _REQUEST_ID.match(given) else token(),
            visitor_cookie=request.cookies.get(COOKIE),
            alipay_cookie=request.cookies.get(ALIPAY_COOKIE),
            user_agent=request.headers.get("user-agent", ""),
            console_session=session_of_console(request),
        )
        if isinstance(response, Response):
            response.headers["x-request-id"] = context.request_id
            if isinstance(request, Request) and is_console(request):
                context.console_response = response
            await _sign(context, request.headers.get("authorization"))
        return context

    async def on_ws_connect(self, context: Context) -> UnsetType | dict[str, object] | None:
        """Sign in by `{"authorization": "Bearer .."}`, by `{"console": true}` with the console's cookie;
        without either only pay links can be followed."""
        told = context.connection_params or {}
        given = told.get("authorization")
        if given is not None or told.get("console") is True:
            await _sign(context, given if given is None or isinstance(given, str) else "")
            if context.scope is None:
                raise ConnectionRejectionError
        return cast("UnsetType", UNSET)

    def decode_json(self, data: str | bytes) -> object:
        """JSON that is not too deep. Raises json.JSONDecodeError."""
        return checked_json(data)

    def encode_json(self, data: object) -> str | bytes:
        """Compact UTF-8."""
        return orjson.dumps(data)

    def parse_json(self, data: str | bytes) -> Any:
        """A request is an object; a list would be a batch, which is not taken."""
        parsed = super().parse_json(data)
        if not isinstance(parsed, dict):
            raise HTTPException(400, "a request is one JSON object")
        if not isinstance(parsed.get("operationName"), str | None):
            raise HTTPException(400, "operationName is a string")
        return parsed

    async def process_result(
        self, request: Request, result: ExecutionResult
    ) -> GraphQLHTTPResponse:
        """When the request itself was refused there is no data, not even null."""
        answer = await super().process_result(request, result)
        request.state.refused = isinstance(result, PreExecutionError)
        if request.state.refused:
            del answer["data"]
        return answer

    async def run(self, request: Any, *args: Any, **given: Any) -> Any:
        """Answer; as GraphQL over HTTP has it (its media type, 400) for clients that ask for that."""
        response = await super().run(request, *args, **given)
        if RESPONSE_JSON in request.headers.get("accept", "") and isinstance(response, Response):
            response.headers["content-type"] = f"{RESPONSE_JSON}; charset=utf-8"
            if getattr(request.state, "refused", False):
                response.status_code = 400
        return response


async def _sign(context: Context, authorization: str | None) -> None:
    """Give the context the rights behind a bearer token, else the console's cookie, if that session lives."""
    match = _BEARER.match(authorization or "")
    session = context.console_session if authorization is None else match and match[1]
    if session is None:
        return
    context.session = session
    context.scope = await scope_of_token(
        session=session, address=context.client_address, at=context.now
    )
