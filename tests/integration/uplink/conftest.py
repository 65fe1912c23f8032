"""A broker, a host on it, and one gateway in each of two groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from backend.enrolment.queries import RingRow
from backend.kernel.clock import SetClock
from backend.kernel.errors import Unavailable
from backend.sandbox.embedded.broker import CLOUD, GATEWAY, RunningBroker, start_broker
from backend.uplink.keys import KeyName
from backend.uplink.message import Alarm, Ping, Read
from tests.integration.mosquitto import Mosquitto
from workers.links.intake import Limits
from workers.links.mqtt import CUT_S, Broker, MqttTrunk
from workers.uplink_delivery import Gather
from workers.uplink_host import UplinkHost
from workers.uplink_lines import Tempo

from .box import Box, box_at, until
from .memory_desk import MemoryDesk

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker of this test process."""
    running = start_broker(data_dir=tmp_path_factory.mktemp("mqtt") / "broker")
    yield running
    running.stop()
    running.slot.erase()


class Inbox:
    """Remembers what it was given. `away`: as when its database is away; `open`: pings go on."""

    def __init__(self) -> None:
        self.reads: list[tuple[RingRow, Read]] = []
        self.batches: list[int] = []
        self.alarms: list[tuple[RingRow, Alarm]] = []
        self.pings: list[tuple[RingRow, Ping]] = []
        self.silences: list[tuple[str, datetime]] = []
        self.refusals: list[tuple[str | bytes, str]] = []
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def readings(self, row: RingRow, reads: list[Read], at: datetime) -> None:
        """Keep."""
        self._refuse_when_away()
        self.batches.append(len(reads))
        self.reads += [(row, read) for read in reads]

    async def alarm(self, row: RingRow, alarm: Alarm, at: datetime) -> None:
        """Keep."""
        self._refuse_when_away()
        self.alarms.append((row, alarm))

    async def pinged(self, row: RingRow, ping: Ping, at: datetime) -> None:
        """Keep."""
        self._refuse_when_away()
        await self.open.wait()
        self.pings.append((row, ping))

    async def silent(self, row: RingRow, since: datetime) -> None:
        """Keep."""
        self._refuse_when_away()
        self.silences.append((row.serial, since))

    async def refused(self, who: RingRow | bytes, code: str, at: datetime) -> None:
        """Keep the serial (or the name of nobody) and the code."""
        self.refusals.append((who if isinstance(who, bytes) else who.serial, code))

    def _refuse_when_away(self) -> None:
        if self.away:
            raise Unavailable("the database is away")


@dataclass
class Site:
    """A host that runs, and a gateway of each of two groups (not connected yet)."""

    broker: RunningBroker | Mosquitto
    desk: MemoryDesk
    inbox: Inbox
    clock: SetClock
    trunk: MqttTrunk
    host: UplinkHost
    first: tuple[KeyName, bytes]
    second: tuple[KeyName, bytes]
    running: asyncio.Task[None]
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def gate(self) -> Broker:
        """The broker as gateways know it."""
        return Broker.of(self.broker.url(GATEWAY))

    async def box(self, who: tuple[KeyName, bytes], *, greeted: bool = True) -> Box:
        """The gateway `who`, connected until the test ends, with a session unless not `greeted`."""
        box = await self.opened.enter_async_context(box_at(self.gate, *who, self.clock))
        if greeted:
            await box.greet()
        return box

    async def boxes(self) -> tuple[Box, Box]:
        """Both gateways with live sessions."""
        return await self.box(self.first), await self.box(self.second)

    async def restart_host(self) -> None:
        """A new process: nothing of the old one's memory, the same desk and inbox."""
        await stop(self.running)
        self.trunk, self.host, self.running = await start(
            self.broker, self.desk, self.inbox, self.clock
        )


FAST = Tempo(gather=Gather(most=500, wait_s=0.05), answer_s=5, again_s=0.05, look_s=0.05)


async def start(
    broker: RunningBroker | Mosquitto,
    desk: MemoryDesk,
    inbox: Inbox,
    clock: SetClock,
    *,
    limits: Limits | None = None,
    cut_s: float = CUT_S,
) -> tuple[MqttTrunk, UplinkHost, asyncio.Task[None]]:
    """A host that listens to all gateways of the desk."""
    trunk = MqttTrunk(Broker.of(broker.url(CLOUD)), limits=limits, cut_s=cut_s)
    host = UplinkHost(trunk=trunk, desk=desk, inbox=inbox, clock=clock, tempo=FAST)
    running = asyncio.create_task(host.run())
    await until(lambda: all(trunk.hears(wire_id) for wire_id in desk.rows))
    return trunk, host, running


async def stop(running: asyncio.Task[None]) -> None:
    """End the host as a killed process ends: nobody is told."""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def site_at(
    broker: RunningBroker | Mosquitto, *, limits: Limits | None = None, cut_s: float = CUT_S
) -> AsyncIterator[Site]:
    """A running site on `broker`."""
    desk, inbox, clock = MemoryDesk(), Inbox(), SetClock(NOON)
    first, second = (
        desk.add(group_id=1, serial="GW-FIRST"),
        desk.add(group_id=2, serial="GW-SECOND"),
    )
    trunk, host, running = await start(broker, desk, inbox, clock, limits=limits, cut_s=cut_s)
    site = Site(broker, desk, inbox, clock, trunk, host, first, second, running)
    try:
        async with site.opened:
            yield site
    finally:
        await stop(site.running)


@pytest.fixture
async def site(broker: RunningBroker) -> AsyncIterator[Site]:
    """A running site."""
    async with site_at(broker) as running:
        yield running
