"""What is wrong here, each as one episode: raised once, told in every session until it ends."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from enum import StrEnum

from backend.uplink.message import Alarm

log = logging.getLogger(__name__)


class Trouble(StrEnum):
    """The names that ALARM carries. METER_SILENT has a meter, the others are of the gateway itself."""

    METER_SILENT = "METER_SILENT"
    BUS_DOWN = "BUS_DOWN"
    STORE_BROKEN = "STORE_BROKEN"
    READINGS_DROPPED = "READINGS_DROPPED"
    CLOCK_JUMPED = "CLOCK_JUMPED"
    COMMAND_REFUSED = "COMMAND_REFUSED"


class Alarms:
    """Open episodes by name and place. `bell` rings when there is something to tell."""

    def __init__(self, bell: asyncio.Event) -> None:
        self._bell = bell
        self._open: dict[tuple[Trouble, str], Alarm] = {}
        self._untold: dict[tuple[Trouble, str], Alarm] = {}

    def begin(
        self, trouble: Trouble, *, at: datetime, place: str = "", meter: str | None = None
    ) -> None:
        """Open an episode at `place` (a meter, a bus, or nothing); one that is open goes on."""
        key = trouble, meter or place
        if key in self._open:
            return
        log.warning("trouble", extra={"fields": {"name": trouble, "place": key[1]}})
        alarm = Alarm(name=trouble, since=at.replace(microsecond=0), meter=meter)
        self._open[key] = self._untold[key] = alarm
        self._bell.set()

    def end(self, trouble: Trouble, *, place: str = "") -> None:
        """Close the episode, if one is open; untold ones are told all the same."""
        if self._open.pop((trouble, place), None) is not None:
            log.info("trouble is over", extra={"fields": {"name": trouble, "place": place}})

    def tell_all_again(self) -> None:
        """A new session has begun: everything open is to be told in it."""
        self._untold.update(self._open)

    @property
    def to_tell(self) -> bool:
        """Whether there is something that was not told in this session."""
        return bool(self._untold)

    def untold(self) -> list[Alarm]:
        """What is to be told now; it counts as told from here on."""
        alarms = list(self._untold.values())
        self._untold.clear()
        return alarms

    def names(self) -> list[str]:
        """What is open, for people: the name and where."""
        return [" ".join(filter(None, key)) for key in self._open]
