"""How a link cuts an answer out of a byte stream without knowing the protocol."""

from __future__ import annotations

from collections.abc import Awaitable
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
