"""The worker charges by itself what arrives, and provisionally what does not arrive for days (C13, C15)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.audit.queries import entries
from backend.charges.rules import Figures, Reason
from backend.journeys.charge_estimate import estimate_silent
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.outbox.operations import claim
from backend.tenancy.project_settings import set_estimates
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.housekeeping import estimate_all_silent
from workers.main import handle_event

from .charged import Home, make_home
from .test_ledger import expect_kept_is_derived
from .test_purses import seen
from .world import World, admin_scope

TEN = Money.parse("10")
_DAYS_3, _DAYS_5 = 144, 240  # half hours


def context_of(world: World) -> WorkerContext:
    """A worker without a bus: these jobs ask no meter."""
    return WorkerContext(world.ports, Buses(BusLease("postgresql://nowhere"), access=Access()))


async def work_off(world: World, *, times: int = 1) -> int:
    """Let the worker do what is due to be charged, each event so many times; how many events."""
    async with unit_of_work(world.group_id) as work:
        found = await claim(work, at=world.clock.now(), lease=timedelta(seconds=30), limit=100)
    due = [event for event in found if event.topic == "charge.due"]
    for event in due * times:
        job = {
            "group_id": event.group_id,
            "event_id": str(event.id),
            "topic": event.topic,
            "payload": dict(event.payload),
            "attempts": event.attempts,
        }
        await handle_event({"context": context_of(world)}, job)
    return len(due)


async def test_a_reading_that_arrives_is_charged_by_its_event_and_the_balance_tells_it(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await make_home(ours), await make_home(theirs)
    for each in (home, other):
        await each.pay("10")
        await each.read(each.reading(1, 1_000), charge=False)
        each.world.clock.instant = each.at(2)
    assert await seen(home) == Figures(TEN, ZERO, ZERO)
    assert await work_off(ours, times=2) == 1
    assert await seen(home) == Figures(Money.parse("9.4"), ZERO, ZERO)
    assert [charge.reason for charge in await home.charges()] == [Reason.USE]
    async with unit_of_work(ours.group_id) as work:
        open_events = "SELECT count(*) FROM outbox_event WHERE topic = $1 AND done_at IS NULL"
        assert await work.fetchval(open_events, "charge.due") == 0
    assert await work_off(ours) == 0
    assert await other.charges() == []
    assert await seen(other) == Figures(TEN, ZERO, ZERO)
    await expect_kept_is_derived(ours)


async def silent_since_a_day(world: World) -> Home:
    """A home that used 50 Wh each half hour of its first day, and is not heard of again."""
    home = await make_home(world)
    await home.pay("10")
    await home.read(home.reading(48, 2_400))
    return home


async def test_a_meter_silent_for_as_long_as_its_project_says_is_charged_provisionally(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await silent_since_a_day(ours), await silent_since_a_day(theirs)
    for world, days in ((ours, 3), (theirs, 0)):
        async with unit_of_work(world.group_id) as work:
            await set_estimates(
                work,
                scope=world.scope,
                project_id=world.project.id,
                after_days=days,
                at=world.clock.now(),
            )
    assert await estimate_silent(group_id=ours.group_id, at=home.at(48 + _DAYS_3)) == 0
    ours.clock.instant = home.at(48 + _DAYS_3 + 1)
    await estimate_all_silent(context_of(ours))
    # 145 half hours at the pace of the day before.
    assert await home.owed() == TEN - Money((2_400 + 145 * 50) * 6)
    assert await estimate_silent(group_id=ours.group_id, at=home.at(48 + _DAYS_5)) == 0, "once"
    assert await estimate_silent(group_id=theirs.group_id, at=other.at(48 + _DAYS_5)) == 0
    assert await other.owed() == TEN - Money(2_400 * 6), "theirs is never estimated unasked"
    await home.read(home.reading(48 + _DAYS_5, 3_000))  # it used less than was thought
    assert await home.owed() == TEN - Money(3_000 * 6)
    reasons = [charge.reason for charge in await home.charges()]
    assert reasons.count(Reason.ESTIMATE) == reasons.count(Reason.ESTIMATE_REVERSED) == 1
    await expect_kept_is_derived(ours)


async def test_what_waits_to_be_charged_is_no_silence_and_what_cannot_be_told_costs_the_others_nothing(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await silent_since_a_day(ours)
    young = await make_home(ours, no="300002")
    await young.read(young.reading(1, 100))  # half an hour of readings tells nothing
    held = await make_home(ours, no="300003")
    await held.read(held.reading(48, 1_000))
    await held.read(held.reading(49, 10))  # it went back: a person rules on it
    waits = await make_home(ours, no="300004")
    await waits.read(waits.reading(48, 1_000))
    await waits.read(waits.reading(90, 2_000), charge=False)
    at = home.at(48 + 7 * 48 + 1)  # seven days, when nobody set anything
    assert await estimate_silent(group_id=ours.group_id, at=at) == 1
    assert (await home.charges())[-1].reason is Reason.ESTIMATE
    for other in (young, held, waits):
        assert {charge.reason for charge in await other.charges()} == {Reason.USE}


async def test_when_to_estimate_is_set_with_the_right_within_bounds_and_audited(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    reader = admin_scope(ours.group_id, permissions=frozenset({"project:read"}))
    for scope, days, error in (
        (ours.scope, 32, InvalidInput),
        (ours.scope, -1, InvalidInput),
        (reader, 3, Forbidden),
        (theirs.scope, 3, NotFound),
    ):
        async with unit_of_work(scope.group_id) as work:
            with pytest.raises(error):
                await set_estimates(
                    work,
                    scope=scope,
                    project_id=ours.project.id,
                    after_days=days,
                    at=ours.clock.now(),
                )
    async with unit_of_work(ours.group_id) as work:
        found = await set_estimates(
            work, scope=ours.scope, project_id=ours.project.id, after_days=5, at=ours.clock.now()
        )
        (newest, *_) = await entries(work, before_seq=None, limit=1)
    assert found.estimate_after_days == 5
    assert (newest.action, newest.before, newest.after) == (
        "project:estimates:set",
        {"afterDays": 7},
        {"afterDays": 5},
    )
