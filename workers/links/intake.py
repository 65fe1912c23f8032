"""What waits to be looked at: bounded, fair between its sources, and at most so many a second of each.

One gateway that sends without end costs the others nothing: what is over its rate is dropped before
anything is read, and of what is taken every source has its turn.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

Source = TypeVar("Source", bound=Hashable)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Limits:
    """For each source: `rate_per_s` items a second on average, `burst` at once, `waiting` unread; for
    all together `total_bytes` unread. Who is over the rate by `flood` items within `flood_s` seconds
    does not merely hurry."""

    rate_per_s: float = 50.0
    burst: int = 500
    waiting: int = 1000
    total_bytes: int = 64 * 1024 * 1024
    flood: int = 500
    flood_s: float = 10.0


class Verdict(StrEnum):
    """What became of an item. FLOOD is OVER_RATE, said once each time that the flood limit is reached."""

    TAKEN = "TAKEN"
    OVER_RATE = "OVER_RATE"
    FLOOD = "FLOOD"
    FULL = "FULL"


@dataclass(slots=True)
class _State(Generic[Item]):
    """One source: tokens left, items waiting, and drops within the running flood window."""

    tokens: float
    at_s: float
    waiting: deque[tuple[Item, int]] = field(default_factory=deque)
    drops: int = 0
    drops_since_s: float = 0.0


class Intake(Generic[Source, Item]):
    """Items by source. Time is given in seconds of any steady clock."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.dropped: Counter[Source] = Counter()
        self._sources: dict[Source, _State[Item]] = {}
        self._turns: deque[Source] = deque()
        self._bytes = 0

    def offer(self, source: Source, item: Item, *, size: int, now_s: float) -> Verdict:
        """Take an item of `size` bytes, or say why not."""
        limits, state = self.limits, self._state(source, now_s)
        earned = (now_s - state.at_s) * limits.rate_per_s
        state.tokens = min(float(limits.burst), state.tokens + earned)
        state.at_s = now_s
        if state.tokens < 1:
            return self.drop(source, now_s=now_s)
        state.tokens -= 1
        if len(state.waiting) >= limits.waiting or self._bytes + size > limits.total_bytes:
            self.dropped[source] += 1
            return Verdict.FULL
        if not state.waiting:
            self._turns.append(source)
        state.waiting.append((item, size))
        self._bytes += size
        return Verdict.TAKEN

    def drop(self, source: Source, *, now_s: float) -> Verdict:
        """Count an item that is not taken: OVER_RATE, or FLOOD when there were too many of them."""
        state = self._state(source, now_s)
        self.dropped[source] += 1
        if now_s - state.drops_since_s > self.limits.flood_s:
            state.drops, state.drops_since_s = 0, now_s
        state.drops += 1
        if state.drops < self.limits.flood:
            return Verdict.OVER_RATE
        state.drops, state.drops_since_s = 0, now_s
        return Verdict.FLOOD

    def take(self) -> tuple[Source, Item] | None:
        """The next item, each source in turn; None when nothing waits."""
        if not self._turns:
            return None
        source = self._turns.popleft()
        state = self._sources[source]
        item, size = state.waiting.popleft()
        self._bytes -= size
        if state.waiting:
            self._turns.append(source)
        return source, item

    def _state(self, source: Source, now_s: float) -> _State[Item]:
        state = self._sources.get(source)
        if state is None:
            state = self._sources[source] = _State(float(self.limits.burst), now_s)
        return state
