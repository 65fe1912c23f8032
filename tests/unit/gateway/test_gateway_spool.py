"""The spool: durable, numbered, thinned before anything is lost for good, small enough for a small box."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.uplink.frame import FrameType
from backend.uplink.message import Read, Registers, RelayState, decode, encode
from workers.gateway.database import FILE, RESERVE, Database, StoreBroken
from workers.gateway.spool import Spool, Waiting

START = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)  # midnight in China
MB = 1024 * 1024
HALF_HOUR = timedelta(minutes=30)


def registers(at: datetime, *, energy_wh: int = 123_456_789) -> Registers:
    """A reading as full as an electricity meter gives it."""
    return Registers(
        at=at,
        meter_time=at,
        relay=RelayState.CLOSED,
        energy_wh=energy_wh,
        bands_wh={"spike": 1_000_000, "peak": 1_000_000, "flat": 1_000_000, "valley": 1_000_000},
        voltage_mv=229_900,
        current_ma=12_340,
        power_w=2_800,
        wallet_fen=123_456,
        purchase_no=123,
    )


@contextmanager
def spool_in(folder: Path, *, most_bytes: int = 64 * MB) -> Iterator[Spool]:
    """A spool on its own file."""
    database = Database(folder, most_bytes=most_bytes)
    yield Spool(database)
    database.close()


def read_of(waiting: Waiting) -> Read:
    """What the cloud will open."""
    read = decode(FrameType.READ, waiting.body)
    assert isinstance(read, Read)
    return read


async def test_numbers_rise_over_restarts_and_are_never_used_again(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for _ in range(3):
            await spool.add("M", registers(START))
        await spool.sent([1, 2, 3])
    with spool_in(tmp_path) as spool:
        await spool.add("M", registers(START))
        assert [waiting.frame_no for waiting in await spool.batch(after=0, limit=9)] == [4]
        assert read_of((await spool.newest())[0]).frame_no == 4
        assert await spool.last_no() == 4


async def test_a_reading_is_on_disk_when_add_returns(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await spool.add("M", registers(START))
        with sqlite3.connect(f"file:{tmp_path / FILE}?mode=ro", uri=True) as other:
            assert other.execute("select count(*) from reading").fetchone() == (1,)
            assert other.execute("pragma journal_mode").fetchone() == ("wal",)
        assert await spool._database.run(_synchronous) == 2  # FULL


def _synchronous(connection: sqlite3.Connection) -> int:
    (level,) = connection.execute("pragma synchronous").fetchone()
    return int(level)


async def test_new_ones_go_first_then_the_oldest(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for number in range(6):
            await spool.add(f"M{number % 2}", registers(START + number * HALF_HOUR))
        assert [w.frame_no for w in await spool.newest()] == [5, 6]
        assert [w.frame_no for w in await spool.batch(after=4, limit=4)] == [5, 6, 1, 2]
        backlog = await spool.backlog()
        assert (backlog.readings, backlog.oldest, backlog.dropped) == (6, START, 0)


async def test_when_room_is_short_readings_thin_out_from_the_oldest_and_every_meter_keeps_its_course(
    tmp_path: Path,
) -> None:
    meters, periods, dropped = 2, 48 * 20, 0
    with spool_in(tmp_path, most_bytes=RESERVE + MB // 4) as spool:
        for period in range(periods):
            for meter in range(meters):
                at = START + period * HALF_HOUR
                dropped += await spool.add(f"M{meter}", registers(at, energy_wh=period))
        backlog = await spool.backlog()
        assert backlog.used_bytes <= RESERVE + MB // 4
        assert dropped == backlog.dropped == meters * periods - backlog.readings
        kept = [read_of(waiting) for waiting in await spool.batch(after=0, limit=10**6)]
    days = {
        name: Counter((read.at + timedelta(hours=8)).date() for read in kept if read.meter == name)
        for name in ("M0", "M1")
    }
    for course in days.values():
        assert len(course) == 20, "no day is without a reading"
        by_day = [course[day] for day in sorted(course)]
        assert by_day[0] < by_day[-1], "the oldest days are thinned first"
        assert by_day[0] in (4, 12), "to the last of each two hours, then six"
    last_of_first_day = max(read.at for read in kept if read.at < START + timedelta(days=1))
    assert last_of_first_day == START + timedelta(hours=23, minutes=30)


async def test_when_thinning_frees_nothing_more_the_oldest_go_and_the_file_stays_in_its_share(
    tmp_path: Path,
) -> None:
    with spool_in(tmp_path, most_bytes=RESERVE + MB // 4) as spool:
        for day in range(1500):
            await spool.add("M", registers(START + timedelta(days=day)))
        backlog = await spool.backlog()
        assert backlog.used_bytes <= RESERVE + MB // 4
        assert 0 < backlog.readings == 1500 - backlog.dropped
        assert backlog.oldest == START + timedelta(days=backlog.dropped)


async def test_a_store_that_refuses_says_so_and_keeps_what_it_had(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        await spool.add("M", registers(START))
        database = spool._database
        await database.run(lambda connection: connection.execute("pragma query_only = 1"))
        with pytest.raises(StoreBroken):
            await spool.add("M", registers(START + HALF_HOUR))
        await database.run(lambda connection: connection.execute("pragma query_only = 0"))
        await spool.add("M", registers(START + HALF_HOUR))
        assert [w.frame_no for w in await spool.batch(after=0, limit=9)] == [1, 2]
    with pytest.raises(StoreBroken):
        Database(tmp_path / "nowhere", most_bytes=MB)


async def test_three_days_of_two_hundred_meters_fit_in_sixteen_megabytes(tmp_path: Path) -> None:
    meters, periods = 200, 3 * 48

    values = {name: getattr(registers(START), name) for name in Registers.__slots__}
    _, body = encode(Read(meter="230000000001", frame_no=28_800, **values))
    rows = [
        (
            1 + period * meters + meter,
            f"2300000{meter:05d}",
            int((START + period * HALF_HOUR).timestamp()),
            body,
        )
        for period in range(periods)
        for meter in range(meters)
    ]

    with spool_in(tmp_path) as spool:
        # One transaction, where the agent makes one of each reading: the bytes are the same.
        await spool._database.run(
            lambda db: db.executemany("insert into reading values (?, ?, ?, ?)", rows)
        )
        backlog = await spool.backlog()
        assert backlog.readings == meters * periods == 28_800
        assert 10 * MB < backlog.used_bytes < 16 * MB
        newest = await spool.newest()
        assert len(newest) == meters
        async with asyncio.timeout(5):
            assert len(await spool.batch(after=newest[-1].frame_no, limit=100)) == 100
