"""What can go wrong with an embedded server, in words that say what to do."""

from __future__ import annotations

from backend.kernel.errors import Unavailable


class EmbeddedServerError(Unavailable):
    """An embedded server did not start or stop; the message holds the end of its log."""

    code = "EMBEDDED_SERVER"


class AlreadyRunning(EmbeddedServerError):
    """Another process uses the same data directory."""

    code = "EMBEDDED_ALREADY_RUNNING"
