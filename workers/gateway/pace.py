"""Time for the agent: the wall clock, a clock that never jumps, and waiting; and how long to wait again."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from backend.kernel.clock import Clock

JUMP_S = 30.0  # half of what the uplink tolerates for a trip: seen before it matters


class Time(Protocol):
    """What the agent knows of time. Tests hold it still and move it."""

    def now(self) -> datetime:
        """The wall clock: UTC, with zone. It may jump when somebody sets it."""
        ...

    def steady_s(self) -> float:
        """Seconds of a clock that never jumps, from any start."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait by the steady clock."""
        ...


class MachineTime:
    """The machine's time: the wall clock as given, the steady one from the operating system."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """See Time.now."""
        return self._clock.now()

    def steady_s(self) -> float:
        """See Time.steady_s."""
        return time.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        """See Time.sleep."""
        await asyncio.sleep(seconds)


class JumpGuard:
    """Notices that the wall clock was set since it was last told that all is well."""

    def __init__(self, pace: Time) -> None:
        self._pace = pace
        self._base_s = self._offset_s()

    def trust(self) -> None:
        """The wall clock is right now (it was compared with the cloud's)."""
        self._base_s = self._offset_s()

    @property
    def jumped_s(self) -> float:
        """By how much it was set since then, in seconds; 0.0 when less than JUMP_S."""
        by_s = self._offset_s() - self._base_s
        return by_s if abs(by_s) > JUMP_S else 0.0

    def _offset_s(self) -> float:
        return self._pace.now().timestamp() - self._pace.steady_s()


@dataclass(slots=True)
class Backoff:
    """Waits that double from `first_s` to `most_s`, each between half and the whole of it, so that a
    thousand gateways do not come back in the same second."""

    first_s: float
    most_s: float
    tries: int = 0

    def next_s(self, *, most_s: float | None = None) -> float:
        """How long to wait before the next try; `most_s` instead of the usual limit."""
        limit_s = self.most_s if most_s is None else most_s
        whole_s = min(limit_s, self.first_s * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return random.uniform(whole_s / 2, whole_s)

    def reset(self) -> None:
        """It went well."""
        self.tries = 0


async def ring_or_sleep(bell: asyncio.Event, pace: Time, seconds: float) -> bool:
    """Wait until `bell` rings or `seconds` are over; whether it rang."""
    ringing = asyncio.ensure_future(bell.wait())
    sleeping = asyncio.ensure_future(pace.sleep(seconds))
    try:
        await asyncio.wait({ringing, sleeping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ringing.cancel()
        sleeping.cancel()
    return bell.is_set()
