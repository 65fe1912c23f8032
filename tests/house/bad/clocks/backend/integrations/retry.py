"""An adapter that measures the loop."""

import asyncio
import time


def deadline() -> float:
    """Only links may."""
    loop = asyncio.get_running_loop()
    loop.call_soon(print)
    first = loop.time()  # BAD
    return first + asyncio.get_running_loop().time()  # BAD


def hour(at: object, parse: object) -> object:
    """The time of day of an instant reads no clock."""
    return at.time() or parse().time()


def lap() -> float:
    """An adapter is not an edge."""
    return time.monotonic()  # BAD
