"""A meter of each of two groups on a real socket, a worker's context, and an ear on every write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from backend.audit.queries import AuditEntry, entries
from backend.control.command_rules import CommandKind, Given
from backend.control.command_steps import Writing
from backend.control.commands import Command, command, commands_of_meters
from backend.journeys import serve_command as journey
from backend.journeys.command import command_meter
from backend.kernel.band_calendar import Calendar
from backend.kernel.clock import SetClock
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.metering import operations as metering
from backend.metering.models import Meter
from backend.outbox.operations import Event, claim
from backend.sandbox.embedded.services import EmbeddedServices
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.command import command_due
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.models import meter_models
from workers.virtual import rtu
from workers.virtual.gateway import VirtualGateway
from workers.virtual.prepaid import PrepaidMeter
from workers.virtual.site import VirtualSite, parse_site

from .world import START, World

VALVE = "33780011223344"
ELECTRIC = "230000000645"
CLOUD = "230000000646"  # holds no money and draws nothing; 1,003 kWh on its register
WHY = "a test of it"
LEASE = timedelta(seconds=30)


@dataclass
class Ear:
    """Hears every write to a Modbus meter, by its unit in `heard`, and can make the next ones go wrong:
    `lost` never arrive, `refused` are refused, `idle` are acknowledged and not obeyed; what is
    `stalled` acts, says so by `acted`, and is never answered."""

    heard: list[int] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    idle: int = 0
    stalled: int = 0
    acted: asyncio.Event = field(default_factory=asyncio.Event)

    def put_on(self, meter: PrepaidMeter) -> None:
        """Listen at `meter`."""
        answer = meter.answer

        async def hear(request: bytes, /) -> bytes | None:
            if not rtu.RTU.writes(request):
                return await answer(request)
            self.heard.append(request[0])
            if self.lost:
                self.lost -= 1
                return None
            if self.refused:
                self.refused -= 1
                return rtu.refusal(request, rtu.ILLEGAL_VALUE)
            if self.idle:
                self.idle -= 1
                return rtu.write_answer(request)
            said = await answer(request)
            if self.stalled:
                self.stalled -= 1
                self.acted.set()
                return None
            return said

        meter.answer = hear  # type: ignore[method-assign] # an ear at the meter, not another meter


@dataclass
class Post:
    """One group's meters at work: unit 1 holds 20 yuan, unit 2 nothing; on the same bus are a
    valve and a DL/T 645 meter."""

    world: World
    context: WorkerContext
    gateway: VirtualGateway
    ear: Ear

    @property
    def clock(self) -> SetClock:
        """The one clock of cloud and meters."""
        return self.world.clock

    def meter(self, unit: int = 1) -> PrepaidMeter:
        """The virtual meter at a unit."""
        found = self.gateway.meters[str(unit)]
        assert isinstance(found, PrepaidMeter)
        return found

    @property
    def closed(self) -> bool:
        """The relay of unit 1, by the meter's own memory."""
        return self.meter().state().closed

    async def ask(
        self,
        kind: CommandKind,
        *,
        meter: Meter | None = None,
        scope: Scope | None = None,
        prices: list[tuple[str, Money]] | None = None,
        thresholds: dict[str, int] | None = None,
        calendar: Calendar | None = None,
        reason: str = WHY,
    ) -> Command:
        """An operator asks for a command."""
        return await command_meter(
            scope=scope or self.world.scope,
            meter_id=(meter or self.world.meter).id,
            kind=kind,
            reason=reason,
            given=Given(prices or (), thresholds or {}, calendar),
            models=meter_models(),
            at=self.clock.now(),
        )

    async def serve(self, asked: Command | UUID) -> datetime | None:
        """A worker serves it once; gives when it wants to look again."""
        command_id = asked.id if isinstance(asked, Command) else asked
        return await self.go({"command_id": str(command_id)})

    async def go(self, payload: Mapping[str, str]) -> datetime | None:
        """A worker serves what an event is of."""
        return await command_due(self.context, self.world.group_id, payload)

    async def announce(self, asked: Command) -> None:
        """What a worker commits right before a write: the relay was closed."""
        at, group_id = self.clock.now(), self.world.group_id
        (taken,) = await journey.take(group_id=group_id, command_ids=[asked.id], at=at)
        assert taken is not None
        write = Writing(asked.id, taken.command.writes, relay_closed=True, at=at)
        assert await journey.about_to_write(group_id=group_id, writes=[write]) != [None]

    async def audited(self, action: str) -> Sequence[AuditEntry]:
        """The group's newest audit entries of an action, newest first."""
        async with unit_of_work(self.world.group_id) as work:
            found = await entries(work, before_seq=None, limit=100)
        return [entry for entry in found if entry.action == action]

    async def now(self, asked: Command) -> Command:
        """The command as it is now."""
        async with unit_of_work(self.world.group_id) as work:
            return await command(work, scope=self.world.scope, command_id=asked.id)

    async def done(self, kind: CommandKind, **given: Any) -> Command:
        """Ask, serve, and give what became of it."""
        asked = await self.ask(kind, **given)
        await self.serve(asked)
        return await self.now(asked)

    async def all(self) -> list[Command]:
        """The newest commands of unit 1."""
        meter_id = self.world.meter.id
        async with unit_of_work(self.world.group_id) as work:
            found = await commands_of_meters(work, meter_ids=[meter_id], limit=100)
        return found[meter_id]

    async def due(self, at: datetime | None = None) -> list[Event]:
        """The events of commands that are due, leased now."""
        async with unit_of_work(self.world.group_id) as work:
            events = await claim(work, at=at or self.clock.now(), lease=LEASE, limit=100)
        return [event for event in events if event.topic == "command.due"]

    async def add_meter(self, *, model: str, bus_address: str) -> Meter:
        """Register one more meter on the gateway."""
        async with unit_of_work(self.world.group_id) as work:
            return await metering.add_meter(
                work,
                scope=self.world.scope,
                gateway=self.world.gateway,
                serial=f"METER-{bus_address}",
                model=meter_models()[model],
                bus_address=bus_address,
                at=START,
            )


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; fails the test when that takes ten seconds."""
    async with asyncio.timeout(10):
        while not await ask():
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.01)


def _plan(serial: str) -> dict[str, Any]:
    meters: list[dict[str, Any]] = [
        {"serial": f"{serial}-{unit}", "unit": unit, "remaining": remaining, "average_w": 0}
        for unit, remaining in ((1, "20.00"), (2, "0"))
    ]
    valve = {"serial": f"{serial}-{VALVE}", "address": VALVE, "model": "JICHENG-188-VALVE"}
    old = {"serial": f"{serial}-{ELECTRIC}", "address": ELECTRIC, "model": "GENERIC-645-2007"}
    cloud = {
        "serial": f"{serial}-{CLOUD}",
        "address": CLOUD,
        "model": "GENERIC-645-2007",
        "energy": "1003.000",
        "power_w": 0,
        "prepaid": False,
    }
    return {"serial": serial, "meters": [*meters, valve, old, cloud]}


@asynccontextmanager
async def posts(
    worlds: tuple[World, World], services: EmbeddedServices, folder: Path
) -> AsyncIterator[tuple[Post, Post]]:
    """A gateway with the same meters for each group, and a worker's context on one clock."""
    clock = worlds[0].clock
    worlds[1].clock = clock
    plan = {"gateways": [_plan(world.code) for world in worlds]}
    lease = BusLease(services.app_dsn())
    buses = Buses(lease, access=Access(clock=clock))
    made: list[Post] = []
    async with VirtualSite(parse_site(plan), data_dir=folder, clock=clock) as site:
        for world in worlds:
            gateway, ear = site.gateways[world.code], Ear()
            async with unit_of_work(world.group_id) as work:
                world.gateway = await metering.move_gateway(
                    work,
                    scope=world.scope,
                    serial=world.gateway.serial,
                    address=f"127.0.0.1:{gateway.port}",
                    at=START,
                )
            post = Post(world, WorkerContext(world.ports, buses), gateway, ear)
            for unit in (1, 2):
                ear.put_on(post.meter(unit))
            made.append(post)
        try:
            yield made[0], made[1]
        finally:
            await buses.close()
