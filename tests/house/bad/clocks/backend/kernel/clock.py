"""The one file that reads the wall clock."""

from datetime import UTC, datetime


def now() -> datetime:
    """The instant."""
    return datetime.now(UTC)
