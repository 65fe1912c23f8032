"""An operator's settings on their whole way: worker, inner door, host, broker, a box with a serial line,
a meter, and back; for a group each."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.control.command_rules import CommandKind, CommandState, Given
from backend.control.commands import Command, command
from backend.journeys.command import command_meter
from backend.journeys.gateway_keys import make_claim
from backend.kernel.band_calendar import Calendar, DaySlot, YearZone
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.metering.models import Meter
from backend.sandbox.embedded.broker import CLOUD, GATEWAY
from backend.sandbox.embedded.services import EmbeddedServices
from backend.uplink.message import SETTINGS_VERSION, Op
from tests.integration.dialin.yard import Told
from tests.integration.sealed import desk_at, make_sealed
from tests.integration.world import World
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.command import command_due
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.gateway import deeds
from workers.gateway.agent import Agent
from workers.gateway.enrolment import enrol
from workers.gateway.pace import MachineTime
from workers.gateway.site import load_site
from workers.gateway.talk import TalkTiming
from workers.links.dialin.line import Lines
from workers.links.door import Door, DoorAddress
from workers.links.mqtt import Broker, MqttLine, MqttTrunk
from workers.models import meter_models
from workers.uplink_host import UplinkHost
from workers.uplink_inbox import UplinkRecords
from workers.virtual.prepaid import PrepaidMeter
from workers.virtual.site import VirtualSite, parse_site

from .box import until
from .conftest import FAST
from .test_uplink_inbox import add_meter

QUICK = TalkTiming(welcome_s=2.0, stored_s=2.0, gather_s=0.0, ping_s=1.0, rate_per_s=1e6)
HOURS = Calendar((YearZone(1, 1, 1),), ((DaySlot(0, "valley"), DaySlot(480, "peak")),))
PRICES = [("spike", Money.parse("1.2")), ("peak", Money.parse("0.9876"))]


@dataclass
class Owner:
    """A group with a box of its own, and the worker that serves it."""

    world: World
    meter: Meter
    virtual: PrepaidMeter
    agent: Agent
    context: WorkerContext

    async def done(self, kind: CommandKind, **given: Any) -> Command:
        """Ask, serve, and give what became of it."""
        asked = await command_meter(
            scope=self.world.scope,
            meter_id=self.meter.id,
            kind=kind,
            reason="a test of it",
            given=Given(**given),
            models=meter_models(),
            at=self.world.clock.now(),
        )
        await command_due(self.context, self.world.group_id, {"command_id": str(asked.id)})
        async with unit_of_work(self.world.group_id) as work:
            return await command(work, scope=self.world.scope, command_id=asked.id)


@asynccontextmanager
async def owner(
    world: World, services: EmbeddedServices, door: DoorAddress, folder: Path
) -> AsyncIterator[Owner]:
    """A box that an installer has put up for the group, with one meter on its serial line."""
    gateway = await make_sealed(world)
    meter = await add_meter(world, gateway, serial="M-SEALED", model="DDSY1352-NK")
    made = await make_claim(world.ports, scope=world.scope, gateway_id=gateway.id)
    data, url = folder / world.code, services.broker.url(GATEWAY)
    identity = await enrol(cloud=url, code=made.code, serial=gateway.serial, data=data, again=False)
    plan = {"serial": "L", "serial_line": True, "meters": [{"serial": "V", "unit": 7}]}
    async with AsyncExitStack() as stack:
        virtual = VirtualSite(
            parse_site({"gateways": [plan]}), data_dir=folder / f"{world.code}-v", clock=world.clock
        )
        site = await stack.enter_async_context(virtual)
        file = folder / f"{world.code}.toml"
        file.write_text(
            f'[[buses]]\nnumber = 1\ndevice = "{site.lines["L"].path}"\n'
            '[[meters]]\nserial = "M-SEALED"\nmodel = "DDSY1352-NK"\nbus = 1\naddress = "7"\n'
        )
        agent = Agent(
            data=data,
            site=load_site(file),
            connect=lambda: MqttLine(Broker.of(url), wire_id=identity.keys.gateway),
            pace=MachineTime(world.clock),
            timing=QUICK,
        )
        running = asyncio.create_task(agent.run())
        stack.push_async_callback(_ended, running)
        await until(lambda: agent.board.line == "CONNECTED")
        lease = BusLease(services.app_dsn())
        buses = Buses(lease, access=Access(clock=world.clock), door=door)
        stack.push_async_callback(buses.close)
        found = site.gateways["L"].meters["7"]
        assert isinstance(found, PrepaidMeter)
        yield Owner(world, meter, found, agent, WorkerContext(world.ports, buses))


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def owners(
    worlds: tuple[World, World], services: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[tuple[Owner, Owner]]:
    """Both groups' boxes on one broker, one host and one door, by one clock."""
    worlds[1].clock = worlds[0].clock
    desk = desk_at(services.app_dsn())
    host = UplinkHost(
        trunk=MqttTrunk(Broker.of(services.broker.url(CLOUD))),
        desk=desk,
        inbox=UplinkRecords(desk),
        clock=worlds[0].clock,
        tempo=FAST,
    )
    token = secrets.token_hex(16)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_ended, asyncio.create_task(host.run()))
        await host.connected.wait()
        door = Door(token=token, lines=Lines(watch=Told()), command=host.answer)
        await door.start("127.0.0.1", 0)
        stack.push_async_callback(door.stop)
        address = DoorAddress("127.0.0.1", door.port, token)
        ours, theirs = [
            await stack.enter_async_context(owner(world, services, address, tmp_path))
            for world in worlds
        ]
        yield ours, theirs


async def test_what_an_operator_sets_is_in_the_meter_and_read_back_and_in_no_other_groups(
    owners: tuple[Owner, Owner],
) -> None:
    ours, theirs = owners
    before = theirs.virtual.state().settings
    done = await ours.done(CommandKind.PRICES, prices=PRICES)
    assert (done.state, done.writes) == (CommandState.VERIFIED, 1)
    assert ours.virtual.state().settings.prices[:2] == (12_000, 9_876)
    done = await ours.done(CommandKind.THRESHOLDS, thresholds={"alarm1": 150_000})
    assert (done.state, done.outcome) == (CommandState.VERIFIED, "the meter holds what was ordered")
    assert ours.virtual.state().settings.alarm1_fen == 1_500
    done = await ours.done(CommandKind.CALENDAR, calendar=HOURS)
    assert (done.state, done.outcome) == (CommandState.VERIFIED, "the meter holds what was ordered")
    assert ours.virtual.state().settings.tables[0].startswith(bytes((4, 0, 0, 2, 0, 8)))
    done = await ours.done(CommandKind.SYNC_CLOCK)
    assert done.state is CommandState.VERIFIED
    assert theirs.virtual.state().settings == before
    done = await theirs.done(CommandKind.PRICES, prices=[("peak", Money.parse("2"))])
    assert done.state is CommandState.VERIFIED
    assert theirs.virtual.state().settings.prices[1] == 20_000
    assert ours.virtual.state().settings.prices[1] == 9_876


async def test_a_box_of_an_older_version_fails_the_command_with_words_for_the_operator(
    owners: tuple[Owner, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = owners
    monkeypatch.setattr(deeds, "KNOWN_VERSIONS", ())
    done = await ours.done(CommandKind.PRICES, prices=PRICES)
    assert (done.state, done.writes) == (CommandState.FAILED, 0)
    assert "the gateway's software is too old to carry settings: update it" in (done.outcome or "")
    rows = await ours.agent.database.run(
        lambda connection: connection.execute("select op from command").fetchall()
    )
    assert [op for (op,) in rows] == [Op.TARIFF], "nothing that such a box could not read"


async def test_a_box_that_came_before_calendars_says_so_and_still_carries_prices(
    owners: tuple[Owner, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = owners
    monkeypatch.setattr(deeds, "KNOWN_VERSIONS", (SETTINGS_VERSION,))
    done = await ours.done(CommandKind.CALENDAR, calendar=HOURS)
    assert (done.state, done.writes) == (CommandState.FAILED, 0)
    assert "the gateway's software is too old to carry a calendar" in (done.outcome or "")
    done = await ours.done(CommandKind.PRICES, prices=PRICES)
    assert done.state is CommandState.VERIFIED
