"""A load guard is told to the meters that can run it, and the cloud runs it for the others (A24)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from backend.control.command_rules import CommandKind, CommandState
from backend.control.load_guards import KeptGuard, guarded_meters
from backend.control.load_limits import OFF, MeterLimits, limits_of_meters
from backend.control.load_rules import LoadGuard
from backend.control.safety_trips import running_trips
from backend.control.supply_rules import OwnCut
from backend.journeys.dormitory import Tended
from backend.journeys.load_limits import tend_load_limits
from backend.journeys.own_cuts import note_told
from backend.kernel.db import unit_of_work
from workers.models import meter_models
from workers.sweep import sweep_due

from .commanded import CLOUD, Post
from .dormitory import draws, guarded, make_guard
from .test_dormitory import look, trips
from .world import World

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
BY_METER = LoadGuard(most_w=2_500, step_w=800, by_meter=True)
TOLD = {
    "on": 1,
    "most_w": 2_500,
    "step_w": 800,
    "factor_permille": 950,
    "trips": 3,
    "restore_minutes": 10,
}


async def tend(world: World) -> int:
    """Limits are tended; how many commands were given."""
    return await tend_load_limits(
        group_id=world.group_id, models=meter_models(), at=world.clock.now()
    )


async def limits(world: World, meter_id: UUID | None = None) -> MeterLimits | None:
    """What a meter is to hold and holds."""
    asked = meter_id or world.meter.id
    async with unit_of_work(world.group_id) as work:
        return (await limits_of_meters(work, meter_ids=[asked])).get(asked)


async def cloud_runs(world: World) -> set[UUID]:
    """The meters whose loads the cloud looks at."""
    async with unit_of_work(world.group_id) as work:
        return set(await guarded_meters(work))


async def told(post: Post, guard: LoadGuard = BY_METER) -> KeptGuard:
    """Our meter is under a guard, was told it and read back to hold it."""
    kept = await make_guard(post.world, guard=guard)
    await guarded(post.world, kept)
    post.clock.advance(SECOND)
    assert await tend(post.world) == 1
    await post.serve((await post.all())[0])
    post.clock.advance(SECOND)
    assert await tend(post.world) == 0
    return kept


async def test_a_guard_is_told_to_its_meter_and_read_back_and_then_the_meter_runs_it(
    post: Post,
) -> None:
    world = post.world
    kept = await make_guard(world, guard=BY_METER)
    await guarded(world, kept)
    assert await tend(world) == 1
    assert await tend(world) == 0, "it is on its way"
    assert await cloud_runs(world) == {world.meter.id}, "until the meter was read back"
    (command,) = await post.all()
    assert (command.kind, command.settings, command.requested_by) == (
        CommandKind.LOAD_LIMITS,
        TOLD,
        "load limits",
    )
    await post.serve(command)
    assert (await post.now(command)).state is CommandState.VERIFIED
    held = post.meter().state().settings.load
    assert (held.on, held.most_w, held.step_w, held.trips) == (True, 2_500, 800, 3)
    post.clock.advance(SECOND)
    assert await tend(world) == 0
    known = await limits(world)
    assert known is not None
    assert known.runs
    assert known.actual == TOLD
    assert await cloud_runs(world) == set()
    await draws(world, 60)
    post.clock.advance(MINUTE)
    await draws(world, 9_000)
    assert await look(world) == Tended(), "the meter looks itself, and faster"


async def test_a_guard_that_changes_is_told_anew_and_the_cloud_runs_it_meanwhile(
    post: Post,
) -> None:
    world = post.world
    await told(post)
    await make_guard(world, guard=replace(BY_METER, most_w=1_500))
    post.clock.advance(SECOND)
    assert await tend(world) == 1
    assert await cloud_runs(world) == {world.meter.id}
    await post.serve((await post.all())[0])
    post.clock.advance(SECOND)
    await tend(world)
    assert post.meter().state().settings.load.most_w == 1_500
    assert await cloud_runs(world) == set()


async def test_a_guard_that_is_the_clouds_again_is_switched_off_in_the_meter(post: Post) -> None:
    world = post.world
    kept = await told(post)
    await make_guard(world, guard=replace(BY_METER, by_meter=False))
    post.clock.advance(SECOND)
    assert await tend(world) == 1
    command = (await post.all())[0]
    assert command.settings == OFF
    await post.serve(command)
    load = post.meter().state().settings.load
    assert (load.on, load.most_w) == (False, 2_500)
    post.clock.advance(SECOND)
    assert await tend(world) == 0
    assert await limits(world) is None
    assert await cloud_runs(world) == {world.meter.id}
    await make_guard(world, guard=BY_METER)
    assert (await tend(world), kept.guard.by_meter) == (1, True)
    await guarded(world, None)
    post.clock.advance(SECOND)
    assert await tend(world) == 1, "what may have reached it is taken back"


async def test_what_is_under_way_when_a_guard_is_taken_away_is_taken_back(post: Post) -> None:
    world = post.world
    await told(post)
    await make_guard(world, guard=replace(BY_METER, by_meter=False))
    post.clock.advance(SECOND)
    assert await tend(world) == 1
    await post.serve((await post.all())[0])
    await make_guard(world, guard=BY_METER)
    post.clock.advance(SECOND)
    assert await tend(world) == 1, "it was off, and is to be on again"
    await guarded(world, None)
    post.clock.advance(SECOND)
    assert await tend(world) == 1
    newest, before, *_ = await post.all()
    assert (newest.settings, before.state) == (OFF, CommandState.SUPERSEDED)


async def test_a_meter_that_refuses_lags_is_told_again_and_its_guard_is_run_by_the_cloud(
    post: Post,
) -> None:
    world = post.world
    await guarded(world, await make_guard(world, guard=BY_METER))
    post.ear.refused = 1
    assert await tend(world) == 1
    command = (await post.all())[0]
    await post.serve(command)
    assert (await post.now(command)).state is CommandState.FAILED
    post.clock.advance(SECOND)
    assert await tend(world) == 0
    lagging = await limits(world)
    assert lagging is not None
    assert (lagging.runs, lagging.tries, lagging.actual) == (False, 1, None)
    assert "the meter refuses" in (lagging.problem or "")
    assert await cloud_runs(world) == {world.meter.id}
    post.clock.advance(15 * MINUTE)
    assert await tend(world) == 1
    await post.serve((await post.all())[0])
    post.clock.advance(SECOND)
    await tend(world)
    assert await cloud_runs(world) == set()


async def test_what_a_meter_cannot_hold_is_never_told_in_part(post: Post) -> None:
    world = post.world
    cannot = (
        replace(BY_METER, allowed=((1_000, 1_200),)),
        replace(BY_METER, most_w=None),
        replace(BY_METER, step_w=None),
        replace(BY_METER, restore=timedelta(minutes=256)),
        replace(BY_METER, by_meter=False),
    )
    for guard in cannot:
        await guarded(world, await make_guard(world, guard=guard))
        assert await tend(world) == 0, guard
        assert await limits(world) is None
        assert await cloud_runs(world) == {world.meter.id}
    stranger = await post.add_meter(model="GENERIC-645-2007", bus_address=CLOUD)
    await guarded(world, await make_guard(world, guard=BY_METER), [stranger.id])
    await tend(world)
    assert await limits(world, stranger.id) is None, "no layout of its load control is known"
    assert stranger.id in await cloud_runs(world)


async def test_a_threshold_of_power_by_an_operator_is_put_right_again(post: Post) -> None:
    world = post.world
    await told(post)
    limit = await post.done(CommandKind.THRESHOLDS, thresholds={"overload_w": 9_000})
    assert limit.state is CommandState.VERIFIED
    post.clock.advance(SECOND)
    assert await tend(world) == 1
    await post.serve((await post.all())[0])
    assert post.meter().state().settings.load.most_w == 2_500


async def test_a_meter_that_is_forced_on_opens_for_no_load_so_the_cloud_looks(post: Post) -> None:
    world = post.world
    await told(post)
    assert await cloud_runs(world) == set()
    await post.done(CommandKind.KEEP_POWER)
    assert await cloud_runs(world) == {world.meter.id}


async def test_a_cut_by_the_meter_is_over_after_the_guards_minutes_and_not_after_its_trips(
    post: Post,
) -> None:
    world = post.world
    await told(post)
    meter_id = world.meter.id
    backs = []
    for _ in range(3):
        post.clock.advance(MINUTE)
        async with unit_of_work(world.group_id) as work:
            at = post.clock.now()
            await note_told(work, told={meter_id: OwnCut.MALIGNANT_LOAD}, at=at)
            back = (await running_trips(work, meter_ids=[meter_id]))[meter_id].restore_at
            backs.append(None if back is None else back - at)
            await note_told(work, told={meter_id: None}, at=at)
    assert backs == [10 * MINUTE, 10 * MINUTE, None]
    assert {each.ended_by for each in await trips(world)} == {"meter"}


async def test_the_cloud_ends_no_cut_of_the_meters_when_its_minutes_are_over(post: Post) -> None:
    world = post.world
    await told(post)
    async with unit_of_work(world.group_id) as work:
        cut: dict[UUID, OwnCut | None] = {world.meter.id: OwnCut.MALIGNANT_LOAD}
        await note_told(work, told=cut, at=post.clock.now())
    post.clock.advance(timedelta(hours=1))
    assert await look(world) == Tended()
    (trip,) = await trips(world, running=True)
    assert (trip.by_meter, trip.ended_at) == (True, None)


async def test_a_room_that_its_meter_locked_has_power_again_when_its_guard_is_taken_away(
    post: Post,
) -> None:
    world = post.world
    await told(post, replace(BY_METER, most_w=9_000, trips_a_day=1))
    post.meter().act("plug", {"watts": 1_500})
    payload = {"gateway_id": str(world.gateway.id)}
    post.clock.advance(MINUTE)
    await sweep_due(post.context, world.group_id, payload)
    (trip,) = await trips(world, running=True)
    assert (trip.by_meter, trip.restore_at) == (True, None)
    post.clock.advance(timedelta(days=1))
    await sweep_due(post.context, world.group_id, payload)
    assert not post.closed
    await guarded(world, None)
    assert await tend(world) == 1
    await post.serve((await post.all())[0])
    post.clock.advance(MINUTE)
    await sweep_due(post.context, world.group_id, payload)
    assert post.closed
    assert await trips(world, running=True) == []


async def test_one_groups_guards_tell_another_groups_meters_nothing(
    both: tuple[Post, Post],
) -> None:
    ours, theirs = both
    await guarded(ours.world, await make_guard(ours.world, guard=BY_METER))
    theirs.world.clock = ours.world.clock
    assert await tend(theirs.world) == 0
    assert await tend(ours.world) == 1
    async with unit_of_work(theirs.world.group_id) as work:
        assert await limits_of_meters(work, meter_ids=[ours.world.meter.id]) == {}
    assert (await theirs.all(), theirs.ear.heard) == ([], [])
