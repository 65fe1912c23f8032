"""What a resolver knows of its caller. One per HTTP request or WebSocket, never shared (C29)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import strawberry
from starlette.responses import Response
from strawberry.dataloader import DataLoader

from backend.journeys.pay_link import Visitor
from backend.journeys.ports import Ports
from backend.journeys.sign_in import scope_of_live_session
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Unauthenticated
from backend.kernel.scope import Scope

from .bell import TopupBell

# How many connections of the pool one request may hold at once, whatever its document asks for.
_AT_ONCE = 2


@dataclass(slots=True)
class Context:
    """The caller's rights, the ports, and the DataLoaders of this request alone.

    `scope` is None for somebody who is not signed in. On a WebSocket it is what the connection
    began with; a subscription asks `scope_now` at every event instead. `console_session` is what the
    console's cookie holds; `console_response` the answer to its request, None for any other caller.
    """

    ports: Ports
    bell: TopupBell
    production: bool
    client_address: str
    request_id: str
    session: str | None = None
    scope: Scope | None = None
    visitor_cookie: str | None = None
    alipay_cookie: str | None = None
    user_agent: str = ""
    console_session: str | None = None
    console_response: Response | None = None
    connection_params: dict[str, object] | None = None
    loaders: dict[str, DataLoader[Any, Any]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.ports.clock.now()

    @property
    def visitor(self) -> Visitor:
        """The browser behind a pay link."""
        return Visitor(
            self.visitor_cookie, self.client_address, self.user_agent, self.alipay_cookie
        )

    def caller(self) -> Scope:
        """The signed-in operator's rights. Raises Unauthenticated."""
        if self.scope is None:
            raise Unauthenticated("sign in first")
        return self.scope

    async def scope_now(self) -> Scope:
        """The rights behind the session as they are at this moment. Raises Unauthenticated."""
        scope = None
        if self.session is not None:
            scope = await scope_of_live_session(
                session=self.session, address=self.client_address, at=self.now
            )
        if scope is None:
            raise Unauthenticated("sign in first")
        return scope

    @asynccontextmanager
    async def work(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work of the caller's group. Raises Unauthenticated."""
        scope = self.caller()
        async with self._turns, unit_of_work(scope.group_id) as work:
            yield work


Info = strawberry.Info[Context, None]
