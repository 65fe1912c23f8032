"""Roll-ups are what the readings say, whatever way the readings came; history shows packed days too."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from backend.kernel.clock import CHINA, Period
from backend.kernel.db import unit_of_work
from backend.kernel.ids import uuid7
from backend.metering.models import MeterAssignment
from backend.metering.queries import recent_readings
from backend.metering.readings import Reading, store_readings
from backend.metering.retention import pack_some
from backend.metering.rollups import Use, roll_up, use_by_day, use_by_hour

from .rolled import rolled
from .world import START, World, reading_of

HALF_HOUR = timedelta(minutes=30)
DAY = timedelta(days=1)
FIRST, LAST = date(2026, 10, 1), date(2026, 12, 31)
NEW_YORK = ZoneInfo("America/New_York")
FALL_BACK = datetime(2026, 10, 31, tzinfo=UTC)  # the day after has 25 hours there
PAUSE = timedelta(hours=1)


async def store(world: World, readings: Sequence[Reading]) -> int:
    """Store a batch; returns how many were new."""
    async with unit_of_work(world.group_id) as work:
        return await store_readings(work, readings=readings)


async def roll(world: World, *, until: datetime = START + 60 * DAY) -> int:
    """Roll up all that was touched; returns how many meter-days were computed."""
    computed = 0
    while True:
        async with unit_of_work(world.group_id) as work:
            some = await roll_up(work, until=until, gateways=1)
        if not some.batches:
            return computed
        computed += some.meter_days


async def pack(world: World, day: date) -> int:
    """Pack a UTC day of all meters of the group."""
    packed, after = 0, None
    while True:
        async with unit_of_work(world.group_id) as work:
            some, after = await pack_some(work, day=day, after=after)
        packed += some
        if after is None:
            return packed


async def shown(world: World) -> tuple[list[Use], list[Use]]:
    """The days and the hours of the world's meter."""
    meter_id = world.meter.id
    async with unit_of_work(world.group_id) as work:
        days = await use_by_day(work, meter_id=meter_id, first=FIRST, last=LAST)
        hours = await use_by_hour(work, meter_id=meter_id, first=FIRST, last=LAST)
    return days, hours


async def expected(
    world: World, readings: Sequence[Reading], zone: ZoneInfo
) -> tuple[list[Use], list[Use]]:
    """What `shown` must be when just `readings` were stored."""
    async with unit_of_work(world.group_id) as work:
        held = await MeterAssignment.filter(group_id=work.group_id, meter_id=world.meter.id)
    days, hours = rolled(readings, held, pause=PAUSE, zone=zone)
    return days, hours


async def all_readings(world: World, *, limit: int = 10_000) -> list[Reading]:
    """The history of the world's meter, newest first."""
    async with unit_of_work(world.group_id) as work:
        span = Period(START - 60 * DAY, START + 60 * DAY)
        return await recent_readings(work, meter_id=world.meter.id, period=span, limit=limit)


def some_days(
    dice: random.Random, meter_id: UUID, *, start: datetime = START, days: int = 5
) -> list[Reading]:
    """Readings of a meter some time a half hour: pauses, bands now and then missing, and once its
    total goes back."""
    made: list[Reading] = []
    total, cold = dice.randrange(10**9), dice.randrange(10**6)
    bands = {"peak": dice.randrange(10**8), "flat": dice.randrange(10**8), "valley": 0}
    at = start - timedelta(hours=dice.randrange(1, 8))
    set_back = dice.randrange(days * 40)
    while at < start + days * DAY:
        at += HALF_HOUR + timedelta(microseconds=dice.randrange(90_000_000))
        if dice.random() < 0.06:
            at += timedelta(hours=dice.choice([1, 2, 9, 30]))
        if dice.random() < 0.02:  # just at a business day's midnight
            at = at.replace(hour=16, minute=0, second=0, microsecond=0) + DAY
        used = dice.choice([0, 0, 17, 250, 4000])
        total += -3000 if len(made) == set_back else used
        bands[dice.choice(list(bands))] += used
        cold += used // 7
        made.append(
            Reading(
                meter_id=meter_id,
                at=at,
                received_at=at + timedelta(seconds=dice.randrange(5)),
                meter_clock=None if dice.random() < 0.3 else at.replace(microsecond=0),
                total=max(total, 0),
                remaining_hao=None if dice.random() < 0.2 else -total,
                purchase_no=dice.choice([None, 3, 4]),
                relay_closed=dice.choice([None, True, False]),
                voltage_mv=dice.choice([None, 219_900, 231_000]),
                current_ma=dice.choice([None, 12, 5000]),
                power_w=dice.choice([None, -5, 2, 1700]),
                bands={} if dice.random() < 0.2 else dict(bands),
                cold_wh=None if dice.random() < 0.5 else cold,
            )
        )
    return made


async def hand_over(world: World, *, at: datetime, total: int, then: datetime | None) -> None:
    """The account leaves the meter at `at`; the next one gets it at `then`."""
    async with unit_of_work(world.group_id) as work:
        await MeterAssignment.filter(group_id=work.group_id, id=world.assignment.id).update(
            ended_at=at, closing_total=total
        )
        if then is not None:
            await MeterAssignment.create(
                id=uuid7(then),
                group_id=world.group_id,
                project_id=world.project.id,
                meter_id=world.meter.id,
                account_id=world.account.id,
                counter_epoch=2,
                started_at=then,
                opening_total=total,
                opening_purchase_no=0,
                last_purchase_no=0,
            )


async def move(world: World, zone: ZoneInfo) -> None:
    """Let the world's project lie in another zone."""
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE tenancy_project SET time_zone = $1", zone.key)


@pytest.mark.parametrize(
    ("seed", "zone", "start"),
    [
        *((seed, CHINA, START) for seed in range(8)),
        *((seed, NEW_YORK, START) for seed in (9, 10)),
        *((seed, NEW_YORK, FALL_BACK) for seed in (12, 14)),
    ],
)
async def test_roll_ups_are_what_the_readings_say_whatever_way_they_came(
    worlds: tuple[World, World], seed: int, zone: ZoneInfo, start: datetime
) -> None:
    dice = random.Random(seed)
    stories = {}
    for world in worlds:
        await move(world, zone)
        made = some_days(dice, world.meter.id, start=start)
        stories[world.code] = made
        if seed % 2:
            left = dice.choice(made[10:-10])
            pause = timedelta(minutes=dice.choice([0, 7, 3000]))
            again = left.at + pause if seed % 4 == 1 else None
            await hand_over(world, at=left.at, total=left.total + 5, then=again)
    for world in worlds:
        made = stories[world.code]
        rest, stored = list(made), dict[datetime, Reading]()
        dice.shuffle(rest)
        while rest:
            count = dice.choice([1, 2, 9, 40])
            batch, rest = rest[:count], rest[count:]
            known = batch[:1] + list(stored.values())
            new = await store(world, [*batch, dice.choice(known)])
            assert new == len(batch)
            stored |= {reading.at: reading for reading in batch}
            if dice.random() < 0.3:
                await roll(world, until=start + dice.randrange(7) * DAY)
            if dice.random() < 0.2:
                await pack(world, (start + dice.randrange(5) * DAY).date())
            if dice.random() < 0.2:
                await agree(world, list(stored.values()), zone)
        await agree(world, made, zone)
        await roll(world)
        await agree(world, made, zone)
    for world in worlds:
        made = stories[world.code]
        assert await all_readings(world) == sorted(made, key=lambda r: r.at, reverse=True)


async def agree(world: World, stored: Sequence[Reading], zone: ZoneInfo) -> None:
    """What is shown is what was stored, whether it is rolled up, packed or neither."""
    for found, wanted in zip(await shown(world), await expected(world, stored, zone), strict=True):
        assert [use for use in found if use not in wanted] == []
        assert [use for use in wanted if use not in found] == []
        assert found == wanted


async def test_the_next_day_opens_where_a_late_reading_closes_the_day_before(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    noons = [
        reading_of(world.meter.id, at=START + n * DAY, total=1000 * n)
        for world in worlds
        for n in (1, 2, 5, 6)
    ]
    for world in worlds:
        await store(world, [each for each in noons if each.meter_id == world.meter.id])
        await roll(world)
    late = reading_of(ours.meter.id, at=START + 2 * DAY + 9 * HALF_HOUR, total=2400)
    await store(ours, [late])
    await roll(ours)
    for world, opening in ((ours, 2400), (theirs, 2000)):
        days = {use.day.day: use for use in (await shown(world))[0]}
        assert (days[24].closing, days[27].opening, days[27].used) == (
            opening,
            opening,
            5000 - opening,
        )
        assert (days[28].opening, days[28].used) == (5000, 1000)
