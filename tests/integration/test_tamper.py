"""A meter's cover that was opened is an alarm until somebody acknowledges it (A22)."""

from __future__ import annotations

from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import acknowledge
from backend.journeys.tamper import note_covers
from backend.kernel.db import unit_of_work
from backend.metering.models import Meter
from workers.sweep import sweep_due

from .alarmed import MINUTE, alarms
from .commanded import ELECTRIC, Post
from .world import World


async def sweep(post: Post, *, opened: int) -> None:
    """The bus is swept when the electric meter's cover was opened so often."""
    post.clock.advance(MINUTE)
    electric = post.gateway.meters[ELECTRIC]
    electric.take_up(electric.memory() | {"cover_opens": opened})
    payload = {"gateway_id": str(post.world.gateway.id)}
    await sweep_due(post.context, post.world.group_id, payload)


async def test_a_cover_opened_between_two_sweeps_is_alarmed_until_it_is_acknowledged(
    post: Post,
) -> None:
    world = post.world
    meter = await post.add_meter(model="GENERIC-645-2007", bus_address=ELECTRIC)
    await sweep(post, opened=7)
    await sweep(post, opened=7)
    assert await alarms(world) == [], "what it counted before we knew it is no news"
    await sweep(post, opened=8)
    await sweep(post, opened=8)
    (alarm,) = await alarms(world)
    assert (alarm.kind, alarm.meter_id, alarm.level) == (AlarmKind.TAMPER, meter.id, 3)
    assert alarm.detail == {"meter": meter.serial, "opens": "8"}
    await sweep(post, opened=9)
    assert [each.detail["opens"] for each in await alarms(world)] == ["9"], "one alarm until then"
    at = post.clock.now()
    async with unit_of_work(world.group_id) as work:
        seen = await acknowledge(
            work, scope=world.scope, alarm_id=alarm.id, note="the seal was renewed", at=at
        )
    assert (seen.ended_at, seen.ended_why) == (at, "it was acknowledged")
    await sweep(post, opened=9)
    assert await alarms(world) == []
    await sweep(post, opened=10)
    assert len(await alarms(world)) == 1


async def told(world: World, meter: Meter, opens: int) -> int:
    """A count is told; for how many meters that was news."""
    async with unit_of_work(world.group_id) as work:
        return await note_covers(work, opens={meter.id: opens}, at=world.clock.now())


async def test_a_count_that_begins_anew_or_cannot_be_is_no_news(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    counts = (12, 3, 1_000_000, -1, 3, 4)
    assert [await told(ours, ours.meter, each) for each in counts] == [0, 0, 0, 0, 0, 1]
    assert await alarms(theirs) == []
