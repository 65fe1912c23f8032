"""Virtual time: what happens when, errands that wait, and lanes that one errand holds at a time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator
from itertools import count

# An errand yields how many seconds it waits, or a lane with the priority by which it waits for that.
Errand = Generator["float | tuple[Lane, int]", None, None]


class Loop:
    """Calls in the order of their instants; `now` is seconds since the first midnight of a site."""

    def __init__(self) -> None:
        self.now = 0.0
        self._turn = count()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Have something called at an instant, at once when that is over."""
        heapq.heappush(self._calls, (max(when, self.now), next(self._turn), call))

    def start(self, errand: Errand) -> None:
        """Go on with an errand until it waits."""
        try:
            wait = next(errand)
        except StopIteration:
            return
        if isinstance(wait, tuple):
            lane, priority = wait
            lane.enter(priority, lambda: self.start(errand))
        else:
            self.at(self.now + wait, lambda: self.start(errand))

    def run(self, until: float) -> None:
        """Let time pass."""
        calls = self._calls
        while calls and calls[0][0] < until:
            self.now, _, call = heapq.heappop(calls)
            call()
        self.now = until


class Lane:
    """A bus: as workers.links.lane, the most urgent one next, and nobody is interrupted."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._busy = False
        self._turn = count()
        self.waiting: list[tuple[int, int, Callable[[], None]]] = []

    def enter(self, priority: int, go: Callable[[], None]) -> None:
        """Hold the bus, now or when it is this one's turn."""
        if self._busy:
            heapq.heappush(self.waiting, (priority, next(self._turn), go))
        else:
            self._busy = True
            go()

    def leave(self) -> None:
        """Pass the bus on."""
        self._busy = bool(self.waiting)
        if self.waiting:
            _, _, go = heapq.heappop(self.waiting)
            self._loop.at(self._loop.now, go)
