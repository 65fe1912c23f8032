"""Time comes in as an argument. This is the only file of the product that reads the wall clock.

Instants are UTC with zone; business days follow the project's zone (default Asia/Shanghai).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

CHINA = ZoneInfo("Asia/Shanghai")


class Clock(Protocol):
    """Tells the instant. Edges hold one; rules and operations get an instant as an argument."""

    def now(self) -> datetime:
        """The present instant, UTC, with zone."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present instant, UTC, with zone."""
        return datetime.now(UTC)


@dataclass(slots=True)
class SetClock:
    """A clock that stands still until `advance`: for tests and simulation."""

    instant: datetime

    def now(self) -> datetime:
        """The instant it was set to."""
        return self.instant

    def advance(self, by: timedelta) -> None:
        """Move forward by `by`."""
        self.instant += by


def utc(instant: datetime) -> datetime:
    """The same instant in UTC. Raises ValueError for a datetime without zone."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(UTC)


def business_day(instant: datetime, zone: ZoneInfo = CHINA) -> date:
    """The calendar day of `instant` in the project's zone."""
    return instant.astimezone(zone).date()


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span of time: `start` is inside, `end` is not; `end` None means still running."""

    start: datetime
    end: datetime | None

    def __post_init__(self) -> None:
        if self.end is not None and self.end < self.start:
            raise ValueError("a period cannot end before it starts")

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant and (self.end is None or instant < self.end)


def day_period(day: date, zone: ZoneInfo = CHINA) -> Period:
    """The business day `day` of `zone` as instants."""
    start = datetime.combine(day, time(), zone)
    end = datetime.combine(day + timedelta(days=1), time(), zone)
    return Period(start.astimezone(UTC), end.astimezone(UTC))
