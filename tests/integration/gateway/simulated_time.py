"""Time that a test holds: it stands still until it is moved, and its wall clock can be set wrongly."""

from __future__ import annotations

import asyncio
import heapq
from datetime import datetime, timedelta
from itertools import count


class SimulatedTime:
    """See workers.gateway.pace.Time. `true_now` is the time that cloud and meters live by."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._steady_s = 0.0
        self._wrong = timedelta(0)
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        """The box's wall clock."""
        return self.true_now() + self._wrong

    def steady_s(self) -> float:
        """Seconds since the start."""
        return self._steady_s

    def true_now(self) -> datetime:
        """The time."""
        return self._start + timedelta(seconds=self._steady_s)

    async def sleep(self, seconds: float, /) -> None:
        """Wait until the test has moved time on."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._steady_s + seconds, next(self._order), woken))
        await woken

    def advance(self, by: timedelta) -> None:
        """Move on by `by`; whoever slept until then wakes."""
        self._steady_s += by.total_seconds()
        while self._sleepers and self._sleepers[0][0] <= self._steady_s:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    @property
    def sleeping(self) -> int:
        """How many wait for time to pass."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def jump(self, by: timedelta) -> None:
        """Somebody sets the box's wall clock; no time passes."""
        self._wrong += by


class TrueClock:
    """The clock of cloud and meters (backend.kernel.clock.Clock)."""

    def __init__(self, pace: SimulatedTime) -> None:
        self._pace = pace

    def now(self) -> datetime:
        """The time."""
        return self._pace.true_now()
