"""Reads every meter once a period: one bus never waits for another, a dead meter costs ever less (C25).

A sweep that a dead bus broke off goes on when the bus is back: it is tried again after 5 s, then ever
less often, up to every five minutes.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zlib import crc32

from backend.kernel.errors import Conflict
from workers.drivers.ports import MeterSnapshot
from workers.drivers.registers import registers_of
from workers.links.errors import LinkDown, NoAnswer
from workers.links.lane import Priority
from workers.protocols.errors import FrameError, MeterRefused

from .alarms import Alarms, Trouble
from .bus import Buses
from .database import StoreBroken
from .pace import Backoff, Time
from .site import MeterPlan
from .spool import Spool

log = logging.getLogger(__name__)

_SILENT_AFTER = 3  # sweeps
_LONGEST_REST = 8  # sweeps between two tries of a dead meter
_JITTER_SHARE = 4  # sweeps spread over the first quarter of the period, as the cloud's do
_RETRY_S, _LONGEST_RETRY_S = 5.0, 300.0  # a dead bus is tried again
_LOOK_S = 30.0  # the wall clock may be set: look again, never wait for an hour in one piece
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Health:
    """How a meter did: sweeps missed in a row, sweeps to rest until the next try, its last word."""

    missed: int = 0
    rest: int = 0
    since: datetime | None = None
    error: str = ""

    def answered(self) -> None:
        """It is well."""
        self.missed, self.rest, self.since, self.error = 0, 0, None, ""

    def failed(self, error: str, *, at: datetime) -> None:
        """It missed a sweep: from the second on it rests 1, 2, 4, then 8 sweeps before the next try."""
        self.missed += 1
        self.rest = min(_LONGEST_REST, 1 << (self.missed - 2)) if self.missed > 1 else 0
        self.since = self.since or at
        self.error = error

    def may_try(self) -> bool:
        """Whether this sweep asks it; a resting meter comes one sweep nearer to its turn."""
        if self.rest == 0:
            return True
        self.rest -= 1
        return False


@dataclass(slots=True)
class Sweep:
    """What the last sweep of a bus came to; for people. `down`: why the bus cannot be spoken on, or
    nothing; `left`: the meters that are still to be read."""

    at: datetime
    left: list[MeterPlan]
    read: int = 0
    failed: int = 0
    resting: int = 0
    down: str = ""


@dataclass(slots=True)
class Poller:
    """Polls the buses into the spool and rings `bell` for each reading. `run` serves one bus for ever;
    start one for each."""

    buses: Buses
    spool: Spool
    alarms: Alarms
    pace: Time
    who: bytes
    bell: asyncio.Event
    health: dict[str, Health] = field(default_factory=dict)
    sweeps: dict[int, Sweep] = field(default_factory=dict)
    dropped: int = 0
    _said: dict[int, str] = field(default_factory=dict)

    async def run(self, bus: int) -> None:
        """Sweep `bus` now, and then once in every period, at its own moment."""
        last: int | None = None
        wait = Backoff(_RETRY_S, _LONGEST_RETRY_S)
        again_s = 0.0
        while True:
            slot, next_s = self._slot(bus)
            if slot != last:  # also when somebody has set the clock back
                last = slot
                await self.sweep(bus)
            elif (sweep := self.sweeps[bus]).down and self.pace.steady_s() >= again_s:
                await self._go_on(bus, sweep)
            else:
                left_s = again_s - self.pace.steady_s() if sweep.down else _LOOK_S
                await self.pace.sleep(min(next_s, left_s, _LOOK_S))
                continue
            if self.sweeps[bus].down:
                again_s = self.pace.steady_s() + wait.next_s()
            else:
                wait.reset()

    def _slot(self, bus: int) -> tuple[int, float]:
        """The number of the running period of this bus, and the seconds until the next one."""
        period = self.buses.site.period
        spread_s = int(period.total_seconds()) // _JITTER_SHARE
        jitter = timedelta(seconds=crc32(self.who + bytes([bus])) % max(1, spread_s))
        since = self.pace.now() - _EPOCH - jitter
        return since // period, (period - since % period).total_seconds()

    async def sweep(self, bus: int) -> None:
        """Read every meter of `bus` that is not resting."""
        await self._go_on(bus, Sweep(self.pace.now(), self.buses.meters_of(bus)))

    async def _go_on(self, bus: int, sweep: Sweep) -> None:
        """Read the meters that are left, as long as the bus can be spoken on."""
        down = ""
        while sweep.left:
            meter = sweep.left[0]
            health = self.health.setdefault(meter.serial, Health())
            if not health.may_try():
                sweep.resting += 1
                sweep.left.pop(0)
                continue
            try:
                snapshot = await self._read(meter)
            except LinkDown as failure:
                down = failure.message
                break
            except (NoAnswer, FrameError, MeterRefused, Conflict) as error:
                sweep.failed += 1
                self._failed(meter, health, error.code)
            else:
                sweep.read += 1
                self._answered(meter, health)
                await self._keep(meter, snapshot)
            sweep.left.pop(0)
        sweep.down = down
        self.sweeps[bus] = sweep
        self._tell(bus, sweep)

    def _tell(self, bus: int, sweep: Sweep) -> None:
        if sweep.down:
            self.alarms.begin(Trouble.BUS_DOWN, at=sweep.at, place=str(bus))
        else:
            self.alarms.end(Trouble.BUS_DOWN, place=str(bus))
        if self._said.get(bus, "") != sweep.down:
            self._said[bus] = sweep.down
            log.warning("bus", extra={"fields": {"bus": bus, "down": sweep.down or "no more"}})

    def answered(self, serial: str) -> None:
        """A command reached the meter: it is polled again from now on."""
        meter, health = self.buses.meter(serial), self.health.get(serial)
        if meter is not None and health is not None:
            self._answered(meter, health)

    async def _read(self, meter: MeterPlan) -> MeterSnapshot:
        """In a turn of its own, so that a vend waits for one meter at most; asked twice."""
        async with self.buses.turn(meter, Priority.READ) as driver:
            try:
                return await driver.read()
            except (NoAnswer, FrameError):
                return await driver.read()

    def _answered(self, meter: MeterPlan, health: Health) -> None:
        health.answered()
        self.alarms.end(Trouble.METER_SILENT, place=meter.serial)

    def _failed(self, meter: MeterPlan, health: Health, error: str) -> None:
        health.failed(error, at=self.pace.now())
        if health.missed >= _SILENT_AFTER and health.since is not None:
            self.alarms.begin(Trouble.METER_SILENT, at=health.since, meter=meter.serial)

    async def _keep(self, meter: MeterPlan, snapshot: MeterSnapshot) -> None:
        now = self.pace.now()
        registers = registers_of(snapshot, kind=meter.profile.kind, at=now)
        try:
            dropped = await self.spool.add(meter.serial, registers)
        except StoreBroken as broken:
            self.dropped += 1
            self.alarms.begin(Trouble.STORE_BROKEN, at=now)
            log.debug("a reading is lost", extra={"fields": {"why": broken.message}})
            return
        self.bell.set()
        self.alarms.end(Trouble.STORE_BROKEN)
        if dropped:
            self.alarms.begin(Trouble.READINGS_DROPPED, at=now)
