"""What the uplink says of trouble: each thing once an episode, to the log and to operators."""

from __future__ import annotations

import logging

from prometheus_client import Counter

from backend.kernel.clock import Clock

from .links.episodes import Episodes
from .uplink_delivery import Chores
from .uplink_line import GatewayLine
from .uplink_ports import AWAY, RingRow, UplinkInbox

log = logging.getLogger(__name__)
FRAMES = Counter("shuidian_uplink_frames", "Messages of gateways by outcome", ["outcome"])


class Notes:
    """For one host. An episode is one gateway, one code, and an hour."""

    def __init__(self, inbox: UplinkInbox, *, clock: Clock, chores: Chores) -> None:
        self._inbox = inbox
        self._clock = clock
        self._chores = chores
        self._episodes = Episodes()

    def refuse(self, line: GatewayLine | None, code: str, message: str) -> None:
        """Something was refused for good: the log and the inbox hear of it."""
        FRAMES.labels(outcome="refused").inc()
        if self.say("uplink refuses", line, code, message):
            self._chores.start(self._tell(line, code))

    def trouble(self, line: GatewayLine | None, error: Exception) -> None:
        """Something of ours is away for now: the log hears of it."""
        self.say("uplink waits", line, type(error).__name__, str(error)[:200])

    def say(self, what: str, line: GatewayLine | None, code: str, message: str) -> bool:
        """Write a warning, unless it was written within the hour; whether it was written."""
        unsaid = self._episodes.begin(_thing(line, code), at=self._clock.now())
        if unsaid is None:
            return False
        gateway = None if line is None else line.row.serial
        fields = {"gateway": gateway, "refusal": code, "why": message, "unsaid": unsaid}
        log.warning(what, extra={"fields": fields})
        return True

    async def _tell(self, line: GatewayLine | None, code: str) -> None:
        who: RingRow | bytes = b"" if line is None else line.row
        try:
            await self._inbox.refused(who, code, self._clock.now())
        except AWAY as error:
            self.trouble(None, error)
            self._episodes.forget(_thing(line, code))


def _thing(line: GatewayLine | None, code: str) -> tuple[bytes, str]:
    return (b"" if line is None else line.wire_id), code
