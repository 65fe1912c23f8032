"""Drive commands to their meters: look, write, look again (C10, C19, C21, C22; docs/adr/0014).

Every write is announced by a commit first, so after a crash at any point the next worker looks at the
meter before it writes. Commands that were given together to meters of one gateway are one errand: commits
announce what is to be written while the bus is kept busy, and it is held until the last that was announced is
written, so that nothing slips in between. What became of them is committed when the bus is free for others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.control.command_rules import CommandKind
from backend.control.commands import Command
from backend.journeys import serve_command as journey
from backend.journeys.errands import commands_told
from backend.journeys.serve_command import CommandWork
from backend.kernel.errors import Unavailable
from workers.at_meter import AtMeter
from workers.buses import Turn
from workers.context import WorkerContext
from workers.links.lane import Priority

_FRESH = timedelta(seconds=5)
# Before an errand's lease ends (25 s) what is left of it goes on by itself.
_LONGEST = timedelta(seconds=10)
_AGAIN = timedelta(seconds=2)
_RESTORES = (
    CommandKind.CLOSE,
    CommandKind.KEEP_POWER,
    CommandKind.RELEASE,
    CommandKind.ALLOW_CLOSE,
)


def priority_of(kind: CommandKind) -> Priority:
    """Whose turn comes first on a bus: power back before a sale, a sale before a cut (C21, C22)."""
    if kind in _RESTORES:
        return Priority.RESTORE
    return Priority.CUT if kind is CommandKind.TRIP else Priority.SETTINGS


async def command_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """Serve the commands of an event. Of one that is alone it gives when to look again at a meter that needs
    a moment, and raises Unavailable when its meter cannot be reached: the event comes back later. Of several
    each that is not done gets an event of its own.
    """
    command_ids = commands_told(payload)
    at = context.ports.clock.now()
    taken = await journey.take(group_id=group_id, command_ids=command_ids, at=at)
    works = [each for each in taken if each is not None]
    if not works:
        return None
    errand = _Errand(context, group_id, works, at)
    await errand.run()
    await errand.keep()
    if len(command_ids) == 1:
        return errand.alone()
    await errand.take_apart()
    return None


class _Announced(NamedTuple):
    """A meter that was seen, and the commit before its write: it gives None when that is not to be."""

    meter: AtMeter
    coming: asyncio.Task[list[Command | None]]

    @property
    def done(self) -> bool:
        """Whether it was committed."""
        coming = self.coming
        return coming.done() and not coming.cancelled() and coming.exception() is None


class _Errand:
    """Commands of one kind at meters of one gateway."""

    def __init__(
        self, context: WorkerContext, group_id: int, works: Sequence[CommandWork], at: datetime
    ) -> None:
        self._buses = context.buses
        self._clock = context.ports.clock
        self._group_id = group_id
        self._begun = self._taken_at = at
        self._turns = 0
        self._gateway = works[0].meter.gateway
        self._priority = priority_of(works[0].command.kind)
        self._all = [AtMeter(each, self._clock) for each in works]
        for each in self._all:
            if each.meter.gateway.id != self._gateway.id:
                each.goes_on(at)  # it was moved to another bus meanwhile

    @property
    def _open(self) -> list[AtMeter]:
        return [each for each in self._all if each.open]

    async def run(self) -> None:
        """Serve them, as far as it goes now."""
        try:
            bus = await self._buses.bus(self._gateway)
            while self._open and not self._too_long():
                async with bus.turn(self._priority) as turn:
                    await self._in_turn(turn)
        except Unavailable as error:
            for each in self._open:
                each.fails(error)
        for each in self._open:
            each.goes_on(self._clock.now())

    async def keep(self) -> None:
        """Commit what became of them."""
        ends = [(each.end, each.reading) for each in self._all if each.end is not None]
        if ends:
            await journey.ended(group_id=self._group_id, ends=ends)
        waiting = [(each.waiting, each.reading) for each in self._all if each.waiting is not None]
        if waiting:
            await journey.waits(group_id=self._group_id, waiting=waiting)

    def alone(self) -> datetime | None:
        """When to look again at the only one. Raises Unavailable."""
        (only,) = self._all
        if only.failure is not None:
            raise only.failure
        return only.again_at

    async def take_apart(self) -> None:
        """Who is not done goes on by itself, so that none waits for the back-off of another."""
        now, due = self._clock.now(), dict[UUID, datetime]()
        for each in self._all:
            if each.failure is not None:
                due[each.command.id] = now + _AGAIN
            elif each.again_at is not None:
                due[each.command.id] = each.again_at
        if due:
            await journey.go_on_alone(group_id=self._group_id, due=due, at=now)

    async def _in_turn(self, turn: Turn) -> None:
        """With the bus in hand: until nothing is left to do, or somebody more urgent waits for it. What was
        seen until then is not acted upon any more."""
        if self._too_long():
            return  # the bus came too late
        # While we waited for the bus they may have ended or been served: the commit before a write finds
        # that out, and where others spoke or it took its time nobody reads meters for nothing.
        if self._turns or self._clock.now() - self._taken_at > _FRESH:
            await self._take_again(self._open)
        self._turns += 1
        goes_on = await self._round(turn, begins=True)
        while goes_on and self._open:
            goes_on = await self._round(turn, begins=False)

    async def _round(self, turn: Turn, *, begins: bool) -> bool:
        """A look at each meter, and the writes that follow; False when somebody more urgent waits. While one
        is announced the next are looked at, so that the bus does not wait for the commit.

        Another process, which may only be sweeping, gets the bus where nothing was seen that would have to
        be seen anew: else the two would take it from each other and get nowhere.
        """
        if not begins and turn.wanted_elsewhere:
            return False
        left, announced = deque(self._open), deque[_Announced]()
        try:
            await turn.play(self._looks(turn, left, announced, begins=begins))
            await self._write(turn, announced)
        finally:
            for each in announced:
                each.coming.cancel()
            await asyncio.gather(*(each.coming for each in announced), return_exceptions=True)
        return not left

    async def _looks(
        self, turn: Turn, left: deque[AtMeter], announced: deque[_Announced], *, begins: bool
    ) -> None:
        """Look at those that are left, until somebody more urgent waits: who was seen last is seen anew
        then. A script, to be played. Raises LinkDown."""
        seen: AtMeter | None = None
        while left:
            if not begins and self._gives_way(turn):
                return
            begins = False
            if seen is not None:
                announced.append(self._announce(seen))
            each = left.popleft()
            seen = each if await each.look(turn) else None
        if seen is not None:
            announced.append(self._announce(seen))

    def _gives_way(self, turn: Turn) -> bool:
        return turn.wanted_before(self._priority) or self._too_long()

    def _too_long(self) -> bool:
        return len(self._all) > 1 and self._clock.now() - self._begun > _LONGEST

    def _announce(self, seen: AtMeter) -> _Announced:
        writes = [seen.writing]
        coming = journey.about_to_write(group_id=self._group_id, writes=writes)
        return _Announced(seen, asyncio.create_task(coming))

    async def _write(self, turn: Turn, announced: deque[_Announced]) -> None:
        """Write what is announced, as soon as it is. Raises LinkDown."""
        unlike = list[AtMeter]()
        while announced:
            await announced[0].coming
            await turn.play(self._writes(turn, announced, unlike))
        if unlike:
            await self._take_again(unlike)

    async def _writes(
        self, turn: Turn, announced: deque[_Announced], unlike: list[AtMeter]
    ) -> None:
        """Write until one is not announced yet. A script, to be played. Raises LinkDown."""
        while announced and announced[0].done:
            each, coming = announced.popleft()
            (command,) = coming.result()
            each.writes_left -= 1
            if command is None:
                unlike.append(each)
            else:
                await each.write(turn, command)

    async def _take_again(self, some: Sequence[AtMeter]) -> None:
        at = self._taken_at = self._clock.now()
        ids = [each.command.id for each in some]
        taken = await journey.take(group_id=self._group_id, command_ids=ids, at=at)
        for each, work in zip(some, taken, strict=True):
            each.renew(work)
