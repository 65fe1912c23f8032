"""A box on site: an agent, its cloud, and a virtual site on real sockets, by a time that the test moves."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.kernel.ids import uuid7
from backend.uplink.message import Cmd, Op, Read, Res
from backend.uplink.rotation import GatewayKeys
from workers.gateway.agent import Agent
from workers.gateway.identity import Identity, IdentityFile
from workers.gateway.site import load_site
from workers.gateway.talk import TalkTiming
from workers.links.lane import Priority
from workers.virtual.gateway import VirtualGateway
from workers.virtual.prepaid import PrepaidMeter
from workers.virtual.site import VirtualSite, parse_site

from .cloud import Cloud
from .simulated_time import SimulatedTime, TrueClock

# Ten minutes into a period: whatever the jitter (7.5 minutes at most), its sweep is due, the next is not.
START = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)
PERIOD = timedelta(minutes=30)
QUICK = TalkTiming(welcome_s=1.0, stored_s=1.0, gather_s=0.0, rate_per_s=1e6, batch=50)


@dataclass
class Box:
    """One agent with its own buses and data folder."""

    name: str
    data: Path
    site_file: Path
    keys: GatewayKeys
    cloud: Cloud
    pace: SimulatedTime
    buses: list[VirtualGateway]
    agent: Agent | None = None
    task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> Agent:
        """The running agent."""
        assert self.agent is not None
        return self.agent

    def meter(self, unit: int = 1, *, bus: int = 1) -> PrepaidMeter:
        """The virtual meter itself."""
        meter = self.buses[bus - 1].meters[str(unit)]
        assert isinstance(meter, PrepaidMeter)
        return meter

    async def start(self, *, store_mb: int = 64) -> None:
        """Start the agent."""
        self.agent = Agent(
            data=self.data,
            site=load_site(self.site_file),
            connect=self.cloud.line,
            pace=self.pace,
            store_mb=store_mb,
            timing=QUICK,
        )
        self.task = asyncio.create_task(self.agent.run())

    async def stop(self) -> None:
        """Stop it as SIGTERM does."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def until(self, holds: Callable[[], bool]) -> None:
        """Give way until `holds`."""
        async with asyncio.timeout(15):
            while not holds():
                await asyncio.sleep(0)
                assert self.task is None or not self.task.done(), self.task

    async def connected(self) -> None:
        """Wait for a session."""
        await self.until(lambda: self.alive.board.line == "CONNECTED")

    async def swept(self) -> None:
        """Wait until every bus has done the sweep of the running period."""
        agent = self.alive

        def done() -> bool:
            sweeps = agent.poller.sweeps
            busy = [bus for bus in agent.buses.site.buses if bus not in sweeps]
            return not busy and all(sweep.at == self.pace.now() for sweep in sweeps.values())

        await self.until(done)

    async def idle(self) -> None:
        """Wait until every part of the agent waits for time to pass: line, status, buses."""
        parts = 2 + len(self.alive.buses.site.buses)
        await self.until(lambda: self.pace.sleeping >= parts)

    async def pass_time(self, by: timedelta) -> None:
        """Let time pass when nothing is left to do before."""
        await self.idle()
        self.pace.advance(by)

    async def next_period(self) -> None:
        """Move on by a period and let the sweep be done."""
        await self.pass_time(PERIOD)
        await self.swept()

    async def drained(self) -> None:
        """Wait until nothing is left to send."""
        async with asyncio.timeout(15):
            while (await self.alive.spool.backlog()).readings:
                pass

    def stored(self) -> list[Read]:
        """The readings that the cloud has of this box."""
        return [
            read
            for (gateway, _, _), read in self.cloud.readings.items()
            if gateway == self.keys.gateway
        ]

    def cmd(self, op: Op, *, meter: str = "230000000001", life_s: int = 60, **values: Any) -> Cmd:
        """A command of now."""
        return self.cmd_at(self.pace.true_now(), op, meter=meter, life_s=life_s, **values)

    def cmd_at(
        self, at: datetime, op: Op, *, meter: str = "230000000001", life_s: int = 60, **values: Any
    ) -> Cmd:
        """A command issued at `at`."""
        issued = at.replace(microsecond=0)
        ends = issued + timedelta(seconds=life_s)
        return Cmd(cmd_id=uuid7(issued), meter=meter, op=op, issued=issued, expires=ends, **values)

    async def holding(self, stack: AsyncExitStack, *, unit: int = 1) -> None:
        """Keep the bus busy until `stack` ends."""
        plan = self.alive.buses.meter(f"2300000000{unit:02d}")
        assert plan is not None
        await stack.enter_async_context(self.alive.buses.turn(plan, Priority.READ))

    async def answer_to(self, cmd: Cmd) -> Res:
        """The answer to a command that was sent."""
        await self.cloud.until(lambda: bool(self.cloud.answers[cmd.cmd_id]))
        return self.cloud.answers[cmd.cmd_id][-1]

    async def taken(self, *cmds: Cmd) -> None:
        """Wait until the agent has these in hand and they wait for the bus."""
        running = self.alive.executor.running
        await self.until(lambda: {cmd.cmd_id for cmd in cmds} <= running())
        ids = [str(cmd.cmd_id) for cmd in cmds]

        def written(connection: sqlite3.Connection) -> int:
            rows = connection.execute("select cmd_id from command").fetchall()
            return sum(row[0] in ids for row in rows)

        async with asyncio.timeout(15):
            while await self.alive.database.run(written) < len(ids):
                pass

    async def ask(self, op: Op, **values: Any) -> Res:
        """Send a command and wait for its answer."""
        return await self.cloud.command(self.keys.gateway, self.cmd(op, **values))


def site_toml(ports: list[int], *, meters: int, answer_ms: int = 250) -> str:
    """A site file for buses on these ports."""
    lines = []
    for bus, port in enumerate(ports, start=1):
        lines.append(
            f'[[buses]]\nnumber = {bus}\ntcp = "127.0.0.1:{port}"\nanswer_ms = {answer_ms}\n'
        )
        for unit in range(1, meters + 1):
            serial = f"23000000{bus - 1:02d}{unit:02d}"
            lines.append(
                f'[[meters]]\nserial = "{serial}"\nmodel = "DDSY1352-NK"\n'
                f'bus = {bus}\naddress = "{unit}"\n'
            )
    return "\n".join(lines)


def virtual_plan(name: str, *, buses: int, meters: int) -> dict[str, Any]:
    """The virtual side of `site_toml`; wallets and counts are the same everywhere at first."""
    return {
        "gateways": [
            {
                "serial": f"{name}-{bus}",
                "meters": [
                    {
                        "serial": f"{name}-{bus}-{unit}",
                        "unit": unit,
                        "remaining": "20.00",
                        "purchase_count": 4,
                        "energy": "1234.56",
                        "average_w": 800,
                    }
                    for unit in range(1, meters + 1)
                ],
            }
            for bus in range(1, buses + 1)
        ]
    }


@dataclass
class World:
    """A cloud, a time, and boxes made on demand."""

    tmp: Path
    pace: SimulatedTime
    cloud: Cloud
    stack: AsyncExitStack
    boxes: dict[str, Box] = field(default_factory=dict)

    async def box(self, name: str = "a", *, buses: int = 1, meters: int = 2) -> Box:
        """A box with its own virtual site, not yet started."""
        plan = parse_site(virtual_plan(name, buses=buses, meters=meters))
        site = VirtualSite(plan, data_dir=self.tmp / f"{name}-meters", clock=TrueClock(self.pace))
        await self.stack.enter_async_context(site)
        gateways = list(site.gateways.values())
        site_file = self.tmp / f"{name}.toml"
        site_file.write_text(site_toml([gateway.port for gateway in gateways], meters=meters))
        keys = self.enrolled(name)
        box = Box(name, self.tmp / name, site_file, keys, self.cloud, self.pace, gateways)
        self.boxes[name] = box
        self.stack.push_async_callback(box.stop)
        return box

    def enrolled(self, name: str) -> GatewayKeys:
        """A data folder with the keys of a new gateway in it."""
        data = self.tmp / name
        data.mkdir(mode=0o700)
        keys = self.cloud.enrol()
        IdentityFile(data).save(Identity(name, "mqtt://box:x@127.0.0.1:1", keys))
        return keys

    async def running(self, name: str = "a", *, buses: int = 1, meters: int = 2) -> Box:
        """A box that is connected and has swept and sent once."""
        box = await self.box(name, buses=buses, meters=meters)
        await box.start()
        await box.connected()
        await box.swept()
        await box.drained()
        await box.idle()
        return box


@asynccontextmanager
async def new_world(tmp: Path) -> AsyncIterator[World]:
    """A world that ends with its block."""
    pace = SimulatedTime(START)
    cloud = Cloud(pace.true_now)
    async with AsyncExitStack() as stack:
        await cloud.start()
        stack.push_async_callback(cloud.stop)
        yield World(tmp, pace, cloud, stack)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The world of a test."""
    async with new_world(tmp_path) as made:
        yield made
