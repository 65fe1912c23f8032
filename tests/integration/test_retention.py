"""Days are closed, packed and dropped, and nothing of the history is lost or shown otherwise (A8, C24).

In a database of their own: a day is dropped for all groups of a database together.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from backend.alerts.queries import cases_page
from backend.journeys.watch import roll_up_history
from backend.kernel.clock import Period
from backend.kernel.db import Database, unit_of_work
from backend.kernel.migrate import migrate
from backend.metering.operations import note_gateway
from backend.metering.packing import PackDamaged
from backend.metering.queries import recent_readings, use
from backend.metering.readings import Reading, store_readings
from backend.metering.retention import (
    METERS_AT_ONCE,
    Retention,
    days_to_close,
    drop_outlived,
    drop_raw,
    pack_some,
    prepare,
)
from backend.metering.rollups import Use, use_by_day, use_by_hour
from backend.sandbox.embedded.services import EmbeddedServices
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.housekeeping import (
    close_days,
    roll_up_histories,
    watch_all_lines,
    watch_all_meters,
)
from workers.uplink_inbox import READING_REFUSED, UplinkRecords

from .catalogue import Connection
from .rolled import rolled
from .sealed import cases_of, desk_at
from .uplink.test_uplink_inbox import doubts, read, row_for, stored
from .world import START, World, make_account, make_group, make_meter, reading_of

HALF_HOUR, DAY = timedelta(minutes=30), timedelta(days=1)
FIRST = START.date() - 8 * DAY  # of what is stored; it all lies before START


@dataclass
class Apart:
    """A database of one test."""

    services: EmbeddedServices
    name: str

    def owner_dsn(self) -> str:
        """Address as the owner."""
        return self.services.owner_dsn(self.name)

    def app_dsn(self) -> str:
        """Address as the application."""
        return self.services.app_dsn(self.name)


@pytest.fixture
async def apart(services: EmbeddedServices, unique: str) -> AsyncIterator[Apart]:
    """A migrated database that nobody else uses, open as the application role."""
    made = Apart(services, f"apart_{unique}")
    await services.prepare_database(made.name)
    await migrate(made.owner_dsn(), at=START - 9 * DAY)
    await Database.open(made.app_dsn(), pool_max=5)
    yield made
    await Database.close()
    admin = await asyncpg.connect(services.postgres.admin_dsn)
    await admin.execute(f"DROP DATABASE {made.name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def worlds(apart: Apart, unique: str) -> tuple[World, World]:
    """Two groups alike, in the database apart."""
    return await make_group(apart, f"a{unique}"), await make_group(apart, f"b{unique}")


@pytest.fixture
async def superuser(apart: Apart) -> AsyncIterator[Connection]:
    """Whom nothing binds, in the database apart."""
    base = apart.services.postgres.admin_dsn.rsplit("/", 1)[0]
    connection = await asyncpg.connect(f"{base}/{apart.name}")
    yield connection
    await connection.close()


def at(half_hours: int) -> datetime:
    """Half hours after midnight (UTC) of the first day."""
    return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + half_hours * HALF_HOUR


def week(meter_id: UUID, *, days: int = 8) -> list[Reading]:
    """A reading each half hour of the first days, its total growing by one more each time."""
    return [
        reading_of(meter_id, at=at(n), total=n * n, remaining_hao=-n, late_s=n % 3)
        for n in range(48 * days)
    ]


async def store(world: World, readings: list[Reading]) -> int:
    """Store a batch; returns how many were new."""
    async with unit_of_work(world.group_id) as work:
        return await store_readings(work, readings=readings)


async def history(
    world: World, *, meter_id: UUID | None = None, limit: int = 9999
) -> list[Reading]:
    """Newest first."""
    async with unit_of_work(world.group_id) as work:
        span = Period(datetime(2000, 1, 1, tzinfo=UTC), None)
        meter = meter_id or world.meter.id
        return await recent_readings(work, meter_id=meter, period=span, limit=limit)


async def figures(world: World) -> tuple[list[Use], list[Use]]:
    """The days and the hours of the world's meter."""
    meter, span = world.meter.id, (FIRST - DAY, FIRST + 20 * DAY)
    async with unit_of_work(world.group_id) as work:
        return (
            await use_by_day(work, meter_id=meter, first=span[0], last=span[1]),
            await use_by_hour(work, meter_id=meter, first=span[0], last=span[1]),
        )


async def close(*worlds: World, now: datetime, rolled_up: bool = True) -> list[date]:
    """What the worker does each hour; returns the days that still have raw rows to close."""
    if rolled_up:
        for world in worlds:
            await roll_up_history(group_id=world.group_id, at=now)
    worlds[0].clock.instant = now
    context = WorkerContext(
        worlds[0].ports, Buses(BusLease("postgresql://nowhere"), access=Access())
    )
    await close_days(context)
    return await days_to_close(at=now)


async def raw_rows(world: World) -> int:
    """How many rows are not packed away."""
    async with unit_of_work(world.group_id) as work:
        count: int = await work.fetchval("SELECT count(*) FROM metering_reading")
    return count


async def test_closed_days_are_packed_and_dropped_and_the_history_is_the_same(
    worlds: tuple[World, World],
) -> None:
    for world in worlds:
        await store(world, week(world.meter.id))
    now = START + timedelta(hours=1)
    before = [await history(world) for world in worlds]
    assert await close(*worlds, now=now) == []
    assert [await raw_rows(world) for world in worlds] == [3 * 48 + 0, 3 * 48 + 0]
    for world, told in zip(worlds, before, strict=True):
        assert await history(world) == told == week(world.meter.id)[::-1]
        for limit in (1, 47, 48, 49, 145, 200):
            assert await history(world, limit=limit) == told[:limit]
    async with unit_of_work(worlds[0].group_id) as work:
        meter = worlds[0].meter.id
        for start, end in ((0, 384), (5, 6), (6, 6), (47, 97), (20, 239), (230, 300), (380, 390)):
            span = Period(at(start), at(end))
            wanted = [r for r in before[0] if at(start) <= r.at < at(end)]
            found = await recent_readings(work, meter_id=meter, period=span, limit=9999)
            assert found == wanted, (start, end)
            some = await recent_readings(work, meter_id=meter, period=span, limit=60)
            assert some == wanted[:60], (start, end)
            used = wanted[0].total - start * start if wanted else 0
            assert await use(work, meter_id=meter, period=span) == used
        early = Period(at(-3), at(2))
        assert await use(work, meter_id=meter, period=early) == 1
        assert await use(work, meter_id=meter, period=Period(at(-30), at(-3))) is None


async def test_a_day_stays_open_for_three_days(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    await store(ours, week(ours.meter.id, days=1))
    midnight = at(48)
    assert await close(*worlds, now=midnight + 3 * DAY + timedelta(minutes=59)) == []
    assert await raw_rows(ours) == 48
    await close(*worlds, now=midnight + 3 * DAY + timedelta(hours=1))
    assert await raw_rows(ours) == 0
    assert len(await history(ours)) == 48


async def test_a_late_reading_of_a_closed_day_opens_just_that_day_of_that_meter_anew(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, theirs = worlds
    account = await make_account(ours, no="100002")
    other, _ = await make_meter(ours, serial="M-OTHER", bus_address=2, account=account)
    whole = week(ours.meter.id)
    missing = [whole[n] for n in (60, 61, 100)]
    await store(ours, [r for r in whole if r not in missing] + week(other.id))
    await store(theirs, week(theirs.meter.id))
    await close(*worlds, now=START)
    written = "SELECT meter_id, day, xmin::text FROM metering_day"
    before = {(r["meter_id"], r["day"]): r["xmin"] for r in await superuser.fetch(written)}
    late = [*missing, whole[59], whole[62]]
    assert await store(ours, late) == 3
    assert await store(ours, late) == 0
    changed = reading_of(ours.meter.id, at=at(60), total=999_999)
    assert await store(ours, [changed]) == 0
    assert await history(ours) == whole[::-1]
    await roll_up_history(group_id=ours.group_id, at=START)
    after = {(r["meter_id"], r["day"]): r["xmin"] for r in await superuser.fetch(written)}
    anew = {key for key in after if after[key] != before.get(key)}
    # 60 and 61 (14:00, 14:30 in China) are of one day, 100 (10:00) of the next; the one after opens
    # where that day closed, which has not changed.
    assert anew == {(ours.meter.id, FIRST + DAY), (ours.meter.id, FIRST + 2 * DAY)}
    assert await figures(ours) == rolled(whole, [ours.assignment], pause=2 * HALF_HOUR)
    assert await raw_rows(ours) == 2 * 3 * 48


async def test_three_days_that_come_late_and_in_disorder_end_in_the_same_figures(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    dice = random.Random(4)
    await store(theirs, week(theirs.meter.id))
    whole = week(ours.meter.id)
    await store(ours, whole[:96] + whole[240:])  # a gateway was cut off for three days
    await close(*worlds, now=START)
    backlog = whole[96:240]
    dice.shuffle(backlog)
    for place in range(0, 144, 9):
        await store(ours, backlog[place : place + 12])  # it sends some of them twice
        if dice.random() < 0.3:
            await close(*worlds, now=START)
    await close(*worlds, now=START)
    days, hours = await figures(ours)
    assert (days, hours) == await figures(theirs)
    assert (days, hours) == rolled(whole, [ours.assignment], pause=2 * HALF_HOUR)
    assert await history(ours) == whole[::-1]


async def test_what_is_not_rolled_up_or_not_packed_is_never_dropped(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await store(world, week(world.meter.id, days=2))
    days = [FIRST, FIRST + DAY]
    assert (await close(*worlds, now=START, rolled_up=False))[:2] == days
    for world in worlds:
        await roll_up_history(group_id=world.group_id, at=START)
    straggler = reading_of(theirs.meter.id, at=at(3) + timedelta(minutes=1))
    await store(
        theirs, [straggler]
    )  # stored after its day was packed: the raw rows are there still
    await roll_up_history(group_id=theirs.group_id, at=START)
    assert not await drop_raw(day=FIRST)
    assert len(await history(theirs)) == 97
    assert await close(*worlds, now=START) == []
    assert len(await history(theirs)) == 97
    assert straggler in await history(theirs)
    assert len(await history(ours)) == 96


async def test_a_reader_who_holds_a_day_is_not_disturbed(
    worlds: tuple[World, World], apart: Apart
) -> None:
    ours, theirs = worlds
    await store(ours, week(ours.meter.id, days=1))
    reader = await asyncpg.connect(apart.app_dsn())
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT set_config('app.group_id', $1, true)", str(ours.group_id))
    assert await reader.fetchval("SELECT count(*) FROM metering_reading") == 48
    assert FIRST in await close(*worlds, now=START)
    assert await reader.fetchval("SELECT count(*) FROM metering_reading") == 48
    await transaction.rollback()
    await reader.close()
    assert await close(ours, theirs, now=START) == []
    assert len(await history(ours)) == 48


async def test_a_packer_killed_in_the_middle_loses_nothing_and_the_next_one_goes_on(
    worlds: tuple[World, World], apart: Apart, superuser: Connection
) -> None:
    ours, theirs = worlds
    meters = [ours.meter.id]
    for number in range(2, 160):
        async with unit_of_work(ours.group_id) as work:
            meter_id = await work.fetchval(
                "INSERT INTO metering_meter SELECT group_id, $2, project_id, gateway_id,"
                " 'M-N' || $3, profile, kind, bus, $3, credit_mode, selling_stopped_at, created_at"
                " FROM metering_meter WHERE group_id = $1 AND id = $4 RETURNING id",
                ours.group_id,
                UUID(int=number),
                str(number),
                ours.meter.id,
            )
        meters.append(meter_id)
    made = [r for meter_id in meters for r in week(meter_id, days=1)[:12]]
    await store(ours, made)
    await store(theirs, week(theirs.meter.id, days=1))
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.closing_child",
        apart.app_dsn(),
        str(ours.group_id),
        FIRST.isoformat(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    assert int(await asyncio.wait_for(child.stdout.readline(), 30)) == METERS_AT_ONCE * 12
    child.kill()
    await child.wait()
    packed = await superuser.fetchval("SELECT sum(samples) FROM metering_packed")
    assert METERS_AT_ONCE * 12 <= packed < len(made)
    assert len(await history(ours)) == 12
    assert await close(*worlds, now=START) == []
    assert await superuser.fetchval("SELECT sum(samples) FROM metering_packed") == len(made) + 48
    for meter_id in dict.fromkeys([meters[0], meters[77], meters[-1]]):
        wanted = [r for r in made if r.meter_id == meter_id]
        assert await history(ours, meter_id=meter_id) == wanted[::-1]


async def test_two_packers_at_once_pack_each_sample_once(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, _theirs = worlds
    await store(ours, week(ours.meter.id, days=1))

    async def pack() -> None:
        async with unit_of_work(ours.group_id) as work:
            await pack_some(work, day=FIRST, after=None)

    await asyncio.gather(*(pack() for _ in range(4)))
    late = reading_of(ours.meter.id, at=at(1) + timedelta(seconds=9))
    await asyncio.gather(pack(), store(ours, [late]))
    assert await close(*worlds, now=START) == []
    assert await superuser.fetchval("SELECT sum(samples) FROM metering_packed") == 49
    assert len(await history(ours)) == 49


async def test_what_was_kept_for_long_enough_is_dropped_by_the_month(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    old = datetime(2025, 3, 10, tzinfo=UTC)
    for world in worlds:
        readings = [
            reading_of(world.meter.id, at=old + n * DAY, total=n) for n in (0, 20, 60, 61, 500)
        ]
        assert await store(world, readings) == 5
    # March is 400 days old in the middle of April a year later.
    for now, gone in (
        (datetime(2026, 5, 5, tzinfo=UTC), []),
        (datetime(2026, 5, 7, tzinfo=UTC), ["metering_packed_202503", "metering_hours_202503"]),
        (datetime(2026, 5, 8, tzinfo=UTC), []),
    ):
        for world in worlds:
            await roll_up_history(group_id=world.group_id, at=datetime(2026, 11, 22, tzinfo=UTC))
        assert await drop_outlived(at=now, retention=Retention()) == gone
    for world in worlds:
        assert len(await history(world)) == 3
        async with unit_of_work(world.group_id) as work:
            days = await use_by_day(
                work, meter_id=world.meter.id, first=old.date(), last=START.date()
            )
            hours = await use_by_hour(
                work, meter_id=world.meter.id, first=old.date(), last=START.date()
            )
        assert (len(days), len(hours)) == (5, 3)


async def test_samples_that_are_not_rolled_up_and_what_is_young_stay_whatever_is_asked(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, _theirs = worlds
    old, young = datetime(2025, 3, 10, tzinfo=UTC), datetime.now(UTC) - 20 * DAY
    await store(ours, [reading_of(ours.meter.id, at=instant) for instant in (old, young)])
    far = datetime(2099, 1, 1, tzinfo=UTC)
    short = Retention(samples=0, hours=0, days=0)
    assert "metering_packed_202503" not in await drop_outlived(at=far, retention=short)
    await roll_up_history(group_id=ours.group_id, at=far)
    await superuser.execute("DELETE FROM metering_day WHERE day < '2025-06-01'")
    assert "metering_packed_202503" not in await drop_outlived(at=far, retention=short)
    kept = f"metering_day_{young:%Y%m}"
    assert kept not in await drop_outlived(at=far, retention=short)
    assert await superuser.fetchval("SELECT to_regclass($1) IS NOT NULL", kept)
    assert len(await history(ours)) == 2


async def test_damaged_samples_are_told_and_what_is_known_of_their_day_stays(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await store(world, week(world.meter.id))
    await close(*worlds, now=START)
    before = await figures(ours)
    await superuser.execute(
        "UPDATE metering_packed SET packed = set_byte(packed, 40, 255 - get_byte(packed, 40))"
        " WHERE group_id = $1 AND day = $2",
        ours.group_id,
        FIRST + DAY,
    )
    with pytest.raises(PackDamaged):
        await history(ours)
    assert len(await history(ours, limit=200)) == 200  # what is not damaged is shown
    late = reading_of(ours.meter.id, at=at(50) + timedelta(seconds=1))
    assert await store(ours, [late]) == 1  # and what comes is stored
    await roll_up_history(group_id=ours.group_id, at=START)
    assert await figures(ours) == before
    async with unit_of_work(ours.group_id) as work:
        (case,) = await cases_page(
            work,
            scope=ours.scope,
            project_id=ours.project.id,
            only_open=True,
            before=None,
            limit=5,
        )
    assert (case.kind, case.subject) == ("HISTORY_DAMAGED", str(ours.meter.id))
    assert await history(theirs) == week(theirs.meter.id)[::-1]


async def test_days_are_made_ahead_and_a_closed_one_never_comes_back(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, _theirs = worlds
    await store(ours, week(ours.meter.id, days=2))
    await prepare(at=START)
    await close(*worlds, now=START)
    raw = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass"
    days = {row["name"][-8:] for row in await superuser.fetch(raw, "metering_reading")}
    assert days == {f"{START.date() + n * DAY:%Y%m%d}" for n in range(-3, 8)}
    assert await store(ours, [reading_of(ours.meter.id, at=at(1) + HALF_HOUR / 2)]) == 1
    after = {row["name"][-8:] for row in await superuser.fetch(raw, "metering_reading")}
    assert after == days
    assert len(await history(ours)) == 97


async def test_a_group_that_fails_costs_the_others_nothing_and_its_days_stay_open(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    broken, whole = worlds
    for world in worlds:
        await store(world, week(world.meter.id, days=1))
        async with unit_of_work(world.group_id) as work:
            await note_gateway(work, gateway_id=world.gateway.id, answered=False, at=at(48))
    zone = "UPDATE tenancy_project SET time_zone = $2 WHERE group_id = $1"
    await superuser.execute(zone, broken.group_id, "Nowhere/Nope")
    whole.clock.instant = START
    context = WorkerContext(whole.ports, Buses(BusLease("postgresql://nowhere"), access=Access()))
    for tick in (roll_up_histories, watch_all_lines, watch_all_meters, close_days):
        await tick(context)
    rolled_up = await superuser.fetch("SELECT DISTINCT group_id FROM metering_day")
    silent = await superuser.fetch("SELECT group_id FROM metering_episode ORDER BY group_id")
    assert [row["group_id"] for row in rolled_up] == [whole.group_id]
    assert [row["group_id"] for row in silent] == [broken.group_id, whole.group_id]
    assert FIRST in await days_to_close(at=START)
    await superuser.execute(zone, broken.group_id, "Asia/Shanghai")
    for tick in (roll_up_histories, close_days):
        await tick(context)
    assert await days_to_close(at=START) == []
    assert [len(await history(world)) for world in worlds] == [48, 48]


async def test_what_is_packed_still_bounds_what_a_gateway_may_say_of_that_time(
    apart: Apart, worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, _ = worlds
    inbox = UplinkRecords(desk_at(apart.app_dsn()))
    row, meter = row_for(ours), ours.meter
    await inbox.readings(row, [read(meter, n) for n in (1, 20, 400)], START + 400 * HALF_HOUR)
    ours.clock.instant = START + 400 * HALF_HOUR
    context = WorkerContext(ours.ports, Buses(BusLease("postgresql://nowhere"), access=Access()))
    for tick in (roll_up_histories, close_days):
        await tick(context)
    raw = "SELECT count(*) FROM metering_reading WHERE group_id = $1 AND at < $2"
    assert await superuser.fetchval(raw, ours.group_id, START + 40 * HALF_HOUR) == 0
    await inbox.readings(row, [read(meter, 30, 100)], START + 401 * HALF_HOUR)
    assert doubts(await cases_of(ours)) == [(READING_REFUSED, "BACKWARDS")]
    await inbox.readings(row, [read(meter, 31)], START + 401 * HALF_HOUR)
    assert [reading.total for reading in await stored(ours)] == [250, 5000, 7750, 100_000]
