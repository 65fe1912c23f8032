"""The box as an installer starts it, over a real broker, with the product's own host on the other side."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backend.kernel.clock import SystemClock
from backend.kernel.errors import Unavailable
from backend.kernel.money import Money
from backend.sandbox.embedded.broker import CLOUD, GATEWAY, RunningBroker, start_broker
from tests.integration.mosquitto import Mosquitto, start_mosquitto
from tests.integration.uplink.conftest import FAST, Inbox
from tests.integration.uplink.memory_desk import MemoryDesk
from workers.gateway.agent import Agent
from workers.gateway.identity import IdentityFile
from workers.gateway.pace import MachineTime
from workers.gateway.site import load_site
from workers.gateway.talk import TalkTiming
from workers.links.mqtt import Broker, MqttLine, MqttTrunk
from workers.links.remote import RemoteMeter
from workers.uplink_host import UplinkHost
from workers.virtual.gateway import VirtualGateway
from workers.virtual.prepaid import PrepaidMeter
from workers.virtual.site import VirtualSite, parse_site

from .conftest import site_toml, virtual_plan

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 30.0
LIVELY = TalkTiming(welcome_s=2.0, stored_s=2.0, gather_s=0.0, ping_s=1.0, rate_per_s=1e6)


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("mosquitto", marks=pytest.mark.mosquitto)],
)
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBroker | Mosquitto]:
    """A broker of these tests: that of the demo, and that of production."""
    folder = tmp_path_factory.mktemp("mqtt") / "broker"
    in_production = request.param == "mosquitto"
    running = start_mosquitto(folder) if in_production else start_broker(data_dir=folder)
    yield running
    running.stop()
    running.slot.erase()


@dataclass
class Cloud:
    """The product's host of the sealed uplink, on a desk and an inbox in memory."""

    broker: RunningBroker | Mosquitto
    desk: MemoryDesk = field(default_factory=MemoryDesk)
    inbox: Inbox = field(default_factory=Inbox)
    clock: SystemClock = field(default_factory=SystemClock)
    task: asyncio.Task[None] | None = None
    host: UplinkHost | None = None

    async def start(self) -> None:
        """Start the host."""
        trunk = MqttTrunk(Broker.of(self.broker.url(CLOUD)))
        self.host = UplinkHost(
            trunk=trunk, desk=self.desk, inbox=self.inbox, clock=self.clock, tempo=FAST
        )
        self.task = asyncio.create_task(self.host.run())
        await asyncio.wait_for(self.host.connected.wait(), WAIT_S)

    async def stop(self) -> None:
        """Kill the host."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def meter(self, gateway: bytes) -> RemoteMeter:
        """The first meter of a gateway, as the cloud drives it."""
        assert self.host is not None
        return RemoteMeter(
            model="DDSY1352-NK",
            serial="230000000001",
            command=partial(self.host.command, gateway, timeout_s=3.0),
            clock=self.clock,
        )

    def meters_of(self, group_id: int) -> list[str]:
        """Which meters' readings came for a group, in order of arrival."""
        return [read.meter for row, read in self.inbox.reads if row.group_id == group_id]

    async def until(self, holds: Any) -> None:
        """Wait for `holds`."""
        async with asyncio.timeout(WAIT_S):
            for _ in iter(holds, True):
                await asyncio.sleep(0)


@pytest.fixture
async def cloud(broker: RunningBroker | Mosquitto) -> AsyncIterator[Cloud]:
    """A running host."""
    made = Cloud(broker)
    await made.start()
    yield made
    await made.stop()


@asynccontextmanager
async def a_bus(tmp: Path, name: str) -> AsyncIterator[tuple[VirtualGateway, Path]]:
    """A virtual bus of two meters, and the site file for it."""
    plan = parse_site(virtual_plan(name, buses=1, meters=2))
    async with VirtualSite(plan, data_dir=tmp / f"{name}-meters", clock=SystemClock()) as site:
        bus = site.gateways[f"{name}-1"]
        file = tmp / f"{name}.toml"
        file.write_text(site_toml([bus.port], meters=2, answer_ms=2000))
        yield bus, file


async def shuidian(*words: str) -> Process:
    """`shuidian gateway WORDS`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "backend.cli", "gateway", *words, cwd=ROOT, stdout=PIPE, stderr=PIPE
    )


async def said(*words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `shuidian gateway WORDS`."""
    process = await shuidian(*words)
    out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    return process.returncode or 0, out.decode(), err.decode()


def end(process: Process) -> None:
    """Leave no process behind, whatever the test came to."""
    if process.returncode is None:
        process.kill()


async def test_enrolled_by_one_command_and_run_it_reads_sells_and_ends_in_peace(
    cloud: Cloud, tmp_path: Path
) -> None:
    url, data = cloud.broker.url(GATEWAY), str(tmp_path / "box")
    code = cloud.desk.claim(group_id=7, serial="GW-1", at=cloud.clock.now())
    words = ("enrol", "--cloud", url, "--serial", "GW-1", "--data", data, "--code")
    wrong = cloud.desk.claim(group_id=7, serial="GW-2", at=cloud.clock.now())
    assert (await said(*words, wrong))[0] == 2
    assert (await said("status", "--data", data))[0] == 2, "not enrolled yet"
    exit_code, out, err = await said(*words, code)
    assert (exit_code, err) == (0, "")
    gateway = IdentityFile(Path(data)).load().keys.gateway
    assert gateway.hex() in out
    assert (await said(*words, code))[0] == 2, "a second time wants --again"
    async with a_bus(tmp_path, "a") as (bus, site_file), AsyncExitStack() as stack:
        assert (await said("check", str(site_file)))[0] == 0
        agent = await shuidian("run", "--data", data, "--site", str(site_file))
        stack.callback(end, agent)
        await cloud.until(lambda: len(cloud.meters_of(7)) == 2)
        meter = cloud.meter(gateway)
        await meter.credit(amount=Money.parse("50.00"), purchase_count=5)
        wallet = await meter.wallet()
        assert (str(wallet.remaining), wallet.purchase_count) in (("70.00", 5), ("69.99", 5))
        first = bus.meters["1"]
        assert isinstance(first, PrepaidMeter)
        assert [(sale.purchase_count, sale.amount_fen) for sale in await first.sales()] == [
            (5, 5000)
        ]
        assert (await said("run", "--data", data, "--site", str(site_file)))[0] == 2, "one a folder"
        agent.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(agent.wait(), WAIT_S) == 0
    _, out, _ = await said("status", "--data", data)
    shown = json.loads(out)
    assert (shown["line"]["state"], shown["running"], shown["backlog"]) == ("CONNECTED", False, 0)
    assert url.split("@")[0] not in out


@asynccontextmanager
async def a_box(cloud: Cloud, tmp: Path, name: str, *, group_id: int) -> AsyncIterator[bytes]:
    """An agent in this process, enrolled for a group; its wire id."""
    from workers.gateway.enrolment import enrol

    code = cloud.desk.claim(group_id=group_id, serial=name, at=cloud.clock.now())
    url, data = cloud.broker.url(GATEWAY), tmp / name
    identity = await enrol(cloud=url, code=code, serial=name, data=data, again=False)
    gateway = identity.keys.gateway
    async with a_bus(tmp, name) as (_, site_file):
        agent = Agent(
            data=data,
            site=load_site(site_file),
            connect=lambda: MqttLine(Broker.of(url), wire_id=gateway),
            pace=MachineTime(cloud.clock),
            timing=LIVELY,
        )
        task = asyncio.create_task(agent.run())
        try:
            yield gateway
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_two_groups_share_a_broker_and_nothing_else(cloud: Cloud, tmp_path: Path) -> None:
    async with (
        a_box(cloud, tmp_path, "ours", group_id=1) as ours,
        a_box(cloud, tmp_path, "theirs", group_id=2) as theirs,
    ):
        await cloud.until(lambda: len(cloud.inbox.reads) == 4)
        serials = ["230000000001", "230000000002"]
        assert sorted(cloud.meters_of(1)) == sorted(cloud.meters_of(2)) == serials
        await cloud.meter(ours).credit(amount=Money.parse("1.00"), purchase_count=5)
        assert (await cloud.meter(ours).wallet()).purchase_count == 5
        assert (await cloud.meter(theirs).wallet()).purchase_count == 4
        await cloud.meter(ours).write_prices({"peak": 9_876})
        assert (await cloud.meter(ours).prices())["peak"] == 9_876
        assert (await cloud.meter(theirs).prices())["peak"] == 6_000


async def test_it_comes_back_after_the_host_the_broker_and_the_database_were_away(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.inbox.away = True
    async with a_box(cloud, tmp_path, "a", group_id=1) as gateway:
        await commanded(cloud, gateway)
        assert not cloud.inbox.reads, "nothing is stored, so nothing is forgotten on site"
        cloud.inbox.away = False
        await cloud.until(lambda: set(cloud.meters_of(1)) == {"230000000001", "230000000002"})
        await cloud.stop()
        await cloud.start()
        await commanded(cloud, gateway)
        await asyncio.to_thread(cloud.broker.kill)
        await asyncio.to_thread(cloud.broker.restart)
        await commanded(cloud, gateway)


async def commanded(cloud: Cloud, gateway: bytes) -> None:
    """Ask a meter through the whole chain until it answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                assert (await cloud.meter(gateway).wallet()).purchase_count == 4
                return
            except Unavailable:
                await asyncio.sleep(0)
