"""What tests of alarms do: a look a minute, meters that say what they hold, what stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from backend.alerts.alarm_queries import Wanted, alarms_page
from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import Alarm
from backend.journeys.alarms import Looked, tend_alarms
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.metering.readings import Reading, store_readings

from .charged import Home
from .world import World, bind_customer, reading_of

MINUTE = timedelta(minutes=1)
NOTHING = Looked(0, 0)


async def look(world: World) -> Looked:
    """The look of a minute, a minute later."""
    world.clock.advance(MINUTE)
    return await tend_alarms(group_id=world.group_id, at=world.clock.now())


async def alarms(world: World, *, live: bool = True) -> list[Alarm]:
    """Of the world's project, oldest first."""
    async with unit_of_work(world.group_id) as work:
        found = await alarms_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            wanted=Wanted(live=live),
            before=None,
            limit=1_000,
        )
    return found[::-1]


async def kinds(world: World) -> set[AlarmKind]:
    """What stands in the world's project."""
    return {alarm.kind for alarm in await alarms(world)}


async def bound(home: Home, openid: str = "o-zhang") -> Home:
    """The home with a customer bound to its account."""
    await bind_customer(replace(home.world, account=home.account), external_id=openid)
    return home


async def read(world: World, *readings: Reading) -> None:
    """Readings are stored."""
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=readings)


async def holds(world: World, yuan: str, **registers: int) -> None:
    """The world's meter says how much money it holds."""
    world.clock.advance(MINUTE)
    hao = Money.parse(yuan).hao
    at = world.clock.now()
    await read(world, reading_of(world.meter.id, at=at, remaining_hao=hao, **registers))
