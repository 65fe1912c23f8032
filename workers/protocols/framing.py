"""How a link cuts an answer out of a byte stream without knowing the protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine
from typing import Protocol


class Framing(Protocol):
    """What the answer to one question looks like on the wire."""

    def take(self, buffer: bytes, /) -> tuple[bytes | None, bytes]:
        """Cut the first whole answer off `buffer`: (frame, rest), or (None, buffer) for more bytes.

        Raises FrameError when the bytes cannot become the answer.
        """
        ...


class Exchange(Protocol):
    """One question and its answer on one bus; a lane hands it out for the length of a turn."""

    def __call__(self, request: bytes, expected: Framing, /) -> Awaitable[bytes]:
        """Send `request` once and give the whole answer frame.

        Raises LinkDown (nothing was sent), NoAnswer and FrameError (the meter may have acted).
        """
        ...


Asked = tuple[bytes, Framing]  # a request, and what its answer looks like
Script = Coroutine[Asked, bytes | None, None]
"""Questions one after the other, each asked when the answer before is there: a coroutine that awaits
nothing but `asked`, directly or through drivers. A link plays it without a task that wakes up between two
exchanges; what an Exchange raises is raised where the script asked."""


@coroutine
def asked(request: bytes, expected: Framing, /) -> Generator[Asked, bytes, bytes]:
    """The Exchange of a script: asks whoever plays it."""
    return (yield request, expected)
