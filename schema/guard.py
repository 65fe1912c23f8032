"""What is refused before it is parsed: other methods, too much, too deep."""

from __future__ import annotations

import re

import orjson
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 * 1024
MAX_JSON_DEPTH = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
# PostgreSQL holds no NUL; it would fail deep inside as a fault of ours.
_NUL = re.compile(rb"\\u0000|\\u\{0+\}")


def checked_json(data: str | bytes) -> object:
    """Parse JSON of at most 256 KB and 32 levels, without NUL. Raises orjson.JSONDecodeError."""
    raw = data.encode() if isinstance(data, str) else data
    if len(raw) > MAX_BODY_BYTES or _depth(raw) > MAX_JSON_DEPTH or _NUL.search(raw):
        raise orjson.JSONDecodeError("too long, too deep, or with NUL", "", 0)
    parsed: object = orjson.loads(raw)
    return parsed


def _depth(raw: bytes) -> int:
    level = deepest = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", raw)):
        level += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


class BodyGuard:
    """Lets through POST with at most 256 KB, and WebSockets. `page`: also GET by a browser."""

    def __init__(self, app: ASGIApp, *, page: bool) -> None:
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse with 405 or 413, or pass on with the body already read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] != "POST":
            browses = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
            if not (self._page and browses and b"query=" not in scope["query_string"]):
                refusal = PlainTextResponse("POST only", 405, headers={"allow": "POST"})
                await refusal(scope, receive, send)
                return
        body = await _read(headers, receive)
        if body is None:
            await PlainTextResponse("the body is too large", 413)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(headers: Headers, receive: Receive) -> bytes | None:
    """The whole body, or None when it is, or says it is, too large; then the rest is not read."""
    told = headers.get("content-length", "0")
    if not told.isdecimal() or len(told) > 9 or int(told) > MAX_BODY_BYTES:
        return None
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
