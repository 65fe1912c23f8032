"""Valves are moved once a month when nobody draws water; who draws while it is shut is found (A18, A26)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from backend.alerts.alarm_rules import AlarmKind
from backend.control import exercises, supplies
from backend.control.command_rules import CommandKind
from backend.control.commands import Command, commands_of_meters
from backend.control.supplies import Said
from backend.control.supply_rules import SupplyPolicy
from backend.journeys.supply_look import tend_supplies
from backend.journeys.valves import exercise_valves, watch_flow
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Forbidden, InvalidInput, NotFound
from backend.metering.models import Meter
from backend.metering.readings import store_readings
from backend.tenancy.rules import Permission
from workers.models import meter_models
from workers.sweep import meter_refresh

from .commanded import VALVE, Post
from .world import START, World, admin_scope, reading_of

MINUTE, HALF_HOUR = timedelta(minutes=1), timedelta(minutes=30)
THREE_AT_NIGHT = START + timedelta(hours=15)  # 03:00 in China


async def opt_in(world: World, starts: int | None = 180) -> int | None:
    """The project has its valves moved from three at night on."""
    async with unit_of_work(world.group_id) as work:
        return await exercises.set_exercise(
            work,
            scope=world.scope,
            project_id=world.project.id,
            starts=starts,
            at=world.clock.now(),
        )


async def reads(
    world: World, meter: Meter, at: datetime, total: int, *, open_: bool = True
) -> None:
    """The meter is read."""
    reading = reading_of(meter.id, at=at, total=total, late_s=0)._replace(relay_closed=open_)
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=[reading])


async def valve_of(post: Post, *totals: int) -> Meter:
    """A valve meter on the bus, read each half hour up to three at night."""
    meter = await post.add_meter(model="JICHENG-188-VALVE", bus_address=VALVE)
    post.clock.advance(THREE_AT_NIGHT - post.clock.now())
    for back, total in enumerate(reversed(totals)):
        await reads(post.world, meter, THREE_AT_NIGHT - back * HALF_HOUR, total)
    return meter


async def exercised(post: Post) -> int:
    """How many valves are shut now."""
    return await exercise_valves(
        group_id=post.world.group_id, models=meter_models(), at=post.clock.now()
    )


async def commands(post: Post, meter: Meter) -> list[Command]:
    """The valve's commands, newest first."""
    async with unit_of_work(post.world.group_id) as work:
        return (await commands_of_meters(work, meter_ids=[meter.id], limit=9))[meter.id]


async def look_and_serve(post: Post, meter: Meter) -> int:
    """The meter is read, supplies are looked at, what is new is served until it is done."""
    await meter_refresh(post.context, post.world.group_id, {"meter_id": str(meter.id)})
    post.clock.advance(timedelta(seconds=1))
    looked = await tend_supplies(
        group_id=post.world.group_id, models=meter_models(), at=post.clock.now()
    )
    await serve(post, meter)
    return looked.commands


async def serve(post: Post, meter: Meter) -> None:
    """The newest command is served until its valve has moved."""
    newest = (await commands(post, meter))[0]
    while (again := await post.serve(newest)) is not None:
        post.clock.advance(max(again - post.clock.now(), timedelta(seconds=1)))


async def test_a_resting_valve_is_shut_at_night_for_minutes_and_opened_again_once_a_month(
    post: Post,
) -> None:
    meter = await valve_of(post, 500, 500)
    assert await exercised(post) == 0, "nobody opted in"
    assert await opt_in(post.world) == 180
    assert await exercised(post) == 1
    await serve(post, meter)
    (shut,) = await commands(post, meter)
    assert (shut.kind, shut.requested_by, shut.relay_after) == (
        CommandKind.TRIP,
        "valve exercise",
        False,
    )
    assert await exercised(post) == 0
    post.clock.advance(exercises.SHUT_FOR)
    assert await look_and_serve(post, meter) == 1
    opened, _ = await commands(post, meter)
    assert (opened.kind, opened.relay_after) == (CommandKind.CLOSE, True)
    assert await exercised(post) == 0, "once a month"


async def test_a_valve_that_runs_or_is_wanted_by_somebody_or_was_not_heard_is_left_alone(
    post: Post,
) -> None:
    world = post.world
    await opt_in(world)
    meter = await valve_of(post, 500, 501)
    assert await exercised(post) == 0, "somebody draws water"
    await reads(world, meter, THREE_AT_NIGHT + MINUTE, 501)
    post.clock.advance(timedelta(minutes=62))
    assert await exercised(post) == 0, "it was heard an hour ago"
    await reads(world, meter, post.clock.now(), 501)
    keep = Said("a laundry", "ling", post.clock.now())
    async with unit_of_work(world.group_id) as work:
        await supplies.lock_supply(work, project_id=world.project.id, meter_id=meter.id)
        await supplies.set_policy(
            work, meter_ids=[meter.id], policy=SupplyPolicy.KEEP_ON, until=None, said=keep
        )
    assert await exercised(post) == 0
    async with unit_of_work(world.group_id) as work:
        await supplies.set_policy(
            work, meter_ids=[meter.id], policy=SupplyPolicy.AUTO, until=None, said=keep
        )
    post.clock.advance(timedelta(hours=1))
    await reads(world, meter, post.clock.now(), 501)
    assert await exercised(post) == 0, "its hours are over"
    assert await commands(post, meter) == []


async def test_an_exercise_is_asked_for_within_a_day_by_who_may(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for starts in (-1, 22 * 60):
        with pytest.raises(InvalidInput):
            await opt_in(ours, starts)
    assert await opt_in(ours, 22 * 60 - 1) == 1319
    assert await opt_in(ours, None) is None
    reader = admin_scope(ours.group_id, permissions=frozenset({str(Permission.PROJECT_READ)}))
    for scope, error in ((reader, Forbidden), (theirs.scope, NotFound)):
        async with unit_of_work(scope.group_id) as work:
            with pytest.raises(error):
                await exercises.set_exercise(
                    work, scope=scope, project_id=ours.project.id, starts=180, at=START
                )


async def tampered(world: World) -> dict[str, str]:
    """The open TAMPER alarms: what moved, by meter."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT meter_id, detail FROM alerts_alarm WHERE group_id = $1 AND kind = $2"
            " AND ended_at IS NULL",
            world.group_id,
            str(AlarmKind.TAMPER),
        )
    return {
        str(row["meter_id"]): f"{row['detail']['moved']} {row['detail']['unit']}" for row in rows
    }


async def test_a_register_that_moves_though_two_readings_show_it_shut_is_an_alarm(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    meter, times = world.meter, [START + n * HALF_HOUR for n in range(1, 8)]
    seen: tuple[tuple[int, bool, dict[str, str]], ...] = (
        (1_000, True, {}),
        (1_500, False, {}),  # it was on before that
        (1_510, False, {}),  # one step of its register
        (1_530, False, {str(meter.id): "20 Wh"}),
        (1_530, False, {str(meter.id): "20 Wh"}),  # until somebody looked
        (1_600, True, {}),
        (1_700, True, {}),
    )
    for at, (total, closed, alarmed) in zip(times, seen, strict=True):
        await reads(world, meter, at, total, open_=closed)
        assert await watch_flow(group_id=world.group_id, at=at) == int(
            total == 1_530 and at == times[3]
        )
        assert await watch_flow(group_id=other.group_id, at=at) == 0
        assert await tampered(world) == alarmed, total
    assert await tampered(other) == {}
