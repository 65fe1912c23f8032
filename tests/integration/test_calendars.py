"""A project's calendar decides when it may be cut for arrears, and another's does not (C20)."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from backend.audit.queries import AuditEntry, entries
from backend.control import calendars
from backend.control.calendar_rules import DEFAULT, Mark, window_of
from backend.control.supplies import lock_supply
from backend.control.supply_rules import Supply
from backend.journeys.supply_facts import gather
from backend.kernel.clock import CHINA
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Forbidden, InvalidInput, NotFound
from backend.metering.supplied import supplied_meters
from backend.tenancy.rules import Permission

from .world import START, World, admin_scope

MONDAY = date(2026, 11, 23)


def at(day: date, clock: str) -> datetime:
    """A clock time in China."""
    return datetime.combine(day, time.fromisoformat(clock), CHINA)


async def facts(world: World, when: datetime) -> Supply:
    """What a decision over the world's meter would be taken from."""
    async with unit_of_work(world.group_id) as work:
        supply = await lock_supply(work, project_id=world.project.id, meter_id=world.meter.id)
        meters = await supplied_meters(work, meter_ids=[world.meter.id])
        found = await gather(work, [supply], meters, world.ports.meter_models, when)
    return found[world.meter.id]


async def newest(world: World) -> AuditEntry:
    """The newest audit entry."""
    async with unit_of_work(world.group_id) as work:
        return (await entries(work, before_seq=None, limit=1))[0]


async def test_a_project_that_set_nothing_is_cut_in_office_hours_only(
    worlds: tuple[World, World],
) -> None:
    noon = await facts(worlds[0], at(MONDAY, "12:00"))
    night = await facts(worlds[0], at(MONDAY, "23:30"))
    assert (noon.window_open, noon.no_cut_day, noon.notice) == (True, False, DEFAULT.notice)
    assert (night.window_open, night.no_cut_day) == (False, False)
    assert (await facts(worlds[0], at(date(2026, 11, 22), "12:00"))).no_cut_day


async def test_a_window_is_set_audited_and_holds_in_one_project_of_one_group(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    for closes, hours in ((11 * 60, 24), (12 * 60 + 30, 48)):
        async with unit_of_work(world.group_id) as work:
            await calendars.set_cut_window(
                work,
                scope=world.scope,
                project_id=world.project.id,
                window=window_of(10 * 60, closes, [1, 7], hours),
                at=START,
            )
    monday = await facts(world, at(MONDAY, "12:00"))
    assert (monday.window_open, monday.notice) == (True, timedelta(hours=48))
    assert not (await facts(world, at(MONDAY, "12:30"))).window_open
    assert (await facts(world, at(MONDAY + timedelta(days=1), "12:00"))).no_cut_day
    assert not (await facts(world, at(date(2026, 11, 22), "12:00"))).no_cut_day
    assert (await facts(other, at(MONDAY, "16:00"))).window_open
    entry = await newest(world)
    assert entry.action == "project:cutwindow:set"
    assert entry.before is not None
    assert entry.before["closes"] == "11:00"
    assert entry.after == {
        "opens": "10:00",
        "closes": "12:30",
        "weekdays": "1 7",
        "noticeHours": 48,
    }


async def test_marked_days_hold_cuts_back_until_the_mark_is_taken_off(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    days = [MONDAY, MONDAY + timedelta(days=1)]
    asked: dict[str, Any] = {"scope": world.scope, "project_id": world.project.id, "at": START}
    async with unit_of_work(world.group_id) as work:
        await calendars.mark_days(work, days=days, mark=Mark.NO_CUT, name="storm", **asked)
        kept = await calendars.mark_days(work, days=days, mark=Mark.NO_CUT, name="寒潮", **asked)
    assert [(each.day, each.name, each.by) for each in kept] == [
        (day, "寒潮", "ling") for day in days
    ]
    assert (await newest(world)).action == "calendar:days:mark"
    assert (await facts(world, at(MONDAY, "12:00"))).no_cut_day
    assert not (await facts(other, at(MONDAY, "12:00"))).no_cut_day
    async with unit_of_work(world.group_id) as work:
        kept = await calendars.unmark_days(work, days=days[:1], mark=Mark.NO_CUT, **asked)
    assert [each.day for each in kept] == days[1:]
    assert not (await facts(world, at(MONDAY, "12:00"))).no_cut_day
    assert (await newest(world)).action == "calendar:days:unmark"


async def test_a_holiday_is_not_worked_and_a_day_that_is_over_is_not_touched(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    saturday = date(2026, 11, 28)
    asked: dict[str, Any] = {"scope": world.scope, "project_id": world.project.id, "at": START}
    async with unit_of_work(world.group_id) as work:
        await calendars.mark_days(work, days=[saturday], mark=Mark.WORKDAY, name="调休", **asked)
        with pytest.raises(InvalidInput, match="2026-11-28 is marked WORKDAY"):
            await calendars.mark_days(
                work, days=[saturday], mark=Mark.HOLIDAY, name="校庆", **asked
            )
        with pytest.raises(InvalidInput, match="from today on"):
            await calendars.unmark_days(work, days=[date(2026, 11, 21)], mark=Mark.WORKDAY, **asked)
        both = await calendars.mark_days(
            work, days=[saturday], mark=Mark.EXAM, name="期末", **asked
        )
    assert [(each.mark, each.name) for each in both] == [
        (Mark.EXAM, "期末"),
        (Mark.WORKDAY, "调休"),
    ]


async def test_who_may_not_write_the_project_sets_no_calendar_and_strangers_see_none(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    reader = admin_scope(ours.group_id, permissions=frozenset({str(Permission.PROJECT_READ)}))
    for scope, error in ((reader, Forbidden), (theirs.scope, NotFound)):
        asked: dict[str, Any] = {"scope": scope, "project_id": ours.project.id, "at": START}
        async with unit_of_work(scope.group_id) as work:
            with pytest.raises(error):
                await calendars.set_cut_window(work, window=DEFAULT, **asked)
            with pytest.raises(error):
                await calendars.mark_days(
                    work, days=[MONDAY], mark=Mark.NO_CUT, name="storm", **asked
                )
            with pytest.raises(error):
                await calendars.unmark_days(work, days=[MONDAY], mark=Mark.NO_CUT, **asked)
    async with unit_of_work(theirs.group_id) as work:
        with pytest.raises(NotFound):
            await calendars.cut_calendar(
                work, scope=theirs.scope, project_id=ours.project.id, at=START
            )
        with pytest.raises(NotFound):
            await calendars.marked_days(
                work, scope=theirs.scope, project_id=ours.project.id, since=MONDAY
            )
