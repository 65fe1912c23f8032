"""Kill the agent anywhere, fill its disk: no sale is doubled, none is lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from backend.kernel.clock import SystemClock
from backend.kernel.errors import Conflict
from backend.uplink.message import Cmd, Dar, Op, Res
from workers.gateway.board import LineState
from workers.gateway.database import FILE as STORE
from workers.gateway.database import Database, StoreBroken
from workers.gateway.journal import Journal
from workers.gateway.lock import alone_in
from workers.gateway.status import read_status
from workers.virtual.prepaid import PrepaidMeter
from workers.virtual.site import VirtualSite, parse_site

from .cloud import Cloud
from .conftest import Box, World, site_toml, virtual_plan
from .simulated_time import SimulatedTime
from .test_commands import SALE, sales_of

ROOT = Path(__file__).resolve().parents[3]


class RealTimeBox(Box):
    """A box whose agent is a process of its own and lives by the machine's clock."""

    process: Process | None = None

    async def spawn(self) -> None:
        """Start the agent's process."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.gateway.agent_process",
            str(self.data),
            str(self.site_file),
            str(self.cloud.port),
            cwd=ROOT,
        )

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def a_process_box(tmp: Path) -> AsyncIterator[RealTimeBox]:
    """Cloud, virtual site and an agent process, all by the machine's clock."""
    clock = SystemClock()
    cloud = Cloud(clock.now)
    pace = SimulatedTime(clock.now())
    async with AsyncExitStack() as stack:
        await cloud.start()
        stack.push_async_callback(cloud.stop)
        plan = parse_site(virtual_plan("p", buses=1, meters=1))
        site = await stack.enter_async_context(
            VirtualSite(plan, data_dir=tmp / "meters", clock=clock)
        )
        bus = site.gateways["p-1"]
        world = World(tmp, pace, cloud, stack)
        keys = world.enrolled("p")
        site_file = tmp / "p.toml"
        site_file.write_text(site_toml([bus.port], meters=1, answer_ms=5000))
        box = RealTimeBox("p", tmp / "p", site_file, keys, cloud, pace, [bus])
        await box.spawn()
        stack.push_async_callback(box.kill)
        await cloud.until(lambda: bool(box.stored()))
        yield box


async def test_killed_after_the_meter_took_the_sale_it_says_so_and_the_sale_is_there_once(
    tmp_path: Path,
) -> None:
    async with a_process_box(tmp_path) as box:
        answer = box.meter().answer
        took, hold = asyncio.Event(), asyncio.Event()

        async def hold_back(request: bytes, /) -> bytes | None:
            said = await answer(request)
            if box.meter().state().purchase_count == 5 and not took.is_set():
                took.set()
                await hold.wait()  # the meter has the money, its answer is on the way: now
            return said

        vars(box.meter())["answer"] = hold_back
        cmd = box.cmd_at(SystemClock().now(), Op.VEND, life_s=600, **SALE)
        await box.cloud.send(box.keys.gateway, cmd)
        await asyncio.wait_for(took.wait(), 15)
        await box.kill()
        hold.set()
        assert not box.cloud.answers[cmd.cmd_id]
        await box.spawn()
        res = await box.answer_to(cmd)
        assert (res.dar, res.purchase_no) == (Dar.SUCCESS, 5)
        assert await sales_of(box.meter()) == [(5, 5000)]
        again = await box.cloud.command(box.keys.gateway, cmd)
        assert again == res
        assert await sales_of(box.meter()) == [(5, 5000)]


def answers_of(meter: PrepaidMeter, count: int) -> asyncio.Event:
    """Set when the meter has given `count` answers from now on."""
    given, answer, left = asyncio.Event(), type(meter).answer, [count]

    async def counting(request: bytes, /) -> bytes | None:
        said = await answer(meter, request)
        left[0] -= 1
        if left[0] <= 0:
            given.set()
        return said

    vars(meter)["answer"] = counting
    return given


async def test_killed_in_the_middle_of_each_of_four_sales_every_sale_is_there_once(
    tmp_path: Path,
) -> None:
    async with a_process_box(tmp_path) as box:
        cloud, gateway = box.cloud, box.keys.gateway
        for number in range(5, 9):
            # A sale has four answers: wallet, credit, wallet, reading. Die after each of them.
            given = answers_of(box.meter(), 1 + number % 4)
            cmd = box.cmd_at(
                SystemClock().now(), Op.VEND, life_s=600, purchase_no=number, amount_fen=100
            )
            await cloud.send(gateway, cmd)
            await asyncio.wait_for(given.wait(), 15)
            await box.kill()
            hellos = cloud.hellos
            await box.spawn()
            await cloud.until(partial(_greeted, cloud, hellos))
            await cloud.until(partial(cloud.live, gateway))
            res = await cloud.command(gateway, cmd)
            assert (res.dar, res.purchase_no) == (Dar.SUCCESS, number)
        assert [number for number, _ in await sales_of(box.meter())] == list(range(5, 9))


def _greeted(cloud: Cloud, hellos: int) -> bool:
    return cloud.hellos > hellos


async def started(box: Box, cmd: Cmd) -> None:
    """Write into the box's store what a crash right before the write leaves there."""
    database = Database(box.data, most_bytes=64 * 1024 * 1024)
    journal = Journal(database)
    await journal.take(cmd, at=box.pace.now())
    await journal.start(cmd.cmd_id)
    database.close()


async def test_a_sale_cut_off_before_the_write_is_taken_when_the_wallet_waits_for_it(
    world: World,
) -> None:
    box = await world.box()
    cmd = box.cmd(Op.VEND, **SALE)
    await started(box, cmd)
    await box.start()
    res = await box.answer_to(cmd)
    assert (res.dar, res.wallet_fen, res.purchase_no) == (Dar.SUCCESS, 7000, 5)
    assert await sales_of(box.meter()) == [(5, 5000)]


async def test_a_sale_cut_off_is_refused_when_the_wallet_has_gone_another_way(
    world: World,
) -> None:
    box = await world.box()
    cmd = box.cmd(Op.VEND, purchase_no=9, amount_fen=5000)
    await started(box, cmd)
    await box.start()
    res = await box.answer_to(cmd)
    assert (res.dar, res.wallet_fen, res.purchase_no) == (Dar.COUNT_WRONG, 2000, 4)
    assert await sales_of(box.meter()) == []


async def test_a_sale_cut_off_and_now_too_late_is_looked_at_and_not_written(world: World) -> None:
    box = await world.box()
    late = [box.cmd(Op.VEND, **SALE), box.cmd(Op.VEND, purchase_no=4, amount_fen=5000)]
    for cmd in late:
        await started(box, cmd)
    world.pace.advance(timedelta(minutes=2))
    await box.start()
    assert (await box.answer_to(late[0])).dar == Dar.NO_ANSWER
    done = await box.answer_to(late[1])
    assert (done.dar, done.purchase_no) == (Dar.SUCCESS, 4)
    assert await sales_of(box.meter()) == []


async def test_a_sale_cut_off_whose_meter_is_silent_may_have_been_done(world: World) -> None:
    box = await world.box()
    cmd = box.cmd(Op.VEND, **SALE)
    await started(box, cmd)
    box.meter().faults.silent = True
    await box.start()
    assert (await box.answer_to(cmd)).dar == Dar.NO_ANSWER


async def test_a_trip_cut_off_by_a_crash_is_not_done_without_a_session(world: World) -> None:
    box = await world.box()
    cmd = box.cmd(Op.TRIP)
    await started(box, cmd)
    await world.cloud.stop()
    await box.start()
    await box.swept()
    await box.until(lambda: not box.alive.executor.running())
    assert box.meter().state().closed
    await world.cloud.start()
    await box.pass_time(timedelta(minutes=6))
    assert (await box.answer_to(cmd)).dar == Dar.NO_ANSWER


async def test_what_another_version_wrote_down_keeps_nobody_from_starting(world: World) -> None:
    box = await world.box()
    old, cmd = box.cmd(Op.READ), box.cmd(Op.VEND, **SALE)
    for one in (old, cmd):
        await started(box, one)
    with sqlite3.connect(box.data / STORE) as connection:
        connection.execute(
            "update command set body = ? where cmd_id = ?", (b'{"v": 0}', str(old.cmd_id))
        )
    connection.close()
    await box.start()
    assert (await box.answer_to(cmd)).dar == Dar.SUCCESS
    # Whether it was done is not known any more, so it is not done.
    assert (
        await world.cloud.command(box.keys.gateway, replace(old, op=Op.TRIP))
    ).dar == Dar.NOT_SENT
    assert box.meter().state().closed


async def fill(box: Box) -> None:
    """Let SQLite find no free page from now on."""

    def no_more_pages(connection: sqlite3.Connection) -> None:
        connection.execute("create table ballast (b blob)")
        (pages,) = connection.execute("pragma page_count").fetchone()
        connection.execute(f"pragma max_page_count = {int(pages) + 8}")

    await box.alive.database.run(no_more_pages)
    with pytest.raises(StoreBroken):
        await _stuff(box)


async def _stuff(box: Box) -> None:
    while True:
        await box.alive.database.run(
            lambda connection: connection.execute("insert into ballast values (zeroblob(500))")
        )


async def read_only(box: Box, *, now: bool) -> None:
    """What a worn-out card does: the file system is read-only, or is itself again."""
    await box.alive.database.run(
        lambda connection: connection.execute(f"pragma query_only = {int(now)}")
    )


async def test_a_full_disk_in_an_outage_loses_the_newest_loudly_and_heals_when_the_line_is_back(
    world: World,
) -> None:
    box = await world.running()
    await world.cloud.stop()
    await fill(box)
    while not box.alive.poller.dropped:
        await box.next_period()
    kept = (await box.alive.spool.backlog()).readings
    assert box.alive.alarms.names() == ["STORE_BROKEN"]
    assert box.alive.status.shown()["readings_lost"] > 0
    await world.cloud.start()
    await box.pass_time(timedelta(minutes=6))
    await box.connected()
    await box.drained()
    assert len(box.stored()) == 2 + kept
    assert "STORE_BROKEN" in {alarm.name for alarm in world.cloud.alarms}
    await box.next_period()
    await box.drained()
    assert box.alive.alarms.names() == []


async def test_a_disk_that_takes_nothing_stops_selling_but_neither_reading_nor_the_line(
    world: World,
) -> None:
    box = await world.running()
    await read_only(box, now=True)
    assert (await box.ask(Op.VEND, **SALE)).dar == Dar.NOT_SENT, "not written down: not done"
    assert (await box.ask(Op.TRIP)).dar == Dar.NOT_SENT
    assert await sales_of(box.meter()) == []
    assert box.meter().state().closed
    assert (await box.ask(Op.READ)).dar == Dar.SUCCESS
    await box.next_period()
    await world.cloud.until(lambda: "STORE_BROKEN" in {alarm.name for alarm in world.cloud.alarms})
    assert box.alive.poller.dropped == 2
    await read_only(box, now=False)
    await box.next_period()
    await box.drained()
    assert box.alive.alarms.names() == []
    assert (await box.ask(Op.VEND, **SALE)).dar == Dar.SUCCESS


async def test_one_folder_has_one_agent(world: World) -> None:
    box = await world.box()
    with alone_in(box.data):
        assert read_status(box.data)["running"]
        with pytest.raises(Conflict), alone_in(box.data):
            pass
    assert not read_status(box.data)["running"]


async def test_stopping_says_goodbye_and_lets_a_running_command_end(world: World) -> None:
    box = await world.running()
    cmd = box.cmd(Op.VEND, **SALE)
    async with AsyncExitStack() as busy:
        await box.holding(busy)
        await world.cloud.send(box.keys.gateway, cmd)
        await box.taken(cmd)
        stopping = asyncio.create_task(box.stop())
        await asyncio.sleep(0)
    await stopping
    res: Res = await box.answer_to(cmd)
    assert res.dar == Dar.SUCCESS
    assert [bye.value for bye in world.cloud.byes] == ["RESTART"]
    assert box.alive.board.line is LineState.CONNECTED
