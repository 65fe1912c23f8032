"""A gateway that keeps what it read until the cloud has said that it is stored, whatever breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from backend.uplink.keys import KeyName
from backend.uplink.message import Read
from workers.links.errors import LinkDown, NoAnswer

from .box import Box, box_at, reading
from .conftest import Site


class Faithful:
    """`read` takes a reading; `unsaid` are those that the cloud has not answered for. `sessions`
    counts the handshakes that worked."""

    def __init__(self, site: Site, who: tuple[KeyName, bytes]) -> None:
        self.unsaid: list[Read] = []
        self.all: list[Read] = []
        self.sessions = 0
        self.who = who
        self._site = site
        self._bell = asyncio.Event()

    def read(self) -> None:
        """The next reading of the meter."""
        read = reading(len(self.all) + 1, at=self._site.clock.now())
        self.unsaid.append(read)
        self.all.append(read)
        self._bell.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(LinkDown, NoAnswer, TimeoutError):
                async with box_at(self._site.gate, *self.who, self._site.clock) as box:
                    box.patience_s = 0.5
                    await box.greet()
                    self.sessions += 1
                    await self._talk(box)
            await self._rung(0.05)

    async def _talk(self, box: Box) -> None:
        while True:
            said = list(self.unsaid)
            for read in said:
                await box.say(read)
            await box.ping()
            del self.unsaid[: len(said)]
            await self._rung(0.1)

    async def _rung(self, within_s: float) -> None:
        self._bell.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._bell.wait()


@asynccontextmanager
async def faithful(site: Site, who: tuple[KeyName, bytes]) -> AsyncIterator[Faithful]:
    """A gateway that runs."""
    agent = Faithful(site, who)
    running = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
