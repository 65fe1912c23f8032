"""What can be wrong with the line. What can be wrong with the bytes is in protocols.errors."""

from __future__ import annotations

from backend.kernel.errors import Unavailable


class LinkDown(Unavailable):
    """No connection to the bus. The question was never sent, so the meter cannot have acted."""

    code = "LINK_DOWN"


class NoAnswer(Unavailable):
    """The question was sent and no answer came. The meter may have acted: read back (C9)."""

    code = "NO_ANSWER"
