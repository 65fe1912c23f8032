"""A link measures answers by the loop and by a stopwatch: allowed."""

import asyncio
import time


def deadline(timeout_s: float) -> float:
    """Monotonic."""
    return asyncio.get_running_loop().time() + timeout_s + time.perf_counter()
