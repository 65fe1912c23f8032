"""What a preview of a batch shows: who is meant, who is left out and why (A21)."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import NewAlarm, raise_alarms
from backend.control.batch_rules import BatchState, ItemState, LeftOut
from backend.control.command_rules import CommandKind, Given
from backend.control.state_rules import MeterState
from backend.journeys.batch import Wish
from backend.journeys.batch_selection import Selection
from backend.journeys.command import command_meter
from backend.journeys.meter_states import meter_states
from backend.kernel.band_calendar import Calendar, DaySlot, YearZone
from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.ids import uuid7
from backend.kernel.money import Money
from backend.metering import operations as metering
from backend.metering.tags import tag_meters
from workers.models import meter_models

from .batched import TRIP, WHY, Site, make_site, protect
from .world import World, make_project

READY, LEFT = ItemState.READY, ItemState.LEFT_OUT


@pytest.fixture
async def site(worlds: tuple[World, World]) -> Site:
    """Ours; the other group has as many meters of the same numbers."""
    worlds[1].clock = worlds[0].clock
    return await make_site(worlds[0])


async def episode(site: Site, index: int, *, of_gateway: bool = False) -> None:
    """A meter, or its gateway, is not heard any more."""
    meter = site.meters[index]
    async with unit_of_work(site.world.group_id) as work:
        await work.execute(
            "INSERT INTO metering_episode (group_id, id, project_id, gateway_id, meter_id, kind,"
            " started_at, noticed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
            work.group_id,
            uuid7(site.at),
            meter.project_id,
            meter.gateway_id,
            None if of_gateway else meter.id,
            "SILENT" if of_gateway else "LOST",
            site.at,
        )


async def test_a_preview_tells_who_is_left_out_and_why_and_touches_no_meter(site: Site) -> None:
    world = site.world
    far = await make_project(world)
    await protect(site, 1)
    await episode(site, 2)
    await command_meter(
        scope=world.scope,
        meter_id=site.meters[3].id,
        kind=TRIP,
        reason=WHY,
        models=meter_models(),
        at=site.at,
    )
    async with unit_of_work(world.group_id) as work:
        free = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial="FREE-1",
            model=meter_models()["ACR10R"],
            bus_address="99",
            credit_mode=None,
            at=site.at,
        )
    before = await site.commands()
    named = [f'="{meter.serial}";x' for meter in site.meters[:4]]
    named += [free.serial, far.meter.serial, "NOBODY-9", site.meters[0].serial]
    text = "\n".join(["\ufeff表号;备注", *named])
    made = await site.prepare(Selection(numbers=text))
    found = {item.serial: item.left_out for item in await site.items(made)}
    assert found == {
        site.meters[0].serial: None,
        site.meters[1].serial: LeftOut.PROTECTED,
        site.meters[2].serial: LeftOut.LOST,
        site.meters[3].serial: LeftOut.ALREADY_SO,
        free.serial: LeftOut.NOT_ABLE,
        far.meter.serial: LeftOut.UNKNOWN_NUMBER,  # ling may not read there (C29)
        "NOBODY-9": LeftOut.UNKNOWN_NUMBER,
    }
    headquarters = await site.prepare(Selection(numbers=text), scope=world.scope)
    told = {item.serial: item.left_out for item in await site.items(headquarters)}
    assert told == found | {far.meter.serial: LeftOut.OTHER_PROJECT}
    assert await site.states(made) == {READY: 1, LEFT: 6}
    assert made.state is BatchState.DRAFT
    assert await site.commands() == before
    assert await site.round(made) is None
    assert await site.commands() == before


async def test_meters_are_chosen_by_area_with_all_below_by_state_and_by_tag(site: Site) -> None:
    world = site.world
    async with unit_of_work(world.group_id) as work:
        ids = [meter.id for meter in site.meters[:3]]
        changed = await tag_meters(
            work, scope=world.scope, meter_ids=ids, tag=" 走廊 ", on=True, at=site.at
        )
        assert changed == 3
    place = str(await assignment_of(site, 2))
    low = NewAlarm(world.project.id, AlarmKind.LOW_2, place, site.account.id, ids[2], None, 2, {})
    async with unit_of_work(world.group_id) as work:
        await raise_alarms(work, alarms=[low], at=site.at)
    tagged = await site.prepare(Selection(tags=["走廊"]))
    assert [item.meter_id for item in await site.items(tagged)] == ids
    alarmed = await site.prepare(Selection(tags=["走廊"], states=[MeterState.ALARM_2]))
    assert [item.meter_id for item in await site.items(alarmed)] == [ids[2]]
    below = await site.prepare(Selection(areas=[world.area.id]))
    assert len(await site.items(below)) == len(site.meters) + 1
    async with unit_of_work(world.group_id) as work:
        found = await meter_states(work, meter_ids=ids)
    assert [found[each] for each in ids] == [MeterState.OPENED] * 2 + [MeterState.ALARM_2]
    with pytest.raises(InvalidInput, match="by what"):
        await site.prepare(Selection())
    with pytest.raises(InvalidInput, match="alone"):
        await site.prepare(Selection(tags=["走廊"], numbers="A-1234"))


async def test_a_state_is_looked_for_in_one_project_and_not_in_all_of_the_group(site: Site) -> None:
    far = await make_project(site.world)
    async with unit_of_work(site.world.group_id) as work:
        states = await meter_states(work, meter_ids=[far.meter.id, site.meters[0].id])
    assert len(set(states.values())) == 1, "there is one to be taken by mistake"
    made = await site.prepare(Selection(states=list(MeterState)))
    assert far.meter.id not in {item.meter_id for item in await site.items(made)}
    ours = await site.prepare(Selection(states=[states[far.meter.id]]))
    assert {item.serial for item in await site.items(ours)} >= {m.serial for m in site.meters}


async def assignment_of(site: Site, index: int) -> UUID:
    """The assignment of a meter."""
    async with unit_of_work(site.world.group_id) as work:
        found: UUID = await work.fetchval(
            "SELECT id FROM metering_assignment WHERE group_id = $1 AND meter_id = $2",
            work.group_id,
            site.meters[index].id,
        )
    return found


async def test_prices_and_thresholds_go_to_who_does_not_hold_them_yet(site: Site) -> None:
    prices = Wish(CommandKind.PRICES, WHY, Given([("flat", Money.parse("0.7"))]))
    made = await site.confirmed(site.numbers(0, 1), prices)
    await site.round(made)
    await site.obey()
    assert await site.round(made) is None
    again = await site.prepare(site.numbers(0, 1, 2), prices)
    assert [item.left_out for item in await site.items(again)] == [LeftOut.ALREADY_SO] * 2 + [None]
    limits = Wish(CommandKind.THRESHOLDS, WHY, Given(thresholds={"overload_w": 3000}))
    others = await site.prepare(site.numbers(0, 1, 2), limits)
    assert await site.states(others) == {READY: 3}
    typed = Wish(CommandKind.PRICES, WHY, Given([("flat", Money.parse("70"))]))
    with pytest.raises(InvalidInput, match="at most 10 yuan"):
        await site.prepare(site.numbers(0), typed)


async def test_hours_go_to_who_holds_others_and_to_nobody_whose_meter_lacks_a_band(
    site: Site,
) -> None:
    def hours(*day: DaySlot) -> Wish:
        calendar = Calendar((YearZone(1, 1, 1),), (day,))
        return Wish(CommandKind.CALENDAR, WHY, Given(calendar=calendar))

    night, peak, evening = DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(1320, "valley")
    for told in (hours(night, peak, evening), hours(night, peak)):
        made = await site.confirmed(site.numbers(0, 1), told)
        await site.round(made)
        await site.obey()
        assert await site.round(made) is None
        site.clock.advance(timedelta(hours=1))
    again = await site.prepare(site.numbers(0, 1, 2), hours(night, peak))
    assert [item.left_out for item in await site.items(again)] == [LeftOut.ALREADY_SO] * 2 + [None]
    longer = await site.prepare(site.numbers(0, 1, 2), hours(night, peak, evening))
    assert await site.states(longer) == {READY: 3}, "what was held before is held no more"
    deep = await site.prepare(site.numbers(0), hours(DaySlot(0, "deep")))
    assert [item.left_out for item in await site.items(deep)] == [LeftOut.NOT_ABLE]


async def test_meters_behind_a_silent_gateway_are_lost_and_left_out(site: Site) -> None:
    await episode(site, 0, of_gateway=True)
    made = await site.prepare(site.numbers(0, 9, 10))
    lost, also_lost, heard = await site.items(made)
    assert (lost.left_out, also_lost.left_out) == (LeftOut.LOST, LeftOut.LOST)
    assert heard.left_out is None
