"""One order to many meters: shown before, by two where there are many, each by the way of all (A21, C22)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.alerts.queries import cases_page
from backend.audit.queries import entries
from backend.control.batch_items import mark_asked, next_up
from backend.control.batch_rules import BatchState, ItemState
from backend.control.batches import Batch
from backend.control.command_rules import CommandKind, CommandState
from backend.control.commands import Command
from backend.control.supplies import supplies_of_meters
from backend.control.supply_rules import SupplyPolicy
from backend.journeys import batch as journey
from backend.journeys.batch import TOPIC, Wish
from backend.journeys.batch_run import tend_batches
from backend.journeys.command import command_meter
from backend.kernel import failpoints
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, NotFound
from backend.kernel.failpoints import Moment, Place, SimulatedCrash
from backend.kernel.scope import Actor
from backend.outbox.operations import claim
from backend.tenancy.rules import Permission
from workers.batch import batch_due
from workers.models import meter_models

from .batched import SECOND, WHY, WINDOW, Site, make_operator, make_site, protect
from .commanded import Post
from .world import World, admin_scope, make_meter

READY, ASKED, DONE = ItemState.READY, ItemState.ASKED, ItemState.DONE
FAILED, LEFT, CANCELLED = ItemState.FAILED, ItemState.LEFT_OUT, ItemState.CANCELLED
KEEP = CommandKind.KEEP_POWER


@pytest.fixture
async def site(worlds: tuple[World, World]) -> Site:
    """Ours, fourteen meters at each of two gateways; the other group has as many of the same numbers."""
    worlds[1].clock = worlds[0].clock
    return await make_site(worlds[0], meters=28, at_each=14)


async def cases(site: Site) -> list[str]:
    """The kinds of the project's open cases."""
    async with unit_of_work(site.world.group_id) as work:
        found = await cases_page(
            work,
            scope=site.world.scope,
            project_id=site.world.project.id,
            only_open=True,
            before=None,
            limit=10,
        )
    return [case.kind for case in found]


async def test_above_the_limit_a_second_operator_has_the_last_word_and_never_who_asked(
    site: Site,
) -> None:
    made = await site.prepare(site.numbers())
    assert made.second
    with pytest.raises(Forbidden, match="preview"):
        await journey.confirm_batch(scope=site.wen, batch_id=made.id, at=site.at)
    waiting = await journey.confirm_batch(scope=site.ling, batch_id=made.id, at=site.at)
    assert waiting.state is BatchState.WAITING
    with pytest.raises(Conflict, match="second operator"):
        await journey.rule_batch(scope=site.ling, batch_id=made.id, approved=True, at=site.at)
    site.clock.advance(timedelta(hours=1))
    assert await site.round(made) is None
    assert await site.commands() == []
    begun = await journey.rule_batch(scope=site.wen, batch_id=made.id, approved=True, at=site.at)
    assert begun.starts_at == site.at + WINDOW
    with pytest.raises(Conflict, match="RUNNING"):
        await journey.rule_batch(scope=site.wen, batch_id=made.id, approved=False, at=site.at)
    site.clock.advance(WINDOW)
    assert await site.round(made) is not None
    assert len(await site.commands()) == 20  # two and then twice four at each of two gateways


async def test_what_is_refused_or_not_ruled_on_in_a_day_never_goes(site: Site) -> None:
    refused = await site.prepare(site.numbers())
    await journey.confirm_batch(scope=site.ling, batch_id=refused.id, at=site.at)
    ruled = await journey.rule_batch(
        scope=site.wen, batch_id=refused.id, approved=False, at=site.at
    )
    assert ruled.state is BatchState.REFUSED
    forgotten = await site.prepare(site.numbers())
    await journey.confirm_batch(scope=site.ling, batch_id=forgotten.id, at=site.at)
    old = await site.prepare(site.numbers(0))
    site.clock.advance(timedelta(hours=24))
    with pytest.raises(Conflict, match="too old"):
        await journey.confirm_batch(scope=site.ling, batch_id=old.id, at=site.at)
    with pytest.raises(Conflict, match="expired"):
        await journey.rule_batch(scope=site.wen, batch_id=forgotten.id, approved=True, at=site.at)
    await tend_batches(group_id=site.world.group_id, at=site.at)
    assert (await site.now(forgotten)).state is BatchState.EXPIRED
    assert (await site.now(old)).state is BatchState.EXPIRED
    for made in (refused, forgotten, old):
        assert await site.round(made) is None
    assert await site.commands() == []


async def test_slices_of_a_large_batch_are_counted_together(site: Site) -> None:
    await site.confirmed(site.numbers(0, 1, 2))
    second = await site.prepare(site.numbers(3, 4, 5))
    assert second.second
    waiting = await journey.confirm_batch(scope=site.ling, batch_id=second.id, at=site.at)
    assert waiting.state is BatchState.WAITING
    by_another = await site.prepare(site.numbers(3, 4, 5), scope=site.wen)
    assert not by_another.second
    site.clock.advance(timedelta(hours=1))
    later = await site.prepare(site.numbers(6, 7, 8))
    assert not later.second


async def test_within_a_minute_of_the_last_word_all_of_it_can_be_called_off(site: Site) -> None:
    made = await site.prepare(site.numbers(0, 1))
    begun = await journey.confirm_batch(scope=site.ling, batch_id=made.id, at=site.at)
    assert (begun.state, begun.second) == (BatchState.RUNNING, False)
    site.clock.advance(WINDOW - SECOND)
    assert await site.round(made) == begun.starts_at
    assert await site.commands() == []
    await journey.cancel_batch(scope=site.wen, batch_id=made.id, at=site.at)
    site.clock.advance(timedelta(minutes=5))
    assert await site.round(made) is None
    assert await site.commands() == []
    assert await site.states(made) == {CANCELLED: 2}
    with pytest.raises(Conflict, match="CANCELLED"):
        await journey.resume_batch(scope=site.ling, batch_id=made.id, at=site.at)


async def test_a_bus_gets_no_more_at_once_than_it_serves_in_time(site: Site) -> None:
    made = await site.confirmed(site.numbers())
    await site.round(made)
    assert await site.states(made) == {ASKED: 20, READY: 8}
    site.clock.advance(SECOND)
    await site.round(made)
    assert await site.states(made) == {ASKED: 20, READY: 8}
    await site.obey(most=3)
    site.clock.advance(SECOND)
    await site.round(made)
    told = "one of them has room for the next errand now, and gets all four of it"
    assert await site.states(made) == {ASKED: 21, READY: 4, DONE: 3}, told
    while await site.round(made):
        await site.obey()
    assert await site.states(made) == {DONE: 28}
    ended = await site.now(made)
    assert (ended.state, ended.finished_at) == (BatchState.DONE, site.at)


async def test_a_project_has_no_more_on_its_way_than_leaves_room_for_who_pays(site: Site) -> None:
    first = await site.confirmed(site.numbers(0, 1, 2))
    await site.round(first)
    made = await site.prepare(site.numbers())
    for most, expected in ((5, 2), (3, 0), (2, 0), (100, 5)):
        async with unit_of_work(site.world.group_id) as work:
            found = await next_up(
                work,
                batch_id=made.id,
                project_id=made.project_id,
                at_a_gateway=4,
                in_a_project=most,
                together=1,
                limit=50,
            )
        assert len(found) == expected  # of the first gateway one, of the other four


async def test_what_was_protected_after_the_preview_is_refused_by_this_way_too(site: Site) -> None:
    made = await site.prepare(site.numbers(0, 1))
    await journey.confirm_batch(scope=site.ling, batch_id=made.id, at=site.at)
    await protect(site, 1)
    site.clock.advance(WINDOW)
    await site.round(made)
    one, other = await site.items(made)
    assert (one.state, other.state) == (ASKED, FAILED)
    assert other.note is not None
    assert "the fire pump" in other.note
    async with unit_of_work(site.world.group_id) as work:
        held = await supplies_of_meters(work, meter_ids=[site.meters[1].id])
    assert held[site.meters[1].id].policy is SupplyPolicy.AUTO
    assert len(await site.commands()) == 1


async def test_who_moved_in_after_the_preview_is_not_cut_for_who_moved_out(site: Site) -> None:
    made = await site.prepare(site.numbers(0))
    await journey.confirm_batch(scope=site.ling, batch_id=made.id, at=site.at)
    async with unit_of_work(site.world.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET ended_at = $3 WHERE group_id = $1 AND meter_id = $2",
            work.group_id,
            site.meters[0].id,
            site.at,
        )
    site.clock.advance(WINDOW)
    await site.round(made)
    (item,) = await site.items(made)
    assert (item.state, item.note) == (FAILED, "it serves somebody else than at the preview")
    assert await site.commands() == []


async def test_a_paused_batch_asks_nothing_until_it_is_resumed(site: Site) -> None:
    made = await site.confirmed(site.numbers())
    await site.round(made)
    await journey.pause_batch(scope=site.wen, batch_id=made.id, at=site.at)
    await site.obey()
    assert await site.round(made) is None
    assert await site.states(made) == {DONE: 20, READY: 8}
    await tend_batches(group_id=site.world.group_id, at=site.at)
    assert await site.round(made) is None
    assert len(await site.commands()) == 20
    await journey.resume_batch(scope=site.wen, batch_id=made.id, at=site.at)
    await site.round(made)
    assert len(await site.commands()) == 28


async def test_of_a_cancelled_batch_what_is_on_its_way_ends_and_the_rest_is_not_asked(
    site: Site,
) -> None:
    made = await site.confirmed(site.numbers())
    await site.round(made)
    await journey.cancel_batch(scope=site.ling, batch_id=made.id, at=site.at)
    assert await site.round(made) is not None
    await site.obey()
    assert await site.round(made) is None
    assert await site.states(made) == {DONE: 20, CANCELLED: 8}
    assert (await site.now(made)).state is BatchState.CANCELLED


async def test_what_failed_is_asked_again_and_what_was_overtaken_is_not(site: Site) -> None:
    made = await site.confirmed(site.numbers(0, 1, 2), Wish(KEEP, WHY))
    await site.round(made)
    await command_meter(
        scope=site.world.scope,
        meter_id=site.meters[0].id,
        kind=CommandKind.RELEASE,
        reason="not this one",
        models=meter_models(),
        at=site.at,
    )
    await site.obey(CommandState.FAILED)
    assert await site.round(made) is None
    assert await site.states(made) == {ItemState.OVERTAKEN: 1, FAILED: 2}
    assert (await site.now(made)).state is BatchState.DONE
    assert await cases(site) == ["BATCH_FAILED"]
    before = len(await site.commands())
    await journey.retry_batch(scope=site.ling, batch_id=made.id, at=site.at)
    await site.round(made)
    await site.obey()
    assert await site.round(made) is None
    assert len(await site.commands()) == before + 2
    assert await site.states(made) == {ItemState.OVERTAKEN: 1, DONE: 2}
    assert sorted(item.tries for item in await site.items(made)) == [0, 1, 1]
    assert await cases(site) == []
    with pytest.raises(Conflict, match="nothing failed"):
        await journey.retry_batch(scope=site.ling, batch_id=made.id, at=site.at)


async def test_whose_right_to_control_ended_has_no_batch_that_goes_on(site: Site) -> None:
    made = await site.confirmed(site.numbers())
    await site.round(made)
    async with unit_of_work(site.world.group_id) as work:
        await work.execute(
            "DELETE FROM tenancy_grant WHERE group_id = $1 AND operator_id = $2::text::uuid",
            work.group_id,
            site.ling.actor.id,
        )
    await site.obey()
    await site.round(made)
    halted = await site.now(made)
    assert (halted.state, halted.note) == (
        BatchState.PAUSED,
        "who asked for it may not control meters any more",
    )
    assert await cases(site) == ["BATCH_HALTED"]
    assert await site.states(made) == {DONE: 20, READY: 8}


async def test_trips_that_nobody_carried_on_for_long_ask_a_person_first(site: Site) -> None:
    trips = await site.confirmed(site.numbers(0, 1))
    clocks = await site.prepare(site.numbers(2, 3), Wish(CommandKind.SYNC_CLOCK, WHY))
    await journey.confirm_batch(scope=site.ling, batch_id=clocks.id, at=site.at)
    site.clock.advance(timedelta(hours=2))
    await site.round(trips)
    await site.round(clocks)
    assert (await site.now(trips)).state is BatchState.PAUSED
    assert await site.states(trips) == {READY: 2}
    assert await site.states(clocks) == {ASKED: 2}
    await journey.resume_batch(scope=site.ling, batch_id=trips.id, at=site.at)
    await site.round(trips)
    assert await site.states(trips) == {ASKED: 2}
    site.clock.advance(timedelta(hours=24))
    await tend_batches(group_id=site.world.group_id, at=site.at)
    await site.obey(CommandState.FAILED)
    await site.round(trips)
    with pytest.raises(Conflict, match="its day is over"):
        await journey.retry_batch(scope=site.ling, batch_id=trips.id, at=site.at)


async def test_two_workers_at_one_batch_command_each_meter_once(site: Site) -> None:
    made = await site.confirmed(site.numbers())
    await asyncio.gather(*(site.round(made) for _ in range(4)))
    assert len(await site.commands()) == 20


async def due(site: Site, *, lease: timedelta = SECOND) -> list[str]:
    """The topics of batches that are due, leased now."""
    async with unit_of_work(site.world.group_id) as work:
        events = await claim(work, at=site.at, lease=lease, limit=100)
    return [event.topic for event in events if event.topic == TOPIC]


async def test_whatever_commit_a_worker_dies_at_the_next_goes_on_and_no_meter_is_asked_twice(
    site: Site,
) -> None:
    made = await site.confirmed(site.numbers())
    reached, where = 0, list[str]()

    def strike(place: Place, moment: Moment) -> None:
        nonlocal reached
        if place.function == where[-1]:
            reached += 1
            raise SimulatedCrash(f"{moment}")

    for function in ("run_batch", "gives") * 3:
        where.append(function)
        with failpoints.armed(strike), pytest.raises(SimulatedCrash):
            await site.round(made)
        site.clock.advance(SECOND)
        await site.obey(most=7)
    assert reached == 6
    assert await due(site, lease=timedelta(minutes=15)) == [TOPIC]  # who has it is dead
    await tend_batches(group_id=site.world.group_id, at=site.at)
    assert await due(site) == []
    site.clock.advance(timedelta(seconds=30))
    await tend_batches(group_id=site.world.group_id, at=site.at)
    assert await due(site) == [TOPIC]
    while await site.round(made):
        await site.obey()
    assert await site.states(made) == {DONE: 28}
    assert len(await site.commands()) == 28


async def test_a_batch_needs_the_right_to_control_as_well_and_shows_nothing_to_others(
    site: Site, worlds: tuple[World, World]
) -> None:
    for held in (Permission.BATCH_RUN, Permission.METER_CONTROL):
        reads = {str(Permission.METER_READ), str(Permission.PROJECT_READ)}
        half = admin_scope(site.world.group_id, permissions=frozenset({*reads, str(held)}))
        with pytest.raises(Forbidden):
            await site.prepare(site.numbers(0), scope=half)
    machine = replace(site.world.scope, actor=Actor("system", "x", "some job"))
    with pytest.raises(Forbidden, match="operator's"):
        await site.prepare(site.numbers(0), scope=machine)
    made = await site.prepare(site.numbers(0))
    theirs = worlds[1].scope
    for step in (journey.confirm_batch, journey.pause_batch, journey.cancel_batch):
        with pytest.raises(NotFound, match="no such batch"):
            await step(scope=theirs, batch_id=made.id, at=site.at)
    auditor = await make_operator(site.world, "auditor", role="auditor")
    with pytest.raises(Forbidden):
        await journey.cancel_batch(scope=auditor, batch_id=made.id, at=site.at)
    manager = await make_operator(site.world, "manager", role="manager")
    with pytest.raises(Forbidden):
        await site.prepare(site.numbers(0), scope=manager)


async def test_real_meters_are_tripped_by_a_batch_and_every_step_is_audited(post: Post) -> None:
    site = await make_site(post.world, meters=0)
    other, _ = await make_meter(
        post.world, serial="UNIT-2", bus_address=2, account=post.world.account
    )
    async with unit_of_work(post.world.group_id) as work:
        await work.execute(
            "UPDATE metering_meter SET selling_stopped_at = NULL WHERE group_id = $1", work.group_id
        )
    site.meters = [post.world.meter, other]
    made = await site.confirmed(site.numbers())
    payload = {"batch_id": str(made.id)}
    serving = asyncio.create_task(batch_due(post.context, post.world.group_id, payload))
    while not serving.done():
        for event in await post.due():
            await post.go(event.payload)
        post.clock.advance(SECOND)
        await asyncio.wait({serving}, timeout=0.05)
    assert serving.result() is None
    assert await site.states(made) == {DONE: 2}
    assert not post.closed
    assert not post.meter(2).state().closed
    async with unit_of_work(post.world.group_id) as work:
        told = [entry.action for entry in await entries(work, before_seq=None, limit=100)]
    steps = [action for action in reversed(told) if action.startswith("batch:")]
    assert steps == ["batch:self:prepare", "batch:self:confirm", "batch:self:end"]
    assert told.count("meter:command:request") == 2


async def choose(
    site: Site, made: Batch, command: Command, limit: int, *, together: int = 4
) -> list[int]:
    """The places of the meters that are next, which are asked by it."""
    async with unit_of_work(site.world.group_id) as work:
        found = await next_up(
            work,
            batch_id=made.id,
            project_id=made.project_id,
            at_a_gateway=12,
            in_a_project=100,
            together=together,
            limit=limit,
        )
        commands = dict.fromkeys(found, command.id)
        await mark_asked(work, batch_id=made.id, commands=commands, at=site.at)
    return sorted(commands)


async def a_command(site: Site) -> Command:
    """What items point to that are asked by no round."""
    return await command_meter(
        scope=site.world.scope,
        meter_id=site.meters[0].id,
        kind=CommandKind.SYNC_CLOCK,
        reason=WHY,
        models=meter_models(),
        at=site.at,
    )


async def test_idle_gateways_come_first_the_most_behind_of_them_and_each_gets_whole_errands(
    site: Site,
) -> None:
    made, command = await site.prepare(site.numbers()), await a_command(site)
    # Fourteen meters at each of two gateways.
    firsts = [await choose(site, made, command, 2), await choose(site, made, command, 2)]
    assert sorted(firsts) == [[1, 2], [15, 16]]
    async with unit_of_work(site.world.group_id) as work:
        await work.execute(
            "UPDATE control_batch_item SET state = 'DONE' WHERE group_id = $1 AND state = 'ASKED'",
            work.group_id,
        )
    for nos in (
        [3, 17],
        [5, 19],
        [7, 21],
    ):  # who stands still or has little to do gets half an errand
        halves = [await choose(site, made, command, 2), await choose(site, made, command, 2)]
        assert sorted(halves) == [[no, no + 1] for no in nos]
    assert await choose(site, made, command, 4) in ([9, 10, 11, 12], [23, 24, 25, 26])
    assert len(await choose(site, made, command, 20)) == 4  # the other one's; the first has ten
    assert await choose(site, made, command, 20) == []


async def test_of_what_goes_alone_the_gateway_with_the_least_on_its_way_gets_the_next(
    site: Site,
) -> None:
    made, command = await site.prepare(site.numbers()), await a_command(site)
    first = await choose(site, made, command, 3, together=1)
    assert first in ([1, 2, 15], [1, 15, 16]), "one for each, then one more"
    (following,) = await choose(site, made, command, 1, together=1)
    assert following == (16 if 2 in first else 2)
