"""A real HTTP server on a free loopback port for the length of a test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve `app` in a thread; gives `http://127.0.0.1:PORT`."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Listening before the server runs: an early caller waits in the queue instead of failing.
    listener.listen(64)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


class Shop:
    """The merchant's side: keeps each notice as it came, answers `status` and `answer`."""

    def __init__(self, *, answer: str = "") -> None:
        self.notices: list[tuple[dict[str, str], bytes]] = []
        self.status = 200 if answer else 204
        self.answer = answer
        self._came = threading.Condition()
        self.app = Starlette(routes=[Route("/notice", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        with self._came:
            self.notices.append((dict(request.headers), body))
            self._came.notify_all()
        return Response(self.answer or None, self.status)

    def wait_for(self, count: int) -> bool:
        """Whether `count` notices came within five seconds."""
        with self._came:
            return self._came.wait_for(lambda: len(self.notices) >= count, timeout=5)


def control(url: str, body: dict[str, Any], /) -> Any:
    """POST to a control endpoint."""
    answer = httpx.post(url, json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()
