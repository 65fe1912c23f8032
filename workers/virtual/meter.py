"""One virtual Modbus meter: requests in, answers out, its memory on disk before a word leaves it."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from typing import Any

from backend.kernel.clock import Clock
from backend.kernel.money import Money
from backend.kernel.quantity import Quantity, Unit

from . import rtu
from .faults import MeterFaults
from .load import BANDS
from .state import (
    MeterSpec,
    MeterState,
    advance,
    near_rollover,
    of_memory,
    replaced,
    to_memory,
)
from .store import MeterStore, Sale

_DAY_S = 86_400


class RtuMeter(ABC):
    """What every virtual electricity meter on Modbus has; see bus.BusMeter.

    Refusals, as Modbus exceptions: 1 another function; 2 no such register (or not writable); 3 a
    value it does not take; 4 its memory could not be written. After each it is as it was.
    """

    dialect = rtu.RTU

    def __init__(
        self, model: str, spec: MeterSpec, fresh: MeterState, *, store: MeterStore, clock: Clock
    ) -> None:
        self.model = model
        self.spec = spec
        self.faults = MeterFaults()
        self._state = fresh
        self._store = store
        self._clock = clock
        self._drift = (0, fresh.as_of)  # the drift that is set, and since when

    @property
    def serial(self) -> str:
        """Its name in the site file; what is printed on it is `state().number`."""
        return self.spec.serial

    @property
    def bus_address(self) -> str:
        """Its unit as text."""
        return str(self.spec.unit)

    def memory(self) -> dict[str, Any]:
        """See bus.BusMeter."""
        return to_memory(self._state)

    def take_up(self, memory: dict[str, Any], /) -> None:
        """See bus.BusMeter."""
        self._state = of_memory(memory)

    def state(self) -> MeterState:
        """The state now. Reads keep nothing on disk: time alone leads to the same state again."""
        self._state = advance(self._state, self.spec, self._now())
        return self._state

    def own_clock(self) -> int:
        """What the meter takes for the present, as unix seconds: it was set, and it drifts."""
        now = self._now()
        faults = self.faults
        if faults.clock_drift_s != self._drift[0]:
            self._drift = (faults.clock_drift_s, now)
        drift, since = self._drift
        return now + self._state.clock_s + faults.clock_offset_s + drift * (now - since) // _DAY_S

    async def sales(self, *, limit: int = 10) -> list[Sale]:
        """The last sales, newest first."""
        return await asyncio.to_thread(self._store.sales, self.serial, limit=limit)

    async def answer(self, request: bytes, /) -> bytes | None:
        """See bus.BusMeter; a broadcast is obeyed and not answered."""
        try:
            answer = await self._act(request)
        except rtu.Refused as refused:
            answer = rtu.refusal(request, refused.code)
        return answer if request[0] else None

    async def _act(self, request: bytes) -> bytes:
        if request[1] in (rtu.READ_HOLDING, rtu.READ_INPUT):
            return self._read(request)
        after, sale, answer = self._write(request)
        try:
            # Disk first, then memory: an answer never tells more than the disk knows.
            await asyncio.to_thread(
                self._store.keep, self.serial, to_memory(after), sale, after.epoch
            )
        except sqlite3.Error:
            raise rtu.Refused(rtu.DEVICE_FAILURE) from None
        self._state = after
        return answer

    @abstractmethod
    def _read(self, request: bytes) -> bytes:
        """The answer to a read. Raises Refused."""

    def _write(self, request: bytes) -> tuple[MeterState, Sale | None, bytes]:
        """What a write leads to: the state, the sale it was, the answer. Raises Refused."""
        raise rtu.Refused(rtu.ILLEGAL_FUNCTION)

    def act(self, action: str, arguments: dict[str, Any], /) -> bool:
        """See bus.BusMeter: rollover {left_wh}, replace {number}."""
        if action == "rollover":
            self._state = near_rollover(self.state(), left_wh=int(arguments["left_wh"]))
        elif action == "replace":
            self._state = replaced(self.state(), number=str(arguments["number"]))
            self.faults = MeterFaults()
        else:
            return False
        return True

    def view(self) -> dict[str, Any]:
        """See bus.BusMeter."""
        state = self.state()
        total, bands = state.shown_wh()
        settings = state.settings
        money = {
            "remaining": str(Money.of_fen(state.remaining_fen)),
            "remaining_fen": state.remaining_fen,
            "purchase_count": state.purchase_count + self.faults.count_off,
            "prices": dict(zip(BANDS, settings.prices, strict=False)),
        }
        return {
            "serial": self.serial,
            "number": state.number,
            "model": self.model,
            "unit": self.spec.unit,
            "relay": "CLOSED" if state.closed else "OPEN",
            "forced": state.forced,
            "energy": _kwh(total),
            "bands": {name: _kwh(energy) for name, energy in zip(BANDS, bands, strict=True)},
            "clock_off_s": self.own_clock() - self._now(),
            **(money if settings.fee_on else {}),
        }

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def _kwh(energy_wh: int) -> str:
    return Quantity(energy_wh, Unit.WATT_HOUR).decimal
