"""Say a thing once, not for every packet: what goes on within an hour is one episode."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta

QUIET = timedelta(hours=1)
_KEPT = 20_000  # an attacker must not fill the memory with names of his own


class Episodes:
    """Which things were told, and how often they have happened since."""

    def __init__(self, *, quiet: timedelta = QUIET) -> None:
        self._quiet = quiet
        self._told: OrderedDict[Hashable, tuple[datetime, int]] = OrderedDict()

    def begin(self, thing: Hashable, *, at: datetime) -> int | None:
        """How often `thing` happened unsaid before, when it is to be told now; None when it was told
        within the last hour."""
        told_at, unsaid = self._told.get(thing, (None, 0))
        if told_at is not None and at - told_at < self._quiet:
            self._told[thing] = told_at, unsaid + 1
            return None
        self._told[thing] = at, 0
        self._told.move_to_end(thing)
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)
        return unsaid

    def forget(self, thing: Hashable) -> None:
        """Tell it again when it happens again: this time it did not get through."""
        self._told.pop(thing, None)
