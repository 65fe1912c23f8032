"""What every driver starts from: a meter that can nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from backend.kernel.band_calendar import Calendar
from backend.kernel.errors import Conflict
from backend.kernel.money import Money
from workers.protocols.modbus import Question

from .ports import LoadLimits, MeterSnapshot, Taken, Thresholds, Wallet


class BareDriver:
    """Refuses everything with Conflict, before a byte is sent; a driver overrides what it can."""

    __slots__ = ("_model", "only_question")

    def __init__(self, model: str) -> None:
        self._model = model
        self.only_question: Question | None = None

    def shown(self, answer: bytes) -> MeterSnapshot:
        """See CanRead.shown."""
        raise self._lacks("a reading of one question")

    async def read(self) -> MeterSnapshot:
        """See CanRead.read."""
        raise self._lacks("a way to be read")

    async def take(self, answer: bytes | None = None, /) -> Taken:
        """See CanRead.take."""
        return await self.read()

    async def wallet(self) -> Wallet:
        """See CanCredit.wallet."""
        raise self._lacks("money of its own")

    async def credit(self, *, amount: Money, purchase_count: int) -> None:
        """See CanCredit.credit."""
        raise self._lacks("a way to be sold to")

    async def trip(self, *, until: datetime | None = None) -> None:
        """See CanSwitch.trip."""
        raise self._lacks("a way to trip")

    async def allow_close(self) -> None:
        """See CanSwitch.allow_close."""
        raise self._lacks("a way to allow closing")

    async def close(self) -> None:
        """See CanSwitch.close."""
        raise self._lacks("a way to close")

    async def keep_power(self) -> None:
        """See CanSwitch.keep_power."""
        raise self._lacks("a way to keep power")

    async def release(self) -> None:
        """See CanSwitch.release."""
        raise self._lacks("a forced state to release")

    async def prices(self) -> Mapping[str, int]:
        """See CanPrice.prices."""
        raise self._lacks("prices")

    async def write_prices(self, prices: Mapping[str, int], /) -> None:
        """See CanPrice.write_prices."""
        raise self._lacks("prices")

    async def thresholds(self) -> Thresholds:
        """See CanWarn.thresholds."""
        raise self._lacks("thresholds")

    async def write_thresholds(self, thresholds: Thresholds, /) -> None:
        """See CanWarn.write_thresholds."""
        raise self._lacks("thresholds")

    async def load_limits(self) -> LoadLimits:
        """See CanLimitLoad.load_limits."""
        raise self._lacks("load limits")

    async def write_load_limits(self, limits: LoadLimits | None, /) -> None:
        """See CanLimitLoad.write_load_limits."""
        raise self._lacks("load limits")

    async def write_clock(self, now: datetime, /) -> None:
        """See CanKeepTime.write_clock."""
        raise self._lacks("a clock that can be set")

    async def calendar(self) -> Calendar:
        """See CanKeepTime.calendar."""
        raise self._lacks("a calendar")

    async def write_calendar(self, calendar: Calendar, /) -> None:
        """See CanKeepTime.write_calendar."""
        raise self._lacks("a calendar")

    def _lacks(self, what: str) -> Conflict:
        return Conflict(f"{self._model} has no {what.removeprefix('a ')}")
