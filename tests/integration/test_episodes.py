"""A meter that misses its sweeps is lost, a gateway whose line is down is silent: one episode each, one
case each, both closed by themselves (C24, C26, A10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from backend.alerts.queries import Case, cases_page
from backend.journeys.watch import watch_lines, watch_meters
from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput, NotFound
from backend.metering.episodes import (
    Episode,
    EpisodeKind,
    episodes_page,
    lost_since,
    note_gateway_clock,
    unread_meters,
)
from backend.metering.models import Meter
from backend.metering.operations import note_gateway
from backend.metering.readings import store_readings
from backend.tenancy.project_settings import set_collection

from .world import START, World, admin_scope, make_account, make_meter, new_id, reading_of

SWEEP = timedelta(minutes=30)
MINUTE = timedelta(minutes=1)


@dataclass
class Field:
    """A world whose meters are read or not, sweep by sweep, with a look each minute."""

    world: World
    now: datetime = START
    began: int = 0
    ended: int = 0

    async def look(self) -> None:
        """What the worker does each few minutes."""
        for watch in (watch_lines, watch_meters):
            changes = await watch(group_id=self.world.group_id, at=self.now)
            self.began += len(changes.began)
            self.ended += len(changes.ended)

    async def sweep(self, *read: Meter, line: bool = True, looks: int = 6) -> None:
        """A sweep that reads `read`, then looks until the next one."""
        readings = [reading_of(meter.id, at=self.now, late_s=0) for meter in read]
        async with unit_of_work(self.world.group_id) as work:
            await store_readings(work, readings=readings)
            await note_gateway(work, gateway_id=self.world.gateway.id, answered=line, at=self.now)
        for _ in range(looks):
            self.now += SWEEP / looks
            await self.look()

    async def episodes(self, *, only_open: bool = True) -> Sequence[Episode]:
        """Newest first."""
        async with unit_of_work(self.world.group_id) as work:
            return await episodes_page(
                work,
                scope=self.world.scope,
                project_id=self.world.project.id,
                only_open=only_open,
                before=None,
                limit=500,
            )

    async def cases(self, *, only_open: bool = True) -> list[Case]:
        """Newest first."""
        async with unit_of_work(self.world.group_id) as work:
            return await cases_page(
                work,
                scope=self.world.scope,
                project_id=self.world.project.id,
                only_open=only_open,
                before=None,
                limit=500,
            )

    async def unread(self) -> list[tuple[str, bool]]:
        """Serial and whether it is because of the gateway."""
        async with unit_of_work(self.world.group_id) as work:
            found = await unread_meters(
                work,
                scope=self.world.scope,
                project_id=self.world.project.id,
                after_serial=None,
                limit=500,
            )
        return [(each.meter.serial, each.because_of_gateway) for each in found]


async def more_meters(world: World, count: int) -> list[Meter]:
    """The world's meter and `count` more on its gateway."""
    meters = [world.meter]
    for number in range(2, 2 + count):
        account = await make_account(world, no=f"1000{number:02d}")
        made, _ = await make_meter(
            world, serial=f"M-{number:04d}", bus_address=number, account=account
        )
        meters.append(made)
    return meters


async def test_a_meter_is_lost_after_it_missed_three_sweeps_and_found_when_it_reads_again(
    worlds: tuple[World, World],
) -> None:
    field, other = Field(worlds[0]), Field(worlds[1])
    one, two = await more_meters(worlds[0], 1)
    await other.sweep(worlds[1].meter)
    await field.sweep(one, two)
    for _ in range(2):
        await field.sweep(one)
        assert await field.episodes() == []
    assert field.now == START + 3 * SWEEP
    await field.sweep(one)
    (episode,) = await field.episodes()
    assert (episode.kind, episode.meter_id, episode.started_at, episode.ended_at) == (
        EpisodeKind.LOST,
        two.id,
        START,
        None,
    )
    assert START + 3 * SWEEP < episode.noticed_at <= START + 3.5 * SWEEP
    assert await field.unread() == [(two.serial, False)]
    (case,) = await field.cases()
    assert (case.kind, case.subject, case.detail["meter"]) == (
        "METER_LOST",
        str(two.id),
        two.serial,
    )
    for _ in range(3):
        await field.sweep(one)  # however long it goes on, it is one episode
    async with unit_of_work(worlds[0].group_id) as work:
        assert await lost_since(work, meter_ids=[one.id, two.id]) == {two.id: START}
    assert (field.began, field.ended) == (1, 0)
    back = field.now
    await field.sweep(one, two)
    (over,) = await field.episodes(only_open=False)
    assert over.ended_at == back
    assert (field.began, field.ended) == (1, 1)
    (closed,) = await field.cases(only_open=False)
    assert (closed.resolved_by, await field.cases(), await field.unread()) == ("system", [], [])
    assert await other.episodes(only_open=False) == []


async def test_behind_a_silent_gateway_its_meters_are_unknown_and_there_is_one_case(
    worlds: tuple[World, World],
) -> None:
    field = Field(worlds[0])
    meters = await more_meters(worlds[0], 9)
    await field.sweep(*meters)
    down = field.now
    for _ in range(8):
        await field.sweep(line=False)
    (episode,) = await field.episodes(only_open=False)
    assert (episode.kind, episode.meter_id, episode.started_at) == (EpisodeKind.SILENT, None, down)
    assert episode.meters_behind == 10
    (case,) = await field.cases()
    assert (case.kind, case.detail["meters"]) == ("GATEWAY_SILENT", "10")
    serials = sorted(meter.serial for meter in meters)
    assert await field.unread() == [(serial, True) for serial in serials]
    up = field.now
    await field.sweep()  # the line stands again, but the first sweep reads nobody
    await field.sweep(*meters[1:])
    over = (await field.episodes(only_open=False))[-1]
    assert (over.kind, over.ended_at) == (EpisodeKind.SILENT, up)
    assert await field.unread() == []  # nobody is blamed for what the gateway missed
    await field.sweep(*meters[1:])
    assert await field.unread() == []
    await field.sweep(*meters[1:])
    assert await field.unread() == [(meters[0].serial, False)]
    assert [case.kind for case in await field.cases()] == ["METER_LOST"]


async def test_a_line_that_is_back_within_two_minutes_was_not_down(
    worlds: tuple[World, World],
) -> None:
    field = Field(worlds[0])
    for answered, after in ((False, MINUTE), (True, MINUTE), (False, MINUTE), (True, SWEEP)):
        async with unit_of_work(field.world.group_id) as work:
            await note_gateway(
                work, gateway_id=field.world.gateway.id, answered=answered, at=field.now
            )
        await field.look()
        field.now += after
        await field.look()
    assert await field.episodes(only_open=False) == []


async def test_what_nobody_looked_for_is_not_missed(worlds: tuple[World, World]) -> None:
    field = Field(worlds[0])
    await field.sweep(worlds[0].meter)
    field.now += timedelta(days=2)  # we were away, not the meter
    await field.look()
    for _ in range(20):
        field.now += timedelta(minutes=4)
        await field.look()
        assert await field.episodes() == []
    for _ in range(10):
        field.now += timedelta(minutes=4)
        await field.look()
    assert [episode.kind for episode in await field.episodes()] == [EpisodeKind.LOST]


async def test_a_pushed_backlog_does_not_find_a_meter_until_it_is_fresh_again(
    worlds: tuple[World, World],
) -> None:
    field, meter = Field(worlds[0]), worlds[0].meter
    await field.sweep(meter)
    for _ in range(20):
        await field.sweep()
    assert (field.began, field.ended) == (1, 0)
    async with unit_of_work(worlds[0].group_id) as work:  # three hours of ten, sent now
        backlog = [reading_of(meter.id, at=START + n * SWEEP) for n in range(1, 7)]
        await store_readings(work, readings=backlog)
    await field.look()
    assert (field.began, field.ended) == (1, 0)
    await field.sweep(meter)
    assert (field.began, field.ended) == (1, 1)


async def test_the_project_says_how_many_sweeps_and_how_often(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds

    async def setting(minutes: int, lost_after: int, project_id: UUID) -> None:
        async with unit_of_work(ours.group_id) as work:
            await set_collection(
                work,
                scope=admin_scope(ours.group_id),
                project_id=project_id,
                sweep_minutes=minutes,
                lost_after_sweeps=lost_after,
                at=START,
            )

    await setting(5, 6, ours.project.id)
    for minutes, lost_after in ((4, 3), (1441, 3), (30, 0), (30, 49)):
        with pytest.raises(InvalidInput):
            await setting(minutes, lost_after, ours.project.id)
    for project_id in (theirs.project.id, new_id()):
        with pytest.raises(NotFound):
            await setting(30, 3, project_id)
    field = Field(ours)
    await field.look()
    await field.sweep(ours.meter, looks=30)
    assert field.now == START + timedelta(minutes=30)
    assert await field.episodes() == []
    for _ in range(2):
        field.now += MINUTE
        await field.look()
    assert [episode.noticed_at for episode in await field.episodes()] == [
        START + timedelta(minutes=32)
    ]


async def test_a_clock_that_is_off_by_more_than_five_minutes_is_an_episode_until_it_is_set(
    worlds: tuple[World, World],
) -> None:
    field, meter = Field(worlds[0]), worlds[0].meter

    async def read(ahead: timedelta) -> None:
        reading = reading_of(meter.id, at=field.now, late_s=0)
        off = reading._replace(meter_clock=field.now + ahead)
        async with unit_of_work(worlds[0].group_id) as work:
            await store_readings(work, readings=[off])
        await field.look()
        field.now += MINUTE

    await read(5 * MINUTE)
    assert await field.episodes() == []
    for ahead in (6 * MINUTE, 90 * MINUTE, -timedelta(days=40_000)):
        await read(ahead)
        (episode,) = await field.episodes()
        assert (episode.kind, episode.drift_s) == (EpisodeKind.CLOCK, 360)
    await read(-4 * MINUTE)
    assert await field.episodes() == []
    await read(-timedelta(days=40_000))
    assert [episode.drift_s for episode in await field.episodes()] == [-2_000_000_000]
    assert await field.cases(only_open=False) == []


async def test_a_gateways_clock_that_is_off_is_one_episode(worlds: tuple[World, World]) -> None:
    field = Field(worlds[0])
    for drift, wanted in ((-299, []), (-301, [-301]), (900, [-301]), (2, [])):
        async with unit_of_work(worlds[0].group_id) as work:
            await note_gateway_clock(
                work,
                gateway_id=worlds[0].gateway.id,
                drift=timedelta(seconds=drift),
                at=field.now,
            )
        assert [episode.drift_s for episode in await field.episodes()] == wanted
        field.now += MINUTE


async def test_reports_show_nothing_of_another_group_or_project(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    field = Field(theirs)
    await field.sweep(theirs.meter)
    for _ in range(4):
        await field.sweep()
    assert len(await field.unread()) == 1
    assert await Field(ours).unread() == []
    for project_id in (theirs.project.id, new_id()):
        async with unit_of_work(ours.group_id) as work:
            with pytest.raises(NotFound):
                await unread_meters(
                    work,
                    scope=admin_scope(ours.group_id, permissions=frozenset()),
                    project_id=project_id,
                    after_serial=None,
                    limit=5,
                )
            with pytest.raises(NotFound):
                await episodes_page(
                    work,
                    scope=admin_scope(ours.group_id, permissions=frozenset()),
                    project_id=project_id,
                    only_open=False,
                    before=None,
                    limit=5,
                )
    async with unit_of_work(ours.group_id) as work:
        assert await lost_since(work, meter_ids=[theirs.meter.id]) == {}
