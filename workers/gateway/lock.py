"""One agent a data folder: two would sell the same command twice. The lock ends with its process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.kernel.errors import Conflict

FILE = "lock"


@contextmanager
def alone_in(data: Path) -> Iterator[None]:
    """Hold the folder `data`. Raises Conflict when another process does, OSError."""
    with (data / FILE).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another agent runs in {data}: stop it first") from None
        yield


def is_running(data: Path) -> bool:
    """Whether a process holds the folder `data`."""
    try:
        with alone_in(data):
            return False
    except Conflict:
        return True
    except OSError:
        return False
