"""Many households whose cuts and payments race: real journeys and the real worker at meters in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from backend.control.commands import Command, commands_of_meters
from backend.journeys.alarms import tend_alarms
from backend.journeys.supply_look import Looked, tend_supplies
from backend.kernel.db import unit_of_work
from backend.metering import operations as metering
from backend.metering.models import Gateway, Meter
from backend.metering.readings import store_readings
from backend.outbox.operations import claim
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.bare import BareDriver
from workers.drivers.ports import MeterSnapshot, Relay
from workers.handlers import HANDLERS
from workers.links.lane import Lane, Priority
from workers.models import meter_models

from .charged import Home, charge_due, make_home
from .world import START, World, bind_customer, make_credential, make_order, pay, reading_of

MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)  # ten o'clock in China
DAY = timedelta(days=1)
_LEASE = timedelta(minutes=1)
_WH = 83_300  # what a household uses from one round to the next: 49.98 yuan
_PAID_FEN = 5_000


class Moments(dict[str, asyncio.Event]):
    """What happened in a race, by name: others wait for it."""

    def __missing__(self, name: str) -> asyncio.Event:
        self[name] = asyncio.Event()
        return self[name]


class Switch(BareDriver):
    """A meter in memory: a register, a relay, how often it was tripped, and the moments of the race."""

    def __init__(self) -> None:
        super().__init__("in memory")
        self.total = 1_000_000
        self.closed = True
        self.trips = 0
        self.moments = Moments()

    async def read(self) -> MeterSnapshot:
        """See CanRead.read."""
        self.moments["read"].set()
        await asyncio.sleep(0)  # others go on meanwhile, as on a line
        relay = Relay.CLOSED if self.closed else Relay.OPEN
        return MeterSnapshot(self.total, b"", relay=relay)

    async def trip(self, *, until: datetime | None = None) -> None:
        """See CanSwitch.trip."""
        self.moments["written"].set()
        await asyncio.sleep(0)
        self.closed = False
        self.trips += 1
        self.moments["obeyed"].set()

    async def close(self) -> None:
        """See CanSwitch.close."""
        await asyncio.sleep(0)
        self.closed = True

    async def keep_power(self) -> None:
        """See CanSwitch.keep_power."""
        await self.close()


class _Turn:
    waited = True  # so that each command is asked for again with the bus in hand

    def __init__(self, line: Line, priority: Priority) -> None:
        self._line, self._turn = line, line.lane.turn(priority)

    async def __aenter__(self) -> Line:
        await self._turn.__aenter__()
        return self._line

    async def __aexit__(self, *failure: object) -> None:
        await self._turn.__aexit__(*failure)


async def _silence(*_: Any) -> bytes:
    return b""


@dataclass
class Line:
    """A bus with one meter; the lane is the product's own."""

    meter: Switch = field(default_factory=Switch)
    lane: Lane = field(default_factory=lambda: Lane(cast(Any, _silence)))

    def turn(self, priority: Priority) -> _Turn:
        """See Bus.turn."""
        return _Turn(self, priority)

    def wanted_before(self, priority: Priority) -> bool:
        """See Turn.wanted_before."""
        return bool(self.lane.waiting) and self.lane.waiting[0][0] < priority

    wanted_elsewhere = False

    def scripted(self, _: object) -> Switch:
        """See Turn.scripted."""
        return self.meter

    async def play(self, script: Awaitable[None]) -> None:
        """See Turn.play."""
        await script


@dataclass
class Lines:
    """The buses of a worker, a gateway each."""

    lines: dict[UUID, Line] = field(default_factory=dict)

    async def bus(self, gateway: Gateway) -> Line:
        """See Buses.bus."""
        return self.lines[gateway.id]


@dataclass
class Street:
    """Households of one group, each behind a gateway of its own."""

    world: World
    homes: list[Home]
    lines: Lines
    context: WorkerContext
    credential_id: UUID

    def switch(self, home: Home) -> Switch:
        """The meter of a household."""
        return self.lines.lines[home.meter.gateway_id].meter

    async def use_up(self) -> None:
        """Everybody uses more than there is, is warned of it, and a day goes by until office hours."""
        for home in self.homes:
            self.switch(home).total += _WH
        await self.read()
        await self.look()
        async with unit_of_work(self.world.group_id) as work:
            await work.execute(
                "UPDATE alerts_delivery SET state = 'SENT', sent_at = $1 WHERE state = 'QUEUED'",
                self.world.clock.now(),
            )
        self.world.clock.advance(DAY)
        await self.read()

    async def read(self) -> None:
        """A sweep over all, charged."""
        at = self.world.clock.now()
        readings = [
            reading_of(home.meter.id, at=at, total=self.switch(home).total, late_s=0)
            for home in self.homes
        ]
        closed = [self.switch(home).closed for home in self.homes]
        async with unit_of_work(self.world.group_id) as work:
            await store_readings(
                work,
                readings=[
                    reading._replace(relay_closed=shut)
                    for reading, shut in zip(readings, closed, strict=True)
                ],
            )
        await charge_due(self.world)

    async def look(self) -> Looked:
        """The looks of a minute, a moment later."""
        self.world.clock.advance(timedelta(seconds=1))
        group_id, at = self.world.group_id, self.world.clock.now()
        await tend_alarms(group_id=group_id, at=at)
        return await tend_supplies(group_id=group_id, models=meter_models(), at=at)

    async def newest(self) -> dict[UUID, Command]:
        """The newest command of each meter."""
        async with unit_of_work(self.world.group_id) as work:
            found = await commands_of_meters(
                work, meter_ids=[home.meter.id for home in self.homes], limit=1
            )
        return {meter_id: told[0] for meter_id, told in found.items() if told}

    async def serve(self, command: Command) -> None:
        """A worker serves a command."""
        await HANDLERS["command.due"](
            self.context, self.world.group_id, {"command_id": str(command.id)}
        )

    async def pay(self, home: Home) -> None:
        """A household pays at its phone, and its notice is settled."""
        order = await make_order(
            self.world,
            credential_id=self.credential_id,
            amount_fen=_PAID_FEN,
            account=home.account,
            assignment=home.assignment,
        )
        self.switch(home).moments["ordered"].set()
        await pay(self.world, order)
        self.switch(home).moments["paid"].set()

    async def hear(self, home: Home) -> None:
        """The bell of a payment is heard at once."""
        await self._do("supply.due", {"purse": str(home.account.id)})

    async def ring(self) -> int:
        """Workers do all that was rung for of supplies and commands, at the same time; how much it was."""
        async with unit_of_work(self.world.group_id) as work:
            events = await claim(work, at=self.world.clock.now(), lease=_LEASE, limit=5_000)
        mine = [each for each in events if each.topic in ("supply.due", "command.due")]
        await asyncio.gather(*(self._do(each.topic, dict(each.payload)) for each in mine))
        return len(mine)

    async def _do(self, topic: str, payload: Mapping[str, str]) -> None:
        await HANDLERS[topic](self.context, self.world.group_id, payload)


async def make_street(world: World, *, homes: int) -> Street:
    """So many households with a CLOUD meter each, on a clock that stands on a Monday morning."""
    lines, made = Lines(), []
    for number in range(homes):
        home = await make_home(world, no=str(310_001 + number))
        async with unit_of_work(world.group_id) as work:
            gateway = await metering.add_gateway(
                work,
                scope=world.scope,
                project_id=world.project.id,
                serial=f"R-{number:04d}",
                name=f"house {number}",
                address="127.0.0.1:1",
                at=START,
            )
            await work.execute(
                "UPDATE metering_meter SET gateway_id = $2, profile = 'GENERIC-645-2007',"
                " bus_address = $3 WHERE id = $1",
                home.meter.id,
                gateway.id,
                f"{number:012d}",
            )
            home.meter = await Meter.get(id=home.meter.id)
        await home.pay("10")
        await bind_customer(replace(world, account=home.account), external_id=f"o-{number}")
        lines.lines[gateway.id] = Line()
        made.append(home)
    world.clock.instant = MONDAY
    context = WorkerContext(world.ports, cast(Buses, lines))
    return Street(world, made, lines, context, await make_credential(world))
