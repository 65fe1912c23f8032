"""What gateways said is stored in order, gateway by gateway, and each is told how far it was stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

from backend.uplink.message import Alarm, Ping, Read

from .uplink_line import WAITING, GatewayLine, Said
from .uplink_ports import AWAY, UplinkInbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gather:
    """Readings are stored `most` at a time; fewer wait `wait_s` for more to come."""

    most: int = 500
    wait_s: float = 1.0


class Chores:
    """Work of a process that nobody waits for. A fault in one is told and hurts no other."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, chore: Coroutine[None, None, None]) -> None:
        """Let `chore` run."""
        task = asyncio.create_task(chore)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Cancel what still runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("a fault of the uplink", exc_info=fault)


class Delivery:
    """One worker a gateway, alive while something waits, so that a slow one keeps nobody."""

    def __init__(
        self,
        inbox: UplinkInbox,
        *,
        chores: Chores,
        gather: Gather,
        answer: Callable[[GatewayLine, Ping], Awaitable[None]],
        acknowledge: Callable[[GatewayLine, bytes], Awaitable[None]],
        not_stored: Callable[[GatewayLine, Exception], None],
    ) -> None:
        """`answer` sends the answer to a PING, `acknowledge` takes the payload of a KEYACK,
        `not_stored` hears of what could not be stored now."""
        self._inbox = inbox
        self._chores = chores
        self._gather = gather
        self._answer = answer
        self._acknowledge = acknowledge
        self._not_stored = not_stored

    def put(self, line: GatewayLine, said: Said) -> bool:
        """Take a message to be stored; False when too many wait. It is then said again."""
        if len(line.said) >= WAITING:
            return False
        line.said.append(said)
        if not isinstance(said.message, Read) or len(line.said) >= self._gather.most:
            line.hurry.set()
        if not line.storing:
            line.storing = True
            self._chores.start(self._store_all(line))
        return True

    async def _store_all(self, line: GatewayLine) -> None:
        try:
            while line.said:
                reads = line.leading_reads(self._gather.most)
                if len(reads) == len(line.said) < self._gather.most:
                    await self._wait_for_more(line)
                    reads = line.leading_reads(self._gather.most)
                part = [line.said.popleft() for _ in range(max(1, len(reads)))]
                if await self._store(line, part):
                    for said in part:
                        said.arrived.note(said.seq)
                    await self._tell(line, part[-1])
        finally:
            line.storing = False

    async def _wait_for_more(self, line: GatewayLine) -> None:
        line.hurry.clear()
        try:
            async with asyncio.timeout(self._gather.wait_s):
                await line.hurry.wait()
        except TimeoutError:
            return

    async def _store(self, line: GatewayLine, part: list[Said]) -> bool:
        """Whether it is stored. When not, its frames stay open and the gateway says it again."""
        first = part[0]
        try:
            match first.message:
                case Read():
                    reads = [said.message for said in part if isinstance(said.message, Read)]
                    await self._inbox.readings(line.row, reads, first.at)
                case Alarm() as alarm:
                    await self._inbox.alarm(line.row, alarm, first.at)
                case Ping() as ping:
                    await self._inbox.pinged(line.row, ping, first.at)
                case payload:
                    await self._acknowledge(line, payload)
        except AWAY as error:
            self._not_stored(line, error)
            return False
        return True

    async def _tell(self, line: GatewayLine, said: Said) -> None:
        if not isinstance(said.message, Ping) or said.arrived is not line.arrived:
            return
        if said.arrived.all_through(said.seq):
            await self._answer(line, said.message)
