"""A kettle in a room of students: found, switched off, told, given back, and at last locked (A24, C21)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from backend.alerts.alarm_rules import AlarmKind
from backend.control import load_guards
from backend.control.command_rules import CommandKind
from backend.control.load_rules import LoadGuard
from backend.control.safety_trips import SafetyTrip, trips_of_project
from backend.control.supplies import supplies_of_meters
from backend.control.supply_rules import SafetyLock, Why
from backend.journeys.dormitory import Tended, note_flagged, tend_loads, unlock_circuit
from backend.journeys.supply import protect_meter
from backend.journeys.supply_look import Looked, restore_paid, tend_supplies
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.tenancy.rules import Permission
from workers.models import meter_models
from workers.protocols import modbus
from workers.sweep import sweep_due

from .commanded import WHY, Post
from .dormitory import ROOMS, draws, guarded, make_guard
from .test_bot_prices import said
from .world import World, admin_scope, bind_customer

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
QUARTER = timedelta(minutes=15)


async def look(world: World) -> Tended:
    """Loads are looked at."""
    return await tend_loads(group_id=world.group_id, at=world.clock.now())


async def trips(world: World, *, running: bool = False) -> Sequence[SafetyTrip]:
    """The project's trips, newest first."""
    async with unit_of_work(world.group_id) as work:
        return await trips_of_project(
            work,
            scope=world.scope,
            project_id=world.project.id,
            running=running,
            limit=20,
        )


async def open_alarms(world: World) -> list[str]:
    """The kinds of the group's open alarms."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT kind FROM alerts_alarm WHERE group_id = $1 AND ended_at IS NULL ORDER BY kind",
            world.group_id,
        )
    return [row["kind"] for row in rows]


async def told(world: World) -> set[UUID]:
    """The customers of the group who are told that a load switched their room off."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT customer_id FROM alerts_delivery WHERE group_id = $1 AND event = 'load_cut'",
            world.group_id,
        )
    return {row["customer_id"] for row in rows}


async def engine(post: Post) -> Looked:
    """The engine of supplies looks, and its commands are served."""
    looked = await tend_supplies(
        group_id=post.world.group_id, models=meter_models(), at=post.clock.now()
    )
    for command in (await post.all())[: looked.commands]:
        await post.serve(command)
    return looked


async def kettle(post: Post) -> None:
    """The room draws little, and a quarter of an hour later a kettle more."""
    await draws(post.world, 60)
    post.clock.advance(QUARTER)
    await draws(post.world, 1_560)
    post.clock.advance(SECOND)


async def test_a_kettle_switches_its_room_off_and_after_ten_minutes_power_comes_back(
    post: Post,
) -> None:
    world = post.world
    mates = [await bind_customer(world, external_id=who) for who in ("o-zhang", "o-li")]
    await guarded(world, await make_guard(world))
    post.clock.advance(SECOND)
    await draws(world, 60)
    assert await look(world) == Tended()
    post.clock.advance(QUARTER)
    await draws(world, 1_560)
    post.clock.advance(SECOND)
    assert await look(world) == Tended(locked=1)
    assert await look(world) == Tended()
    assert (await engine(post)).commands == 1
    assert not post.closed
    trip = (await post.all())[0]
    assert (trip.kind, trip.why, trip.requested_by) == (
        CommandKind.TRIP,
        Why.SAFETY_LOCK,
        "safety lock",
    )
    assert await open_alarms(world) == [AlarmKind.MALIGNANT_LOAD]
    assert await told(world) == {mate.id for mate in mates}
    paid = await restore_paid(
        group_id=world.group_id, purse=world.account.id, models=meter_models(), at=post.clock.now()
    )
    assert paid.commands == 0
    await draws(world, 0, closed=False)
    why = await said(world, mates[0], "没电")
    assert "违规电器" in why[0]
    assert "自动恢复" in why[1]
    post.clock.advance(9 * MINUTE)
    assert await look(world) == Tended()
    assert (await engine(post)).commands == 0
    post.clock.advance(MINUTE)
    await draws(world, 0, closed=False)
    assert await look(world) == Tended(restored=1)
    assert (await engine(post)).commands == 1
    assert post.closed
    assert await open_alarms(world) == []
    (ended,) = await trips(world)
    assert (ended.ended_by, ended.detail["step_w"]) == ("load guard", "1500")


async def test_the_third_trip_of_a_day_stays_until_an_operator_unlocks(post: Post) -> None:
    world = post.world
    await guarded(world, await make_guard(world))
    post.clock.advance(SECOND)
    for number in range(3):
        await kettle(post)
        assert (await look(world)).locked == 1, number
        if number < 2:
            post.clock.advance(10 * MINUTE)
            assert (await look(world)).restored == 1
    (running,) = await trips(world, running=True)
    assert running.restore_at is None
    post.clock.advance(timedelta(days=2))
    assert await look(world) == Tended()
    await draws(world, 0, closed=True)
    assert (await engine(post)).commands == 1
    assert not post.closed
    unlocked = await unlock_circuit(
        scope=world.scope, meter_id=world.meter.id, note="the kettle is gone", at=post.clock.now()
    )
    assert (unlocked.ended_by, unlocked.note) == ("ling", "the kettle is gone")
    (entry,) = await post.audited("load:circuit:unlock")
    assert entry.before is not None
    assert entry.before["lock"] == "MALIGNANT_LOAD"
    post.clock.advance(MINUTE)
    await draws(world, 0, closed=False)
    assert (await engine(post)).commands == 1
    assert post.closed
    with pytest.raises(Conflict, match="not locked"):
        await unlock_circuit(
            scope=world.scope, meter_id=world.meter.id, note=WHY, at=post.clock.now()
        )


async def test_a_new_day_counts_anew(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    await guarded(world, await make_guard(world, guard=LoadGuard(2_000, None, trips_a_day=2)))
    for day in range(2):
        world.clock.advance(timedelta(days=1))
        await draws(world, 2_001)
        assert (await look(world)).locked == 1
        assert (await trips(world))[0].restore_at is not None, day
        world.clock.advance(10 * MINUTE)
        assert (await look(world)).restored == 1


async def test_what_is_late_old_allowed_or_not_guarded_switches_nobody_off(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    other.clock = world.clock
    await draws(other, 60)
    await draws(world, 9_000)
    await guarded(world, await make_guard(world))
    assert await look(world) == Tended(), "read before it was guarded"
    world.clock.advance(timedelta(hours=3))
    await draws(world, 9_000, at=world.clock.now() - timedelta(hours=2))
    assert await look(world) == Tended(), "a reading of hours ago"
    await draws(world, 100)
    world.clock.advance(QUARTER)
    await draws(world, 1_200)
    await draws(other, 9_000)
    assert await look(world) == Tended(), "an allowed step"
    assert await look(other) == Tended(), "under no guard"
    world.clock.advance(QUARTER)
    await guarded(world, None)
    await draws(world, 9_000)
    assert await look(world) == Tended()
    assert await trips(world) == []


async def test_what_a_meter_says_itself_is_believed_in_a_sweep(post: Post) -> None:
    world = post.world
    await guarded(world, await make_guard(world))
    meter = post.meter()
    answer = meter.answer

    async def over_its_limit(request: bytes, /) -> bytes | None:
        said = await answer(request)
        if said is None or len(said) < 101:
            return said
        body = bytearray(said[:-2])
        body[3 + 2 * 0x24 + 1] |= 0x10  # register 0224, bit 4: over its limit
        return bytes(body) + modbus.crc_of(bytes(body))

    meter.answer = over_its_limit  # type: ignore[method-assign] # its front panel, not another meter
    payload = {"gateway_id": str(world.gateway.id)}
    await sweep_due(post.context, world.group_id, payload)
    (trip,) = await trips(world, running=True)
    assert (trip.kind, trip.detail) == (SafetyLock.OVERLOAD, {"told_by": "meter"})
    assert await open_alarms(world) == [AlarmKind.OVERLOAD]
    await sweep_due(post.context, world.group_id, payload)
    assert len(await trips(world)) == 1
    await draws(world, 0, at=post.clock.now() + SECOND)
    await engine(post)
    assert not post.closed


async def test_a_protected_circuit_is_alarmed_and_stays_on(post: Post) -> None:
    world = post.world
    now = post.clock.now()
    await protect_meter(
        scope=world.scope,
        meter_id=world.meter.id,
        reason="a ventilator",
        review_at=now + timedelta(days=30),
        at=now,
    )
    await guarded(world, await make_guard(world))
    post.clock.advance(SECOND)
    await kettle(post)
    assert (await look(world)).locked == 1
    await engine(post)
    assert post.closed
    assert await open_alarms(world) == [AlarmKind.MALIGNANT_LOAD]


async def test_a_guard_is_changed_for_all_under_it_and_audited(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    kept = await make_guard(world)
    assert await guarded(world, kept) == 1
    changed = await make_guard(world, guard=LoadGuard(5_000, 4_000))
    assert changed.id == kept.id
    async with unit_of_work(world.group_id) as work:
        assert await load_guards.guards_of_project(
            work, scope=world.scope, project_id=world.project.id
        ) == [changed]
        (under,) = await load_guards.lock_guarded(work, meter_ids=[world.meter.id])
        supply = (await supplies_of_meters(work, meter_ids=[world.meter.id]))[world.meter.id]
    assert under.guard == changed.guard != ROOMS
    assert supply.safety is None


async def test_strangers_and_readers_guard_and_unlock_nothing(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    kept, foreign, at = await make_guard(ours), await make_guard(theirs), ours.clock.now()
    with pytest.raises(NotFound):
        await guarded(ours, foreign)
    with pytest.raises(NotFound):
        await guarded(ours, kept, [theirs.meter.id])
    with pytest.raises(InvalidInput):
        await guarded(ours, kept, [])
    async with unit_of_work(ours.group_id) as work:
        assert await note_flagged(work, flagged={ours.meter.id: SafetyLock.OVERLOAD}, at=at) == 0
    reading = frozenset({str(Permission.PROJECT_READ), str(Permission.METER_READ)})
    for scope, error in (
        (admin_scope(ours.group_id, permissions=reading), Forbidden),
        (theirs.scope, NotFound),
    ):
        with pytest.raises(error):
            await unlock_circuit(scope=scope, meter_id=ours.meter.id, note=WHY, at=at)
    async with unit_of_work(theirs.group_id) as work:
        with pytest.raises(NotFound):
            await load_guards.guard(work, scope=theirs.scope, guard_id=kept.id)
        with pytest.raises(NotFound):
            await trips_of_project(
                work, scope=theirs.scope, project_id=ours.project.id, running=False, limit=5
            )
