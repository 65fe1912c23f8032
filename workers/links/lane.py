"""One lane a bus: one speaker at a time, the most urgent one next (C21, C22)."""

from __future__ import annotations

import asyncio
import heapq
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


class Turn:
    """One turn on a lane, as an asynchronous context manager (a class: a generator costs more)."""

    __slots__ = ("_lane", "_priority")

    def __init__(self, lane: Lane, priority: Priority) -> None:
        self._lane = lane
        self._priority = priority

    async def __aenter__(self) -> Exchange:
        lane = self._lane
        if not lane.seize():
            await lane.wait(self._priority)
        return lane.exchange

    async def __aexit__(self, *failure: object) -> None:
        self._lane.leave()


class Lane:
    """Turns on one bus. A turn is held for one short series (say wallet, credit, wallet) and is
    not interrupted; equal priorities go in order of arrival."""

    __slots__ = ("_arrivals", "_busy", "exchange", "waiting")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._busy = False
        self._arrivals = count()
        self.waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        """Who waits for this bus: a heap, not to be changed from outside."""

    def turn(self, priority: Priority) -> Turn:
        """Wait for the bus and hold it: `async with lane.turn(Priority.VEND) as exchange:`.

        Cancelling a waiter or a holder passes the bus on.
        """
        return Turn(self, priority)

    def seize(self) -> bool:
        """Hold the bus if it is free; whoever holds it must `leave`. Better: `turn`."""
        if self._busy:
            return False
        self._busy = True
        return True

    async def wait(self, priority: Priority) -> None:
        """Wait for a bus that is not free, and hold it as after `seize`."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self.waiting, (priority, next(self._arrivals), mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.leave()  # the bus was handed over in the same instant: pass it on
            raise

    def leave(self) -> None:
        """Pass the bus on to the most urgent waiter."""
        while self.waiting:
            _, _, following = heapq.heappop(self.waiting)
            if not following.done():
                following.set_result(None)
                return
        self._busy = False
