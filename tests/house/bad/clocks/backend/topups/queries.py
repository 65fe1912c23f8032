"""A read may hold a clock, but no stopwatch."""

import time

from backend.kernel.clock import Clock


def lap(clock: Clock) -> object:
    """Reads measure nothing."""
    return clock.now(), time.monotonic()  # BAD
