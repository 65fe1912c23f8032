"""A command's life at a real meter: success is only what the read-back shows (C10, C19, C22, C23)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import pytest

from backend.control.command_rules import CommandKind, CommandState
from backend.control.command_steps import End, Writing
from backend.control.commands import command
from backend.journeys import serve_command as journey
from backend.journeys.command import tend
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import Money
from backend.metering.queries import latest_of_meters
from backend.metering.readings import store_readings
from backend.outbox.operations import finish, retry
from backend.tenancy.rules import PRESET_ROLES, Permission
from workers.command import priority_of
from workers.janitor import tidy
from workers.links.errors import LinkDown
from workers.links.lane import Lane, Priority

from .commanded import VALVE, WHY, Post, until
from .world import admin_scope, make_meter, new_id

TRIP, KEEP, RELEASE = CommandKind.TRIP, CommandKind.KEEP_POWER, CommandKind.RELEASE
VERIFIED, FAILED, EXPIRED = CommandState.VERIFIED, CommandState.FAILED, CommandState.EXPIRED
QUEUED, SENT, SUPERSEDED = CommandState.QUEUED, CommandState.SENT, CommandState.SUPERSEDED
PRICES = [("spike", Money.parse("1.2")), ("peak", Money.parse("0.9876"))]
SECOND = timedelta(seconds=1)


async def test_a_trip_is_verified_by_the_open_relay_and_audited_from_asking_to_end(
    post: Post,
) -> None:
    asked = await post.ask(TRIP, reason="  the tenant moved out  ")
    assert (asked.state, asked.reason) == (QUEUED, "the tenant moved out")
    assert asked.expires_at - asked.issued_at == timedelta(seconds=120)
    assert await post.serve(asked) is None
    done = await post.now(asked)
    assert (done.state, done.relay_before, done.relay_after) == (VERIFIED, True, False)
    assert (done.outcome, done.finished_at) == ("the relay is open", post.clock.now())
    assert not post.closed
    assert post.ear.heard == [1]
    async with unit_of_work(post.world.group_id) as work:
        latest = await latest_of_meters(work, meter_ids=[post.world.meter.id])
    assert latest[post.world.meter.id].relay_closed is False
    (asking,) = await post.audited("meter:command:request")
    assert (asking.actor, asking.subject) == (post.world.scope.actor, str(post.world.meter.id))
    assert asking.after is not None
    assert (asking.after["kind"], asking.after["reason"]) == ("TRIP", "the tenant moved out")
    (ending,) = await post.audited("meter:command:end")
    assert ending.actor.kind == "system"
    assert ending.after is not None
    assert (ending.after["state"], ending.after["command"]) == ("VERIFIED", str(asked.id))


async def test_power_is_forced_on_without_money_and_given_back_to_the_money(post: Post) -> None:
    empty, _ = await make_meter(
        post.world, serial="METER-2", bus_address=2, account=post.world.account
    )
    kept = await post.done(KEEP, meter=empty)
    assert (kept.state, kept.relay_before, kept.relay_after) == (VERIFIED, False, True)
    free = await post.done(RELEASE, meter=empty)
    assert (free.state, free.relay_before, free.relay_after) == (VERIFIED, True, False)
    assert (await post.done(TRIP)).state is VERIFIED
    paid = await post.done(RELEASE)
    assert (paid.state, paid.relay_before, paid.relay_after) == (VERIFIED, False, True)
    assert post.ear.heard == [2, 2, 1, 1]


async def test_prices_and_thresholds_hold_at_the_meter_and_nothing_else_is_changed(
    post: Post,
) -> None:
    done = await post.done(CommandKind.PRICES, prices=PRICES)
    assert (done.state, done.relay_before, done.relay_after) == (VERIFIED, None, None)
    limits = {"alarm1": 300_000, "overload_w": 4400}
    assert (await post.done(CommandKind.THRESHOLDS, thresholds=limits)).state is VERIFIED
    held = post.meter().state().settings
    assert held.prices == (12_000, 9_876, 6_000, 6_000)
    assert (held.alarm1_fen, held.alarm2_fen, held.load.most_w) == (3000, 500, 4400)
    asked = await post.audited("meter:command:request")
    assert [(entry.after or {}).get("peak") for entry in asked] == [None, "0.9876"]


async def test_a_clock_is_set_and_read_back(post: Post) -> None:
    post.meter().faults.clock_offset_s = -400
    assert (await post.done(CommandKind.SYNC_CLOCK)).state is VERIFIED
    assert post.meter().own_clock() == int(post.clock.now().timestamp())


async def test_a_meter_that_is_not_reached_is_tried_again_until_the_command_expires(
    post: Post,
) -> None:
    await post.gateway.set_offline(True)
    asked = await post.ask(TRIP)
    for _ in range(2):
        with pytest.raises(LinkDown):
            await post.serve(asked)
        post.clock.advance(timedelta(seconds=59))
    waiting = await post.now(asked)
    assert (waiting.state, waiting.writes) == (QUEUED, 0)
    assert waiting.outcome == "the gateway cannot be reached"
    post.clock.advance(2 * SECOND)
    await post.gateway.set_offline(False)
    assert await post.serve(asked) is None
    done = await post.now(asked)
    assert (done.state, done.finished_at) == (EXPIRED, post.clock.now())
    assert (done.outcome or "").startswith("it was never written")
    assert (post.ear.heard, post.closed) == ([], True)
    (ending,) = await post.audited("meter:command:end")
    assert (ending.after or {})["state"] == "EXPIRED"


async def _as_many(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) == len(other)


async def test_a_command_that_expires_while_it_waits_for_the_bus_is_not_written(
    post: Post,
) -> None:
    asked = await post.ask(TRIP)
    bus = await post.context.buses.bus(post.world.gateway)
    async with bus.turn(Priority.READ) as turn:

        async def wanted() -> bool:
            return turn.wanted

        serving = asyncio.create_task(post.serve(asked))
        await until(wanted)
        post.clock.advance(timedelta(seconds=120))
    await serving
    assert (await post.now(asked)).state is EXPIRED
    assert post.ear.heard == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_command_that_expires_while_it_is_announced_is_not_written(
    when: str, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bus in hand, and the meter already looked at: the last word before the write."""
    really = journey.about_to_write

    async def slow(*, group_id: int, writes: Sequence[Writing]) -> object:
        if when == "before":
            post.clock.advance(timedelta(seconds=120))
            writes = [each._replace(at=post.clock.now()) for each in writes]
        announced = await really(group_id=group_id, writes=writes)
        if when == "after":
            post.clock.advance(timedelta(seconds=120))
        return announced

    monkeypatch.setattr(journey, "about_to_write", slow)
    asked = await post.ask(TRIP)
    await post.serve(asked)
    done = await post.now(asked)
    assert (done.state, done.writes) == (EXPIRED, 0 if when == "before" else 1)
    assert (post.ear.heard, post.closed) == ([], True)


async def test_a_newer_command_over_the_relay_supersedes_the_unfinished_one(post: Post) -> None:
    trip = await post.ask(TRIP)
    other = await post.ask(CommandKind.SYNC_CLOCK)
    post.clock.advance(SECOND)
    keep = await post.ask(KEEP)
    old = await post.now(trip)
    assert (old.state, old.outcome) == (SUPERSEDED, "a newer KEEP_POWER came")
    assert (await post.now(other)).state is QUEUED, "a clock is another matter"
    (ending,) = await post.audited("meter:command:end")
    assert (ending.actor, (ending.after or {})["state"]) == (post.world.scope.actor, "SUPERSEDED")
    assert await post.serve(trip) is None
    assert post.ear.heard == []
    await post.serve(keep)
    assert (await post.now(keep)).state is VERIFIED
    assert (await post.now(trip)) == old
    assert [each.kind for each in await post.all()][:1] == [KEEP]


async def test_a_finished_command_is_not_superseded_and_stays_as_it_ended(post: Post) -> None:
    trip = await post.done(TRIP)
    await post.done(RELEASE)
    assert await post.now(trip) == trip
    for state in (FAILED, EXPIRED):
        late = End(trip.id, state, "late", None, post.clock.now())
        assert await journey.ended(group_id=post.world.group_id, ends=[(late, None)]) == [False]
    assert await post.now(trip) == trip


async def test_power_back_wins_every_race_with_a_trip_on_its_way(post: Post) -> None:
    for _ in range(20):
        trip = await post.ask(TRIP)

        async def restore() -> None:
            await post.serve(await post.ask(KEEP))

        await asyncio.gather(post.serve(trip), restore())
        assert post.closed
        (newest,) = [each for each in await post.all() if each.kind is KEEP][:1]
        assert newest.state is VERIFIED
        assert (await post.now(trip)).state in (SUPERSEDED, VERIFIED)
        post.clock.advance(SECOND)


async def test_of_many_asked_at_once_one_is_left_to_do(post: Post) -> None:
    await asyncio.gather(*(post.ask(kind) for kind in (TRIP, KEEP) * 3))
    states = sorted(str(each.state) for each in await post.all())
    assert states == ["QUEUED", *["SUPERSEDED"] * 5]
    assert len(await post.audited("meter:command:request")) == 6
    assert len(await post.audited("meter:command:end")) == 5


async def test_the_database_keeps_one_unfinished_command_of_a_family(post: Post) -> None:
    await post.ask(TRIP)
    copy = (
        "INSERT INTO control_command (group_id, id, project_id, meter_id, kind, family, settings,"
        " state, reason, requested_by, issued_at, expires_at) SELECT group_id, $1, project_id,"
        " meter_id, 'CLOSE', family, settings, state, reason, requested_by, issued_at, expires_at"
        " FROM control_command"
    )
    with pytest.raises(asyncpg.UniqueViolationError, match="control_command_unfinished"):
        async with unit_of_work(post.world.group_id) as work:
            await work.execute(copy, new_id())


def test_power_back_comes_before_a_sale_a_sale_before_a_cut_and_settings_last() -> None:
    order = [(priority_of(kind), kind) for kind in CommandKind]
    restores = {kind for priority, kind in order if priority is Priority.RESTORE}
    assert restores == {"ALLOW_CLOSE", "CLOSE", "KEEP_POWER", "RELEASE"}
    assert priority_of(TRIP) is Priority.CUT
    rest = {CommandKind.SYNC_CLOCK, CommandKind.PRICES, CommandKind.THRESHOLDS}
    assert {priority_of(kind) for kind in rest} == {Priority.SETTINGS}
    assert Priority.RESTORE < Priority.VEND < Priority.CUT < Priority.SETTINGS < Priority.READ


async def test_on_a_busy_bus_power_back_overtakes_settings_and_a_cut(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, waiting = Lane.wait, list[Priority]()

    async def wait(lane: Lane, priority: Priority) -> None:
        waiting.append(priority)
        await really(lane, priority)

    unit_2, _ = await make_meter(
        post.world, serial="METER-2", bus_address=2, account=post.world.account
    )
    commands = [
        await post.ask(CommandKind.SYNC_CLOCK),
        await post.ask(TRIP),
        await post.ask(KEEP, meter=unit_2),
    ]
    bus = await post.context.buses.bus(post.world.gateway)
    async with bus.turn(Priority.READ):
        monkeypatch.setattr(Lane, "wait", wait)
        serving = []
        for each in commands:
            serving.append(asyncio.create_task(post.serve(each)))
            await until(lambda: _as_many(waiting, serving))
    await asyncio.gather(*serving)
    assert waiting == [Priority.SETTINGS, Priority.CUT, Priority.RESTORE]
    assert post.ear.heard == [2, 1, 1]
    assert not post.closed


async def test_what_a_model_cannot_is_refused_at_once_or_fails_before_anything_is_sent(
    post: Post,
) -> None:
    plain = await post.add_meter(model="GENERIC-MODBUS", bus_address="9")
    valve = await post.add_meter(model="JICHENG-188-VALVE", bus_address=VALVE)
    with pytest.raises(Conflict, match="no relay or valve"):
        await post.ask(TRIP, meter=plain)
    with pytest.raises(Conflict, match="no prices per kWh"):
        await post.ask(CommandKind.PRICES, meter=valve, prices=PRICES)
    done = await post.done(CommandKind.CLOSE)  # it switches, but has no such order
    assert (done.state, done.outcome) == (FAILED, "DDSY1352-NK has no way to close")
    deep = await post.done(CommandKind.PRICES, prices=[("deep", Money.parse("0.1"))])
    assert (deep.state, deep.outcome) == (FAILED, "no such bands: deep")
    assert post.ear.heard == []


async def test_nobody_is_cut_when_the_meter_at_the_address_is_not_the_one_of_the_archive(
    post: Post,
) -> None:
    await post.done(CommandKind.SYNC_CLOCK)
    async with unit_of_work(post.world.group_id) as work:
        seen = (await latest_of_meters(work, meter_ids=[post.world.meter.id]))[post.world.meter.id]
        at = post.clock.now() + timedelta(seconds=1)
        swapped = seen._replace(at=at, received_at=at, total=seen.total + 500_000)
        await store_readings(work, readings=[swapped])
    post.ear.heard.clear()
    done = await post.done(TRIP)
    assert done.state is FAILED
    assert done.outcome is not None
    assert done.outcome.startswith("another meter answers here")
    assert post.ear.heard == []
    assert post.closed
    assert (await post.done(KEEP)).state is CommandState.VERIFIED  # power may always come


async def test_only_who_may_control_asks_with_a_reason_and_only_in_their_group(
    both: tuple[Post, Post],
) -> None:
    ours, theirs = both
    group_id = ours.world.group_id
    manager = admin_scope(group_id, permissions=frozenset(map(str, PRESET_ROLES["manager"])))
    blind = admin_scope(group_id, permissions=frozenset({str(Permission.METER_CONTROL)}))
    for scope, reason, error in (
        (theirs.world.scope, WHY, NotFound),
        (blind, WHY, NotFound),
        (manager, WHY, Forbidden),
        (manager, "", Forbidden),
        (ours.world.scope, " no ", InvalidInput),
    ):
        with pytest.raises(error):
            await ours.ask(TRIP, scope=scope, reason=reason)
    assert await ours.all() == []
    assert await ours.due() == []
    assert await ours.audited("meter:command:request") == []


async def test_another_groups_worker_and_operator_find_no_such_command(
    both: tuple[Post, Post],
) -> None:
    ours, theirs = both
    asked = await ours.ask(TRIP)
    assert await theirs.serve(asked) is None
    with pytest.raises(NotFound):
        await theirs.now(asked)
    assert (await ours.now(asked)).state is QUEUED
    assert ours.ear.heard == theirs.ear.heard == []
    await tend(group_id=theirs.world.group_id, at=asked.expires_at)
    assert (await ours.now(asked)).state is QUEUED


async def test_who_may_not_read_meters_finds_no_command_by_its_id(post: Post) -> None:
    asked = await post.ask(TRIP)
    blind = admin_scope(post.world.group_id, permissions=frozenset({str(Permission.METER_CONTROL)}))
    async with unit_of_work(post.world.group_id) as work:
        with pytest.raises(NotFound):
            await command(work, scope=blind, command_id=asked.id)


async def test_the_janitor_ends_what_is_overdue_and_leaves_what_may_still_be_read_back(
    post: Post,
) -> None:
    trip, prices = await post.ask(TRIP), await post.ask(CommandKind.PRICES, prices=PRICES)
    post.clock.advance(timedelta(seconds=119))
    await post.announce(trip)
    post.clock.advance(SECOND)
    await tend(group_id=post.world.group_id, at=post.clock.now())
    assert (await post.now(trip)).state is SENT, "its write may be under way"
    post.clock.advance(timedelta(minutes=2))
    await tend(group_id=post.world.group_id, at=post.clock.now())
    over = await post.now(trip)
    assert (over.state, (over.outcome or "")[:31]) == (EXPIRED, "it may have reached the meter; ")
    assert (await post.now(prices)).state is QUEUED
    post.clock.advance(timedelta(hours=24))
    await tend(group_id=post.world.group_id, at=post.clock.now())
    assert (await post.now(prices)).state is EXPIRED
    assert len(await post.audited("meter:command:end")) == 2


async def test_the_janitor_rings_for_a_command_whose_event_was_lost_and_for_a_meter_that_is_back(
    post: Post,
) -> None:
    asked = await post.ask(KEEP)
    (event,) = await post.due()
    group_id = post.world.group_id
    async with unit_of_work(group_id) as work:
        await finish(work, event_id=event.id, at=post.clock.now())
    await tend(group_id=group_id, at=post.clock.now())
    (event,) = await post.due()
    assert event.payload == {"command_id": str(asked.id)}
    pause = timedelta(minutes=10)
    async with unit_of_work(group_id) as work:
        await retry(work, event_id=event.id, at=post.clock.now(), error="away", after=pause)
    await tend(group_id=group_id, at=post.clock.now())
    assert await post.due() == [], "nothing was heard of the meter"
    assert (await post.done(CommandKind.SYNC_CLOCK)).state is VERIFIED  # it was read just now
    await tidy(post.context)
    due = {event.payload["command_id"] for event in await post.due()}
    assert str(asked.id) in due
