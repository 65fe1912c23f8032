"""Readings: stored once, late ones too, and the latest state never moves back (C24)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from backend.kernel.clock import Period
from backend.kernel.db import unit_of_work
from backend.kernel.migrate import migrate
from backend.metering.queries import meters_of_accounts, recent_readings, use
from backend.metering.readings import Reading, store_readings
from backend.sandbox.embedded.services import EmbeddedServices

from .catalogue import Connection
from .world import START, World, make_account, make_meter, new_id, reading_of

HALF_HOUR = timedelta(minutes=30)


async def store(world: World, *readings: Reading) -> int:
    """Store a batch; returns how many were new."""
    async with unit_of_work(world.group_id) as work:
        return await store_readings(work, readings=readings)


def at(world: World, half_hours: int, *, total: int | None = None) -> Reading:
    """A reading of the world's meter some half hours after the start."""
    energy = 1000 * half_hours if total is None else total
    return reading_of(world.meter.id, at=START + half_hours * HALF_HOUR, total=energy)


async def latest(world: World) -> Reading | None:
    """The latest state of the world's meter."""
    async with unit_of_work(world.group_id) as work:
        found = await meters_of_accounts(work, account_ids=[world.account.id])
    return found[world.account.id][0].latest


async def stored(world: World) -> list[Reading]:
    """All readings of the world's meter, newest first."""
    async with unit_of_work(world.group_id) as work:
        span = Period(START - timedelta(days=90), START + timedelta(days=90))
        return await recent_readings(work, meter_id=world.meter.id, period=span, limit=1000)


async def test_a_reading_comes_back_as_it_was_stored(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    whole = reading_of(
        ours.meter.id, at=START, total=12_345_678, remaining_hao=-45_000, purchase_no=7
    )
    bare = Reading(
        ours.meter.id,
        START + HALF_HOUR,
        START + HALF_HOUR,
        None,
        5,
        None,
        None,
        None,
        None,
        None,
        None,
    )
    assert await store(ours, whole, bare) == 2
    assert await stored(ours) == [bare, whole]
    assert await latest(ours) == bare
    assert await stored(theirs) == []
    assert await latest(theirs) is None


async def test_the_same_reading_again_changes_nothing(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    first = at(ours, 1)
    assert await store(ours, first, first) == 1
    assert await store(ours, first) == 0
    changed = at(ours, 1, total=999_999)
    assert await store(ours, changed, at(ours, 2)) == 1
    assert [reading.total for reading in await stored(ours)] == [2000, 1000]
    assert await store(ours) == 0


async def test_a_late_reading_is_stored_and_does_not_move_the_latest_back(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await store(ours, at(ours, 4))
    assert await store(ours, at(ours, 2), at(ours, 1)) == 2
    assert await latest(ours) == at(ours, 4)
    assert await store(ours, at(ours, 3), at(ours, 5), at(ours, 0)) == 3
    assert await latest(ours) == at(ours, 5)
    assert len(await stored(ours)) == 6


async def test_twenty_sweeps_at_once_keep_every_reading_and_the_newest_state(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    batches = [[at(world, n + k) for k in range(5)] for n in range(20) for world in worlds]
    owners = [world for _ in range(20) for world in worlds]
    await asyncio.gather(
        *(store(world, *batch) for world, batch in zip(owners, batches, strict=True))
    )
    for world in (ours, theirs):
        assert len(await stored(world)) == 24
        assert await latest(world) == at(world, 23)


async def test_a_gateways_batch_of_many_meters_is_one_copy(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    meters = [ours.meter]
    for number in range(2, 12):
        account = await make_account(ours, no=f"1000{number:02d}")
        meter, _ = await make_meter(
            ours, serial=f"M-{number:04d}", bus_address=number, account=account
        )
        meters.append(meter)
    batch = [
        reading_of(meter.id, at=START + n * HALF_HOUR, total=n)
        for meter in meters
        for n in range(48)
    ]
    async with unit_of_work(ours.group_id) as work:
        assert await store_readings(work, readings=batch[:300]) == 300
        assert await store_readings(work, readings=batch) == len(batch) - 300
        rows = await work.fetch("SELECT total FROM metering_latest")
        left = await work.fetchval("SELECT count(*) FROM metering_reading")
    assert [row["total"] for row in rows] == [47] * 11
    assert left == 11 * 48
    async with unit_of_work(ours.group_id) as work:  # nothing of the batch stays on the connection
        assert await store_readings(work, readings=batch) == 0


async def test_two_batches_in_one_unit_of_work_are_stored_once_each(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    async with unit_of_work(ours.group_id) as work:
        assert await store_readings(work, readings=[at(ours, 1)]) == 1
        assert await store_readings(work, readings=[at(ours, 2)]) == 1
        assert await store_readings(work, readings=[at(ours, 1), at(ours, 3)]) == 1
    assert await stored(ours) == [at(ours, 3), at(ours, 2), at(ours, 1)]
    assert await latest(ours) == at(ours, 3)


async def test_a_reading_for_another_groups_meter_is_refused(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await store(ours, at(theirs, 1))
    assert await stored(ours) == await stored(theirs) == []


async def test_use_is_the_difference_of_the_readings_at_both_ends(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await store(ours, *(at(ours, n) for n in (0, 2, 3, 6)))

    async def used(first: int, last: int) -> int | None:
        span = Period(START + first * HALF_HOUR, START + last * HALF_HOUR)
        async with unit_of_work(ours.group_id) as work:
            return await use(work, meter_id=ours.meter.id, period=span)

    assert await used(0, 7) == 6000
    assert await used(1, 4) == 3000  # from the reading before, at 0
    assert await used(-9, 3) == 2000  # the end is not inside
    assert await used(-9, -1) is None


async def test_a_day_gets_its_partition_once_by_whoever_needs_it_first(
    worlds: tuple[World, World], app: Connection
) -> None:
    midnight = datetime(2027, 1, 1, tzinfo=UTC)
    batches = [
        (world, reading_of(world.meter.id, at=midnight + n * HALF_HOUR))
        for n in (-1, 0, 1)
        for world in worlds
    ]
    stored = await asyncio.gather(*(store(world, reading) for world, reading in batches))
    assert stored == [1] * 6
    for name, instant in (
        ("metering_reading_20261231", midnight - HALF_HOUR),
        ("metering_reading_20270101", midnight),
    ):
        assert not await app.fetchval("SELECT has_table_privilege($1, 'SELECT')", name)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.fetch(f"SELECT * FROM {name}")
        async with unit_of_work(worlds[0].group_id) as work:
            where = await work.fetchval(
                "SELECT tableoid::regclass::text FROM metering_reading WHERE at = $1", instant
            )
        assert where == name


@pytest.mark.parametrize(
    ("day", "months"),
    [
        (datetime(2031, 1, 31, tzinfo=UTC), ("203012", "203101", "203102")),
        (datetime(2032, 12, 31, tzinfo=UTC), ("203211", "203212", "203301")),
    ],
)
async def test_migrating_makes_the_partitions_that_the_days_around_need(
    services: EmbeddedServices, owner: Connection, day: datetime, months: tuple[str, ...]
) -> None:
    assert await migrate(services.owner_dsn(), at=day) == []  # nothing to apply: it is idempotent
    days = [f"metering_reading_{day + timedelta(days=n):%Y%m%d}" for n in range(-3, 8)]
    kept_long = ("metering_packed", "metering_day", "metering_hours")
    for name in [*days, *(f"{table}_{month}" for month in months for table in kept_long)]:
        assert await owner.fetchval("SELECT to_regclass($1) IS NOT NULL", name), name


async def test_not_even_a_bare_insert_can_store_a_reading_of_a_meter_that_is_not_there(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for meter_id in (theirs.meter.id, new_id()):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with unit_of_work(ours.group_id) as work:
                await work.execute(
                    "INSERT INTO metering_reading (group_id, meter_id, at, received_at, total)"
                    " SELECT $1, m, $3, $3, 1 FROM unnest(ARRAY[$2, $4]::uuid[]) AS m",
                    ours.group_id,
                    meter_id,
                    START,
                    ours.meter.id,
                )
