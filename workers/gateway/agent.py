"""The agent as a whole: pollers, line, commands and status over one store."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from .alarms import Alarms, Trouble
from .board import Board
from .bus import Buses
from .commands import Executor
from .database import Database, StoreBroken
from .identity import IdentityFile
from .journal import Journal
from .pace import Time
from .poll import Poller
from .site import Site
from .spool import Spool
from .status import Status
from .talk import Connect, TalkTiming
from .uplink import Uplink

STORE_MB = 256
_STATUS_S = 5.0
_GRACE_S = 10.0


class Agent:
    """The box of `site` with its memory in the folder `data` (one agent a folder, see lock)."""

    def __init__(
        self,
        *,
        data: Path,
        site: Site,
        connect: Connect,
        pace: Time,
        store_mb: int = STORE_MB,
        timing: TalkTiming | None = None,
    ) -> None:
        """Raises NotFound (not enrolled), Conflict, InvalidInput, StoreBroken."""
        identity = IdentityFile(data)
        keys = identity.load().keys
        bell = asyncio.Event()
        self._pace = pace
        self.database = Database(data, most_bytes=store_mb * 1024 * 1024)
        self.buses = Buses(site, clock=pace)
        self.board = Board(pace)
        self.alarms = Alarms(bell)
        self.spool = Spool(self.database)
        self.poller = Poller(
            buses=self.buses,
            spool=self.spool,
            alarms=self.alarms,
            pace=pace,
            who=keys.gateway,
            bell=bell,
        )
        self.uplink = Uplink(
            connect=connect,
            identity=identity,
            spool=self.spool,
            alarms=self.alarms,
            pace=pace,
            board=self.board,
            bell=bell,
            on_command=lambda cmd: self.executor.take(cmd),
            on_session=lambda: self.executor.tell_again(),
            timing=timing or TalkTiming(),
        )
        self.executor = Executor(
            buses=self.buses,
            journal=Journal(self.database),
            pace=pace,
            trips_allowed=self.uplink.trips_allowed,
            tell=self.uplink.tell,
            reached=self.poller.answered,
        )
        self.status = Status(data, self.board, self.poller, self.alarms)

    async def run(self) -> None:
        """Work until cancelled; then let commands end, say BYE and close the store."""
        line = asyncio.create_task(self.uplink.run())
        tasks = [
            line,
            asyncio.create_task(self._show()),
            *(asyncio.create_task(self.poller.run(bus)) for bus in self.buses.site.buses),
        ]
        try:
            await self._resume()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none ever ends by itself: what it raises is a fault of the program
        finally:
            for task in tasks[1:]:
                task.cancel()
            await self.executor.close(grace_s=_GRACE_S)
            await self.uplink.bye()
            line.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.buses.close()
            self._write_status()
            self.database.close()

    async def _resume(self) -> None:
        try:
            await self.executor.resume()
        except StoreBroken as broken:
            self.board.note(broken.message)
            self.alarms.begin(Trouble.STORE_BROKEN, at=self._pace.now())

    async def _show(self) -> None:
        while True:
            await asyncio.to_thread(self._write_status)
            await self._pace.sleep(_STATUS_S)

    def _write_status(self) -> None:
        with suppress(OSError):  # a full disk is told by the readings that it refuses
            self.status.write()
