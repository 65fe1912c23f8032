"""What the agent shows of itself, for `shuidian gateway status`: its line and its last errors."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .pace import Time

log = logging.getLogger(__name__)

_ERRORS = 20


class LineState(StrEnum):
    """OFFLINE: no broker. GREETING: the cloud has not answered yet. CONNECTED. UNANSWERED: the broker is
    there, but the cloud says nothing: it is down, this box's key is revoked, or the cloud finds its clock
    over 300 s off. CLOCK_WRONG: this box finds so. REVOKED: the cloud said so."""

    OFFLINE = "OFFLINE"
    GREETING = "GREETING"
    CONNECTED = "CONNECTED"
    UNANSWERED = "UNANSWERED"
    CLOCK_WRONG = "CLOCK_WRONG"
    REVOKED = "REVOKED"


@dataclass(slots=True)
class Remark:
    """Something that went wrong: when last, what, how often in a row."""

    at: datetime
    text: str
    times: int = 1


@dataclass(slots=True)
class Board:
    """The line's state and the last errors, newest last."""

    pace: Time
    line: LineState = LineState.OFFLINE
    since: datetime | None = None
    retry_s: float = 0.0
    key_version: int = 0
    trips_allowed: bool = False
    errors: deque[Remark] = field(default_factory=lambda: deque(maxlen=_ERRORS))

    def show(self, line: LineState) -> None:
        """The line is now in this state."""
        if line is not self.line or self.since is None:
            log.info("line", extra={"fields": {"state": line}})
            self.line, self.since = line, self.pace.now()

    def note(self, text: str) -> None:
        """Something went wrong; said in the log when it is not what went wrong last."""
        last = self.errors[-1] if self.errors else None
        if last is not None and last.text == text:
            last.at, last.times = self.pace.now(), last.times + 1
            return
        log.warning("error", extra={"fields": {"what": text}})
        self.errors.append(Remark(self.pace.now(), text))
