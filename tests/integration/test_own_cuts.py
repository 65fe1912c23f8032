"""A meter cuts by a rule of its own: told apart from arrears, alarmed, never forced closed, over when it
says so (A24, C21)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.alerts.alarm_rules import AlarmKind
from backend.control.command_rules import CommandKind
from backend.control.decisions import decisions_of_meters
from backend.control.safety_trips import own_cuts
from backend.control.supply_rules import OwnCut, SafetyLock, Why
from backend.journeys.cut_cause import Cut, cuts_of_meters
from backend.journeys.dormitory import Tended, note_flagged, unlock_circuit
from backend.journeys.own_cuts import note_told
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict
from workers.drivers.ports import MeterFlags, MeterSnapshot, Relay
from workers.links.dialin.ports import DialInRow
from workers.protocols import modbus
from workers.recording import own_cut_of
from workers.sweep import meter_refresh, sweep_due
from workers.upload_inbox import Uploads
from workers.virtual.load_control import LoadControl

from .commanded import WHY, Post
from .dormitory import draws, guarded, make_guard
from .test_bot_prices import said
from .test_dormitory import engine, look, open_alarms, told, trips
from .world import World, bind_customer

MINUTE = timedelta(minutes=1)
ROOM = LoadControl(True, 20_000, 800, 950, trips=3, restore_minutes=10)


def set_up(post: Post, control: LoadControl = ROOM) -> None:
    """Somebody set the load control up at the meter: the cloud told it nothing."""
    meter = post.meter()
    state = meter.state()
    meter._state = replace(state, settings=replace(state.settings, load=control))


async def sweep(post: Post) -> None:
    """The gateway is swept."""
    await sweep_due(post.context, post.world.group_id, {"gateway_id": str(post.world.gateway.id)})


async def now(post: Post) -> OwnCut | None:
    """What our meter is known to have opened its relay for by itself."""
    meter_id = post.world.meter.id
    async with unit_of_work(post.world.group_id) as work:
        return (await own_cuts(work, meter_ids=[meter_id])).get(meter_id)


async def test_a_malignant_load_that_the_meter_cut_is_alarmed_told_and_over_when_it_says_so(
    post: Post,
) -> None:
    world = post.world
    mate = await bind_customer(world)
    set_up(post)
    await sweep(post)
    assert (await now(post), await open_alarms(world)) == (None, [])
    post.meter().act("plug", {"watts": 1_500})
    post.clock.advance(MINUTE)
    await sweep(post)
    assert await now(post) is OwnCut.MALIGNANT_LOAD
    assert await open_alarms(world) == [AlarmKind.MALIGNANT_LOAD]
    (trip,) = await trips(world, running=True)
    assert (trip.kind, trip.by_meter, trip.restore_at) == (SafetyLock.MALIGNANT_LOAD, True, None)
    assert await told(world) == {mate.id}
    assert "违规电器" in (await said(world, mate, "没电"))[0]
    post.clock.advance(MINUTE)
    await sweep(post)
    assert len(await trips(world)) == 1
    post.meter().act("plug", {"watts": 0})
    post.clock.advance(10 * MINUTE)
    await sweep(post)
    assert post.closed
    assert (await now(post), await open_alarms(world)) == (None, [])
    (ended,) = await trips(world)
    assert (ended.ended_by, ended.note) == ("meter", "the meter ended it by itself")
    assert "正常" in (await said(world, mate, "没电"))[0]


async def test_the_cloud_gives_no_power_back_that_the_meter_keeps_off(post: Post) -> None:
    world = post.world
    set_up(post, replace(ROOM, trips=1))
    await guarded(world, await make_guard(world))
    post.meter().act("plug", {"watts": 1_500})
    post.clock.advance(MINUTE)
    await sweep(post)
    assert await now(post) is OwnCut.MALIGNANT_LOAD
    for _ in range(3):
        post.clock.advance(timedelta(hours=8))
        assert await look(world) == Tended(), "a guard of the cloud's restores nothing here"
        await sweep(post)
        await engine(post)
    assert not post.closed
    assert await post.all() == []
    (trip,) = await trips(world, running=True)
    assert trip.by_meter
    with pytest.raises(Conflict, match="the meter locked itself"):
        await unlock_circuit(
            scope=world.scope, meter_id=world.meter.id, note=WHY, at=post.clock.now()
        )


async def test_a_meter_that_cut_is_not_locked_by_the_cloud_as_well(post: Post) -> None:
    world = post.world
    await guarded(world, await make_guard(world))
    post.clock.advance(MINUTE)
    at = post.clock.now()
    meter_id = world.meter.id
    await draws(world, 9_000)
    async with unit_of_work(world.group_id) as work:
        assert await note_told(work, told={meter_id: OwnCut.OVERLOAD}, at=at) == (1, 0)
        assert await note_flagged(work, flagged={meter_id: SafetyLock.OVERLOAD}, at=at) == 0
    post.clock.advance(MINUTE)
    assert await look(world) == Tended()
    async with unit_of_work(world.group_id) as work:
        assert await note_told(work, told={meter_id: OwnCut.OVERLOAD}, at=at) == (0, 0)
        changed = await note_told(work, told={meter_id: OwnCut.MALIGNANT_LOAD}, at=at)
        assert changed == (1, 1), "it cuts for something else now"
    assert await open_alarms(world) == [AlarmKind.MALIGNANT_LOAD]


async def test_what_is_told_while_the_cloud_holds_the_relay_open_begins_nothing(post: Post) -> None:
    world = post.world
    set_up(post)
    await post.done(CommandKind.TRIP)
    meter_id, at = world.meter.id, post.clock.now()
    async with unit_of_work(world.group_id) as work:
        assert await note_told(work, told={meter_id: OwnCut.MALIGNANT_LOAD}, at=at) == (0, 0)
        cut = await cuts_of_meters(work, meter_ids=[meter_id], at=at)
    assert cut == {meter_id: Cut(Why.FORCED_OFF)}
    assert await open_alarms(world) == []


async def test_a_timetable_in_the_meter_is_told_as_one_and_alarms_nobody(post: Post) -> None:
    world = post.world
    mate = await bind_customer(world)
    meter_id, at = world.meter.id, post.clock.now()
    await draws(world, 0, closed=False)
    async with unit_of_work(world.group_id) as work:
        assert await note_told(work, told={meter_id: OwnCut.TIMETABLE}, at=at) == (1, 0)
        assert await cuts_of_meters(work, meter_ids=[meter_id], at=at) == {
            meter_id: Cut(Why.TIMETABLE)
        }
    assert (await trips(world), await open_alarms(world)) == ([], [])
    assert "作息时间" in (await said(world, mate, "没电"))[0]


async def test_a_meter_that_is_read_on_request_tells_as_well(post: Post) -> None:
    set_up(post)
    post.meter().act("plug", {"watts": 1_500})
    post.clock.advance(MINUTE)
    await meter_refresh(post.context, post.world.group_id, {"meter_id": str(post.world.meter.id)})
    assert await now(post) is OwnCut.MALIGNANT_LOAD


async def test_a_meter_that_sends_its_poll_unasked_tells_as_well(post: Post) -> None:
    world = post.world
    set_up(post)
    post.meter().act("plug", {"watts": 1_500})
    post.clock.advance(MINUTE)
    poll = modbus.read_registers(unit=1, address=0x0200, count=48)
    frame = await post.meter().answer(poll.request)
    assert frame is not None
    gateway = world.gateway
    row = DialInRow(world.group_id, gateway.id, world.project.id, gateway.serial, "ACREL_4G", b"")
    await Uploads().uploaded(row, 1, frame, post.clock.now())
    assert await now(post) is OwnCut.MALIGNANT_LOAD
    assert await open_alarms(world) == [AlarmKind.MALIGNANT_LOAD]


async def test_a_decision_sees_it_and_keeps_what_it_saw(post: Post) -> None:
    world = post.world
    meter_id = world.meter.id
    async with unit_of_work(world.group_id) as work:
        told_of = {meter_id: OwnCut.OVERLOAD}
        assert await note_told(work, told=told_of, at=post.clock.now()) == (1, 0)
    await post.done(CommandKind.TRIP)
    await engine(post)
    async with unit_of_work(world.group_id) as work:
        (newest,) = (await decisions_of_meters(work, meter_ids=[meter_id], limit=1))[meter_id]
    assert (newest.why, newest.inputs["own_cut"]) == (Why.FORCED_OFF, "OVERLOAD")


async def test_one_groups_cuts_are_nothing_to_another(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    told_of = {ours.meter.id: OwnCut.OVERLOAD}
    async with unit_of_work(theirs.group_id) as work:
        assert await note_told(work, told=told_of, at=ours.clock.now()) == (0, 0)
        assert await own_cuts(work, meter_ids=[ours.meter.id]) == {}
    async with unit_of_work(ours.group_id) as work:
        assert await note_told(work, told=told_of, at=ours.clock.now()) == (1, 0)
    assert (await trips(theirs), await open_alarms(theirs)) == ([], [])


@pytest.mark.parametrize(
    ("relay", "flags", "cut"),
    [
        (Relay.OPEN, MeterFlags(malignant_load_cut=True, overload_cut=True), OwnCut.MALIGNANT_LOAD),
        (Relay.OPEN, MeterFlags(overload_cut=True, timetable_cut=True), OwnCut.OVERLOAD),
        (Relay.OPEN, MeterFlags(timetable_cut=True), OwnCut.TIMETABLE),
        (Relay.OPEN, MeterFlags(arrears=True), None),
        (Relay.CLOSED, MeterFlags(malignant_load_cut=True), None),
        (Relay.UNKNOWN, MeterFlags(overload_cut=True), OwnCut.OVERLOAD),
    ],
)
def test_the_gravest_word_of_an_open_relay_counts(
    relay: Relay, flags: MeterFlags, cut: OwnCut | None
) -> None:
    assert own_cut_of(MeterSnapshot(0, b"", relay=relay, flags=flags)) is cut
