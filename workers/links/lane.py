"""One lane a bus: one speaker at a time, the most urgent one next (C21, C22)."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count

from workers.protocols.framing import Exchange


class Priority(IntEnum):
    """Who goes first on a bus; the smaller number does (C22)."""

    RESTORE = 0
    VEND = 1
    CUT = 2
    SETTINGS = 3
    READ = 4


class Lane:
    """Turns on one bus. A turn is held for one short series (say wallet, credit, wallet) and is
    not interrupted; equal priorities go in order of arrival."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._busy = False
        self._arrivals = count()
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[Exchange]:
        """Wait for the bus and hold it: `async with lane.turn(Priority.VEND) as exchange:`.

        Cancelling a waiter or a holder passes the bus on.
        """
        await self._enter(priority)
        try:
            yield self._exchange
        finally:
            self._leave()

    async def _enter(self, priority: Priority) -> None:
        if not self._busy:
            self._busy = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._arrivals), mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._leave()  # the bus was handed over in the same instant: pass it on
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, following = heapq.heappop(self._waiting)
            if not following.done():
                following.set_result(None)
                return
        self._busy = False
