"""Commands from the cloud: each at most once, in its time, the most urgent first on its bus (C21, C22)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from backend.kernel.errors import Conflict, DomainError
from backend.uplink.errors import CommandExpired, TripHeld
from backend.uplink.message import Cmd, Dar, Op, Res
from workers.links.lane import Priority

from .bus import Buses
from .database import StoreBroken
from .deeds import Deed
from .journal import Entry, Journal
from .pace import Time
from .site import MeterPlan

log = logging.getLogger(__name__)

AT_ONCE = 256  # more than any sane cloud asks of one box at a time
_READS = (Op.READ, Op.WALLET, Op.PRICES, Op.CALENDAR, Op.THRESHOLDS, Op.LOAD_LIMITS)
_PRIORITY = {
    Op.RELEASE: Priority.RESTORE,
    Op.KEEP_POWER: Priority.RESTORE,
    Op.CLOSE: Priority.RESTORE,
    Op.ALLOW_CLOSE: Priority.RESTORE,
    Op.VEND: Priority.VEND,
    Op.WALLET: Priority.VEND,  # the first step of a sale
    Op.TRIP: Priority.CUT,
    Op.READ: Priority.READ,
}


class Superseded(Conflict):
    """A newer command of its family is here for the meter: the older one must not come after it."""

    code = "COMMAND_SUPERSEDED"


_HELD_BACK: Mapping[type[DomainError], Dar] = {
    CommandExpired: Dar.TIME_TAG,
    TripHeld: Dar.TRIP_HELD,
    Superseded: Dar.SUPERSEDED,
    StoreBroken: Dar.NOT_SENT,
}


@dataclass(frozen=True, slots=True)
class _Task:
    """A command on its way. `until_s`: its end by the steady clock, which nobody can set back."""

    cmd: Cmd
    meter: MeterPlan
    started: bool
    kept: bool
    until_s: float


class Executor:
    """Carries commands out. `trips_allowed` is asked right before a trip; `tell` gives a RES to the
    cloud and says whether a line took it; `reached` hears the serial of a meter that answered."""

    def __init__(
        self,
        *,
        buses: Buses,
        journal: Journal,
        pace: Time,
        trips_allowed: Callable[[], bool],
        tell: Callable[[Res], Awaitable[bool]],
        reached: Callable[[str], None],
    ) -> None:
        self._buses = buses
        self._journal = journal
        self._pace = pace
        self._trips_allowed = trips_allowed
        self._tell = tell
        self._reached = reached
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._asked_again: dict[UUID, Cmd] = {}
        self._closing = False

    def take(self, cmd: Cmd) -> None:
        """Begin `cmd`; one with the id of one that runs waits for its end and brings the same RES."""
        if cmd.cmd_id in self._running:
            self._asked_again[cmd.cmd_id] = cmd
            return
        work = self._serve if len(self._running) < AT_ONCE else self._turn_away
        task = asyncio.create_task(work(cmd))
        self._running[cmd.cmd_id] = task
        task.add_done_callback(lambda _: self._ended(cmd.cmd_id))

    def running(self) -> frozenset[UUID]:
        """The commands in hand."""
        return frozenset(self._running)

    async def resume(self) -> None:
        """Begin what a crash left open. Raises StoreBroken."""
        for entry in await self._journal.unfinished():
            self.take(entry.cmd)

    async def tell_again(self) -> None:
        """Give every answer that no line took yet to the line. Raises StoreBroken."""
        for res in await self._journal.untold():
            await self._give(res, kept=True)

    async def close(self, *, grace_s: float) -> None:
        """Let running commands end for `grace_s`, then drop them; the journal knows how far they came."""
        self._closing = True
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=grace_s)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, cmd_id: UUID) -> None:
        del self._running[cmd_id]
        again = self._asked_again.pop(cmd_id, None)
        if again is not None and not self._closing:
            self.take(again)

    async def _turn_away(self, cmd: Cmd) -> None:
        await self._give(Res(cmd.cmd_id, Dar.NOT_SENT), kept=False)

    async def _serve(self, cmd: Cmd) -> None:
        meter = self._buses.meter(cmd.meter)
        if meter is None:
            await self._give(Res(cmd.cmd_id, Dar.NO_METER), kept=False)
            return
        try:
            entry = await self._journal.take(cmd, at=self._pace.now())
        except StoreBroken as broken:
            log.error("a command cannot be written down", extra={"fields": {"why": broken.message}})
            if cmd.op not in _READS:  # what cannot be written down is not done to a meter
                await self._give(Res(cmd.cmd_id, Dar.NOT_SENT), kept=False)
                return
            await self._carry_out(self._task(Entry(cmd, False, None), meter, kept=False))
            return
        if entry.cmd != cmd:
            log.error(
                "a command's id came with other content", extra={"fields": {"id": cmd.cmd_id}}
            )
            await self._give(Res(cmd.cmd_id, Dar.REFUSED), kept=False)
        elif entry.res is not None:
            await self._give(entry.res, kept=True)
        else:
            await self._carry_out(self._task(entry, meter, kept=True))

    def _task(self, entry: Entry, meter: MeterPlan, *, kept: bool) -> _Task:
        left = entry.cmd.expires - self._pace.now()
        until_s = self._pace.steady_s() + left / timedelta(seconds=1)
        return _Task(entry.cmd, meter, entry.started, kept, until_s)

    async def _carry_out(self, task: _Task) -> None:
        res = await self._done(task)
        if any(told is not None for told in (res.reading, res.wallet_fen, res.settings)):
            self._reached(task.meter.serial)
        kept = task.kept
        if kept:
            try:
                await self._journal.finish(res)
            except StoreBroken as broken:  # after a restart the meter itself is asked again
                kept = False
                log.error("an answer is not kept", extra={"fields": {"why": broken.message}})
        await self._give(res, kept=kept)

    async def _done(self, task: _Task) -> Res:
        """Wait for the bus and do it; whatever keeps it from the meter becomes the RES."""
        cmd = task.cmd
        # A sale that may have been written is looked at even when its time is over: the truth is due.
        looks_first = task.started and cmd.op is Op.VEND
        try:
            if not looks_first:
                await self._refuse_unless_due(task)
            async with self._buses.turn(
                task.meter, _PRIORITY.get(cmd.op, Priority.SETTINGS)
            ) as driver:
                if not looks_first:
                    await self._refuse_unless_due(task)
                deed = Deed(
                    cmd=cmd,
                    driver=driver,
                    kind=task.meter.profile.kind,
                    started=task.started,
                    before_writing=lambda: self._before_writing(task),
                    now=self._pace.now,
                )
                return await deed.do()
        except (CommandExpired, TripHeld, Superseded, StoreBroken) as why:
            # One that a crash cut off may have reached the meter, whatever holds it back now.
            return Res(cmd.cmd_id, Dar.NO_ANSWER if task.started else _HELD_BACK[type(why)])

    async def _before_writing(self, task: _Task) -> None:
        """The last word before a write: still due, still wanted, and written down."""
        if await self._journal.superseded(task.cmd):
            raise Superseded("a newer command to this meter is here")
        await self._journal.start(task.cmd.cmd_id)
        await self._refuse_unless_due(task)  # last: writing it down may have taken its time

    async def _refuse_unless_due(self, task: _Task) -> None:
        if self._pace.steady_s() >= task.until_s:
            raise CommandExpired("the command's time is over")
        task.cmd.refuse_unless_due(at=self._pace.now(), trips_allowed=self._trips_allowed())

    async def _give(self, res: Res, *, kept: bool) -> None:
        if not await self._tell(res) or not kept:
            return
        try:
            await self._journal.told(res.cmd_id)
        except StoreBroken as broken:  # then it is told again, which changes nothing
            log.warning("an answer is told twice", extra={"fields": {"why": broken.message}})
