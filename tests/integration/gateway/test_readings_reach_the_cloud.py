"""Readings: polled from real sockets, sealed, stored by the cloud, kept through whatever the line does."""

from __future__ import annotations

from datetime import timedelta

from workers.gateway.board import LineState

from .conftest import PERIOD, START, World

THREE_DAYS = int(timedelta(days=3) / PERIOD)


async def test_every_meter_of_every_bus_is_read_and_the_cloud_has_what_the_meter_shows(
    world: World,
) -> None:
    box = await world.running(buses=2, meters=3)
    stored = {read.meter: read for read in box.stored()}
    assert len(stored) == 6
    read = stored["230000000102"]
    assert (read.energy_wh, read.wallet_fen, read.purchase_no) == (1_234_560, 2000, 4)
    assert (read.relay, read.at, read.volume_l) == ("CLOSED", START, None)
    assert read.meter_time is not None
    assert read.voltage_mv
    assert read.bands_wh["flat"] == 1_234_560
    assert read.flags == frozenset()


async def test_each_period_brings_one_reading_of_each_meter_numbered_without_a_gap(
    world: World,
) -> None:
    box = await world.running()
    for _ in range(4):
        await box.next_period()
        await box.drained()
    assert sorted(read.frame_no for read in box.stored()) == list(range(1, 11))
    assert len({(read.meter, read.at) for read in box.stored()}) == 10


async def test_after_three_days_without_a_line_the_newest_state_comes_first_and_nothing_is_missing(
    world: World,
) -> None:
    box = await world.running()
    await world.cloud.stop()
    for _ in range(THREE_DAYS):
        await box.next_period()
    backlog = await box.alive.spool.backlog()
    assert backlog.readings == 2 * THREE_DAYS
    assert backlog.oldest == START + PERIOD
    assert box.alive.board.line is LineState.OFFLINE
    before = len(world.cloud.arrived)
    await world.cloud.start()
    await box.pass_time(timedelta(minutes=6))
    await box.connected()
    await box.drained()
    came = world.cloud.arrived[before:]
    assert {read.meter for read in came[:2]} == {"230000000001", "230000000002"}
    assert {read.frame_no for read in came[:2]} == {2 * THREE_DAYS + 1, 2 * THREE_DAYS + 2}
    late = [read.frame_no for read in came[2 : 2 * THREE_DAYS]]
    assert late == sorted(late), "the rest comes oldest first"
    assert len(box.stored()) == 2 + 2 * THREE_DAYS
    assert sorted(read.frame_no for read in box.stored()) == list(range(1, 2 * THREE_DAYS + 3))


async def test_readings_wait_on_disk_while_the_agent_is_stopped_and_go_out_by_the_next_one(
    world: World,
) -> None:
    box = await world.running()
    await world.cloud.stop()
    await box.next_period()
    await box.stop()
    await world.cloud.start()
    world.pace.advance(timedelta(seconds=10))
    await box.start()
    await box.connected()
    await box.swept()
    await box.drained()
    assert sorted(read.frame_no for read in box.stored()) == [1, 2, 3, 4, 5, 6]


async def test_a_frame_lost_by_the_broker_is_sent_again_and_stored_once(world: World) -> None:
    box = await world.running()
    await world.cloud.stop()
    await box.next_period()
    await world.cloud.start()
    world.cloud.lose = 1
    await box.pass_time(timedelta(minutes=6))
    await world.cloud.until(lambda: len(box.stored()) == 3)
    await box.until(lambda: box.alive.board.line is LineState.UNANSWERED)
    assert (await box.alive.spool.backlog()).readings == 2, "not confirmed, so not forgotten"
    await box.pass_time(timedelta(minutes=6))
    await box.connected()
    await box.drained()
    assert [read.frame_no for read in world.cloud.arrived] == [1, 2, 4, 3, 4]
    assert len(box.stored()) == 4, "the one that came twice is one row"


async def test_a_cloud_that_stores_nothing_gets_nothing_forgotten(world: World) -> None:
    box = await world.box()
    world.cloud.confirms = False
    await box.start()
    await box.until(lambda: box.alive.board.line is LineState.UNANSWERED)
    await box.swept()
    assert (await box.alive.spool.backlog()).readings == 2
    world.cloud.confirms = True
    await box.pass_time(timedelta(minutes=6))
    await box.connected()
    await box.drained()
    assert {read.meter for read in box.stored()} == {"230000000001", "230000000002"}


async def test_new_readings_go_before_the_backlog(world: World) -> None:
    box = await world.box()
    await box.start()
    await box.connected()
    await box.swept()
    await box.drained()
    spool = box.alive.spool
    mark = await spool.last_no()
    await world.cloud.stop()
    for _ in range(3):
        await box.next_period()
    order = [waiting.frame_no for waiting in await spool.batch(after=mark + 4, limit=4)]
    assert order == [mark + 5, mark + 6, mark + 1, mark + 2]


async def test_two_groups_with_the_same_serials_on_one_cloud_never_meet(world: World) -> None:
    ours, theirs = await world.running("ours"), await world.running("theirs")
    theirs.meter().faults.silent = True
    await ours.next_period()
    await theirs.swept()
    await ours.drained()
    await theirs.drained()
    assert len(ours.stored()) == 4
    assert len(theirs.stored()) == 3
    assert ours.keys.gateway != theirs.keys.gateway
