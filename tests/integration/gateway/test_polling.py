"""Polling: a dead meter costs ever less and comes back by itself; a dead bus costs the others nothing."""

from __future__ import annotations

from datetime import timedelta

from backend.uplink.message import Dar, Op

from .conftest import World


async def test_a_silent_meter_is_reported_rests_and_is_found_again(world: World) -> None:
    box = await world.running()
    tried = 0
    box.meter(1).faults.silent = True
    for _ in range(8):
        await box.next_period()
        tried += box.alive.poller.sweeps[1].failed
        assert box.alive.poller.sweeps[1].read == 1, "the other meter is read every time"
    assert tried == 4, "sweeps 1, 2, then after a rest of 1 and of 2"
    assert box.alive.alarms.names() == ["METER_SILENT 230000000001"]
    await world.cloud.until(lambda: bool(world.cloud.alarms))
    assert [(a.name, a.meter) for a in world.cloud.alarms] == [("METER_SILENT", "230000000001")]
    silent = box.alive.status.shown()["meters"]["silent"]
    assert (silent[0]["meter"], silent[0]["error"]) == ("230000000001", "NO_ANSWER")
    box.meter(1).faults.silent = False
    for _ in range(5):
        await box.next_period()
    assert box.alive.poller.sweeps[1].read == 2
    assert box.alive.alarms.names() == []


async def test_a_command_that_reaches_a_resting_meter_ends_its_rest(world: World) -> None:
    box = await world.running()
    box.meter(1).faults.silent = True
    for _ in range(4):
        await box.next_period()
    box.meter(1).faults.silent = False
    assert (await box.ask(Op.READ)).dar == Dar.SUCCESS
    await box.next_period()
    assert box.alive.poller.sweeps[1].read == 2


async def test_one_lost_answer_is_asked_for_again_in_the_same_sweep(world: World) -> None:
    box = await world.running()
    box.meter(1).faults.drop_answers = 1
    box.meter(2).faults.corrupt_answers = 1
    await box.next_period()
    assert box.alive.poller.sweeps[1].read == 2


async def test_a_dead_bus_ends_its_sweep_and_the_other_bus_does_not_notice(world: World) -> None:
    box = await world.running(buses=2)
    await box.buses[0].set_offline(True)
    await box.next_period()
    dead, well = box.alive.poller.sweeps[1], box.alive.poller.sweeps[2]
    assert (dead.down, dead.read) == ("the gateway cannot be reached", 0)
    assert (well.down, well.read) == ("", 2)
    assert box.alive.alarms.names() == ["BUS_DOWN 1"]
    await box.buses[0].set_offline(False)
    await box.next_period()
    assert box.alive.poller.sweeps[1].read == 2
    assert box.alive.alarms.names() == []


async def test_a_clock_set_back_or_ahead_brings_one_sweep_and_no_pause_and_no_catching_up(
    world: World,
) -> None:
    box = await world.running()
    for jump in (timedelta(hours=-2), timedelta(hours=5)):
        last = await box.alive.spool.last_no()
        world.pace.jump(jump)
        await box.pass_time(timedelta(seconds=30))
        await box.swept()
        await box.idle()
        assert await box.alive.spool.last_no() == last + 2
    for _ in range(2):
        await box.next_period()
    assert await box.alive.spool.last_no() == 10


async def test_a_bus_that_comes_back_is_read_within_the_same_period(world: World) -> None:
    box = await world.running(buses=2)
    await box.buses[0].set_offline(True)
    await box.next_period()
    await box.drained()
    began, before = world.pace.now(), len(box.stored())
    for _ in range(3):  # it is tried again after 5, 10 and 20 seconds, and rests no meter meanwhile
        await box.pass_time(timedelta(seconds=20))
        await box.idle()
    assert box.alive.poller.sweeps[1].down
    await box.buses[0].set_offline(False)
    await box.pass_time(timedelta(minutes=1))
    await box.until(lambda: box.alive.poller.sweeps[1].read == 2)
    assert world.pace.now() - began == timedelta(minutes=2)
    await box.drained()
    assert len(box.stored()) == before + 2
    await box.pass_time(timedelta(minutes=5))
    await box.idle()
    assert box.alive.poller.sweeps[1].read == 2, "once it is read the next period is waited for"
    assert box.alive.alarms.names() == []
