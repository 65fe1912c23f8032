"""Timetables switch circuits off and on again, whatever is paid meanwhile, never what is protected (A24)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from uuid import UUID

import pytest

from backend.control import calendars, timetables
from backend.control.calendar_rules import DayKind, Mark
from backend.control.command_rules import CommandKind
from backend.control.supplies import supplies_of_meters
from backend.control.supply_rules import Want, Why
from backend.control.timetable_rules import ALONE, Slot, timetable_of
from backend.control.timetables import KeptTimetable, Timing, TimingState
from backend.journeys import timetable
from backend.journeys.supply import protect_meter
from backend.journeys.supply_look import Looked, restore_paid, tend_supplies
from backend.kernel.clock import CHINA
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import Permission
from workers.models import meter_models
from workers.sweep import meter_refresh

from .commanded import VALVE, Post
from .test_bot_prices import said
from .world import World, admin_scope, bind_customer, make_account, make_meter

NIGHT = {DayKind.WORKDAY: (Slot(0, False), Slot(6 * 60, True), Slot(23 * 60, False))}
MONDAY, DAY = date(2026, 11, 23), timedelta(days=1)
SECOND = Actor("operator", "op-2", "wen", "203.0.113.8")
WHY = "lights out at eleven"


def china(day: date, clock: str) -> datetime:
    """A clock time of a day in China."""
    return datetime.combine(day, time.fromisoformat(clock), CHINA)


async def make(world: World, *, name: str = "宿舍熄灯") -> KeptTimetable:
    """A timetable of nights without power."""
    return await timetable.make_timetable(
        scope=world.scope,
        project_id=world.project.id,
        name=name,
        timetable=timetable_of(NIGHT),
        at=world.clock.now(),
    )


async def plan(
    world: World,
    kept: KeptTimetable | None,
    *,
    meter_ids: Sequence[UUID] | None = None,
    scope: Scope | None = None,
) -> Timing:
    """Let the world's meter follow it."""
    return await timetable.plan_timing(
        scope=scope or world.scope,
        timetable_id=None if kept is None else kept.id,
        meter_ids=[world.meter.id] if meter_ids is None else meter_ids,
        reason=WHY,
        models=meter_models(),
        at=world.clock.now(),
    )


async def at(post: Post, when: datetime) -> Looked:
    """It is then; the meter is read and supplies are looked at, what follows is served."""
    post.clock.advance(when - post.clock.now())
    payload = {"meter_id": str(post.world.meter.id)}
    await meter_refresh(post.context, post.world.group_id, payload)
    post.clock.advance(timedelta(seconds=1))
    looked = await tend_supplies(
        group_id=post.world.group_id, models=meter_models(), at=post.clock.now()
    )
    for command in (await post.all())[: looked.commands]:
        await post.serve(command)
    return looked


async def test_lights_go_out_at_eleven_and_come_back_at_six_by_the_timetable_alone(
    post: Post,
) -> None:
    world = post.world
    customer = await bind_customer(world)
    planned = await plan(world, await make(world))
    assert planned.state is TimingState.DONE
    assert await at(post, china(MONDAY, "22:50")) == Looked(0, 0, 0)
    assert (await at(post, china(MONDAY, "23:00"))).commands == 1
    assert not post.closed
    (trip,) = await post.all()
    assert (trip.kind, trip.why, trip.requested_by) == (
        CommandKind.TRIP,
        Why.TIMETABLE,
        "timetable",
    )
    paid = await restore_paid(
        group_id=world.group_id,
        purse=world.account.id,
        models=meter_models(),
        at=post.clock.now(),
    )
    assert paid == Looked(0, 0, 0)
    await at(post, china(MONDAY, "23:10"))
    told = await said(world, customer, "没电")
    assert "作息时间" in told[0]
    assert told[1] == "11月24日 06:00 自动恢复。"
    assert (await at(post, china(MONDAY + DAY, "05:59"))).commands == 0
    assert not post.closed
    assert (await at(post, china(MONDAY + DAY, "06:00"))).commands == 1
    assert post.closed
    assert (await at(post, china(MONDAY + DAY, "06:10"))).commands == 0


async def test_exams_have_nights_of_their_own(post: Post) -> None:
    world = post.world
    exam = timetable_of({**NIGHT, DayKind.EXAM: (Slot(0, True),)})
    kept = await timetable.make_timetable(
        scope=world.scope,
        project_id=world.project.id,
        name="考试周",
        timetable=exam,
        at=world.clock.now(),
    )
    await plan(world, kept)
    async with unit_of_work(world.group_id) as work:
        await calendars.mark_days(
            work,
            scope=world.scope,
            project_id=world.project.id,
            days=[MONDAY],
            mark=Mark.EXAM,
            name="期末",
            at=world.clock.now(),
        )
    assert (await at(post, china(MONDAY, "23:30"))).commands == 0
    assert (await at(post, china(MONDAY + DAY, "00:30"))).commands == 1


async def test_a_protected_circuit_stays_on_through_the_night(post: Post) -> None:
    world = post.world
    await plan(world, await make(world))
    now = world.clock.now()
    await protect_meter(
        scope=world.scope,
        meter_id=world.meter.id,
        reason="the fire pump",
        review_at=now + 90 * DAY,
        at=now,
    )
    await at(post, china(MONDAY, "23:30"))
    assert post.closed
    async with unit_of_work(world.group_id) as work:
        supply = (await supplies_of_meters(work, meter_ids=[world.meter.id]))[world.meter.id]
    assert (supply.want, supply.why) == (Want.ON, Why.PROTECTED)


async def test_a_managed_meter_that_is_sold_to_nobody_follows_its_timetable_too(post: Post) -> None:
    world = post.world
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE metering_meter SET credit_mode = 'NONE' WHERE group_id = $1 AND id = $2",
            world.group_id,
            world.meter.id,
        )
    await plan(world, await make(world))
    assert (await at(post, china(MONDAY, "22:00"))).commands == 0
    assert (await at(post, china(MONDAY, "23:30"))).commands == 1
    assert not post.closed
    assert (await at(post, china(MONDAY + DAY, "06:30"))).commands == 1
    assert post.closed


async def test_a_circuit_that_follows_none_any_more_comes_back_at_once(post: Post) -> None:
    world = post.world
    await plan(world, await make(world))
    await at(post, china(MONDAY, "23:30"))
    assert not post.closed
    assert (await plan(world, None)).timetable_id is None
    assert (await at(post, china(MONDAY, "23:40"))).commands == 1
    assert post.closed


async def test_a_valve_follows_a_timetable_too_and_a_whole_house_is_not_held_by_limits(
    post: Post,
) -> None:
    world = post.world
    valve = await post.add_meter(model="JICHENG-188-VALVE", bus_address=VALVE)
    more = []
    for unit in range(20, 26):
        meter, _ = await make_meter(
            world, serial=f"D-{unit}", bus_address=unit, account=world.account
        )
        more.append(meter.id)
    kept = await make(world)
    await plan(world, kept, meter_ids=[world.meter.id, valve.id, *more])
    async with unit_of_work(world.group_id) as work:
        assert set(await timetables.followers(work, timetable_id=kept.id)) == {
            world.meter.id,
            valve.id,
            *more,
        }
        # As if each had just been read: what is not told is looked at first.
        await work.execute(
            "INSERT INTO metering_latest (group_id, meter_id, at, received_at, total, relay)"
            " SELECT $1, m, $3, $3, 1, 1 FROM unnest($2::uuid[]) AS m",
            world.group_id,
            [valve.id, *more],
            china(MONDAY, "22:59"),
        )
    looked = await at(post, china(MONDAY, "23:00"))
    assert (looked.commands, looked.held) == (8, 0)


async def test_more_meters_than_ten_take_a_second_operator(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    account = await make_account(world, no="500001")
    ids = [world.meter.id]
    for unit in range(20, 20 + ALONE):
        meter, _ = await make_meter(world, serial=f"D-{unit}", bus_address=unit, account=account)
        ids.append(meter.id)
    kept, now = await make(world), world.clock.now()
    asked = await plan(world, kept, meter_ids=ids)
    assert asked.state is TimingState.OPEN
    async with unit_of_work(world.group_id) as work:
        assert await timetables.followers(work, timetable_id=kept.id) == []
    with pytest.raises(Conflict, match="second operator"):
        await timetable.rule_timing(scope=world.scope, timing_id=asked.id, approved=True, at=now)
    second = replace(world.scope, actor=SECOND)
    with pytest.raises(Conflict, match="expired"):
        await timetable.rule_timing(
            scope=second, timing_id=asked.id, approved=True, at=now + 3 * DAY
        )
    ruled = await timetable.rule_timing(scope=second, timing_id=asked.id, approved=True, at=now)
    assert (ruled.state, ruled.ruled_name) == (TimingState.DONE, "wen")
    with pytest.raises(Conflict, match="done before"):
        await timetable.rule_timing(scope=second, timing_id=asked.id, approved=False, at=now)
    async with unit_of_work(world.group_id) as work:
        assert set(await timetables.followers(work, timetable_id=kept.id)) == set(ids)
        newest = await timetables.timings_of_project(
            work, scope=world.scope, project_id=world.project.id, limit=5
        )
    assert [each.id for each in newest] == [asked.id]
    refused = await plan(world, kept, meter_ids=ids)
    withdrawn = await timetable.rule_timing(
        scope=world.scope, timing_id=refused.id, approved=False, at=now
    )
    assert withdrawn.state is TimingState.REFUSED
    assert (await plan(world, None, meter_ids=ids)).state is TimingState.DONE, "it cuts nobody"


async def test_a_timetable_never_changes_and_meters_that_cannot_follow_are_refused(
    post: Post,
) -> None:
    world = post.world
    kept = await make(world)
    with pytest.raises(Conflict, match="never changes"):
        await make(world)
    meter = await post.add_meter(model="ACR10R", bus_address="77")
    with pytest.raises(Conflict, match="no relay or valve"):
        await plan(world, kept, meter_ids=[meter.id])
    with pytest.raises(InvalidInput):
        await plan(world, kept, meter_ids=[])
    with pytest.raises(InvalidInput, match="2000"):
        await plan(world, kept, meter_ids=[world.meter.id] * 2001)


async def test_strangers_and_readers_plan_nothing(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    kept, foreign = await make(ours), await make(theirs)
    reading = frozenset({str(Permission.PROJECT_READ), str(Permission.METER_READ)})
    with pytest.raises(Forbidden):
        await plan(ours, kept, scope=admin_scope(ours.group_id, permissions=reading))
    with pytest.raises(NotFound):
        await plan(ours, foreign)
    with pytest.raises(NotFound):
        await plan(ours, kept, meter_ids=[theirs.meter.id])
    with pytest.raises(NotFound):
        await timetable.make_timetable(
            scope=theirs.scope,
            project_id=ours.project.id,
            name="x",
            timetable=kept.timetable,
            at=ours.clock.now(),
        )
    timing = await plan(ours, kept)
    with pytest.raises(NotFound):
        await timetable.rule_timing(
            scope=theirs.scope, timing_id=timing.id, approved=True, at=ours.clock.now()
        )
    async with unit_of_work(theirs.group_id) as work:
        assert await timetables.off_now(work, at=china(MONDAY, "23:30")) == []
        for door in (
            timetables.timetable(work, scope=theirs.scope, timetable_id=kept.id),
            timetables.timing(work, scope=theirs.scope, timing_id=timing.id),
        ):
            with pytest.raises(NotFound):
                await door
