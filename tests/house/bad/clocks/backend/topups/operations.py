"""A write that asks for the time."""

import datetime as dt
import time
from datetime import date, datetime, timedelta
from time import time as wall

from backend.kernel import clock as clocks
from backend.kernel.clock import Clock, Period  # BAD


def start(*, clock: Clock) -> datetime:  # BAD
    """Should be told the instant."""
    return clock.now()


def other(*, source: clocks.SystemClock) -> None:  # BAD
    """The same by another name."""


def overdue(*, since: datetime) -> bool:
    """Five ways to read the wall clock."""
    first = datetime.now() - since  # BAD
    second = dt.datetime.utcnow() - since  # BAD
    third = date.today()  # BAD
    fourth = wall()  # BAD
    fifth = time.time_ns()  # BAD
    return bool(first and second and third and fourth and fifth)


def lap() -> object:
    """A stopwatch, passed as a function."""
    return time.monotonic  # BAD


def fine(*, at: datetime) -> datetime:
    """Gets the instant."""
    return at + timedelta(minutes=30)


def untyped(*, clock: object) -> None:  # BAD
    """By its name."""
