"""Four weeks of a shop that works like an office, at a meter that holds money and at one whose money is in
the cloud: 1 kWh an hour from 8 to 18 on working days, 0.1 kWh in every other hour, 0.60 yuan a kWh."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from backend.journeys.watch import roll_up_history
from backend.kernel.clock import CHINA
from backend.kernel.db import unit_of_work
from backend.metering.readings import store_readings

from .charged import Home, make_home
from .priced import priced
from .world import World, reading_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONDAY = datetime(2026, 11, 22, 16, tzinfo=UTC)  # the midnight that begins Monday the 23rd
NINE = MONDAY + 28 * DAY + 9 * HOUR  # Monday, December 21st, 09:00
BUSY, QUIET = 1_000, 100  # Wh an hour


def used_in(hour: datetime) -> int:
    """What is used in the hour that begins then, in Wh."""
    local = hour.astimezone(CHINA)
    return BUSY if local.weekday() < 5 and 8 <= local.hour < 18 else QUIET


async def live(
    world: World,
    meters: Iterable[UUID],
    *,
    days: int = 28,
    first: int = 0,
    remaining_hao: int = 0,
    silent: Iterable[int] = (),
    percent: int = 100,
) -> None:
    """Hourly readings of meters of some days after MONDAY, rolled up, but of the days in `silent`; `percent`
    of what is used on others."""
    readings = []
    for meter_id in meters:
        total = 0
        for n in range(24 * (first + days) + 1):
            at = MONDAY + n * HOUR
            if n >= 24 * first and (n - 1) // 24 not in silent:
                reading = reading_of(
                    meter_id, at=at, total=1_000_000 + total, remaining_hao=remaining_hao
                )
                readings.append(reading)
            total += used_in(at) * (percent if n >= 24 * first else 100) // 100
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=readings)
    world.clock.instant = max(world.clock.instant, MONDAY + (first + days) * DAY + 9 * HOUR)
    await roll_up_history(group_id=world.group_id, at=world.clock.now())


async def two_shops(world: World) -> Home:
    """The world's own meter, which holds its money, and a shop whose money is in the cloud; both lived."""
    home = await make_home(world)
    await priced(world, name="Own money")
    await live(world, [world.meter.id, home.meter.id])
    return home
