"""Alarms are episodes: one row until the cause is gone; their levels, and who sees to them (A22, C26)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import NewAlarm, acknowledge, end_alarms, raise_alarms
from backend.alerts.levels import Levels, set_project_levels
from backend.alerts.operations import close_cases, open_case
from backend.control.command_rules import CommandKind, Given
from backend.journeys.alarm_levels import meter_levels, set_meter_levels
from backend.journeys.alarms import Looked
from backend.journeys.command import command_meter
from backend.journeys.watch import watch_lines, watch_meters
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import Money
from backend.metering.episodes import note_gateway_clock
from backend.metering.operations import note_gateway
from workers.models import meter_models

from .alarmed import MINUTE, NOTHING, alarms, holds, kinds, look, read
from .charged import make_home
from .test_customer_news import told
from .world import START, World, admin_scope, bind_customer, new_id, reading_of


async def draws(world: World, watts: int) -> None:
    """The world's meter says what power goes through it."""
    world.clock.advance(MINUTE)
    reading = reading_of(world.meter.id, at=world.clock.now(), remaining_hao=1_000_000)
    await read(world, reading._replace(power_w=watts))


async def test_a_meter_has_levels_of_its_own_and_one_that_holds_money_is_told_them(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await make_home(ours)
    await home.pay("30")
    await holds(ours, "30")
    assert await look(ours) == NOTHING
    low = Money.parse("50"), Money.parse("35")
    for meter in (home.meter, ours.meter):
        levels = await set_meter_levels(
            scope=ours.scope,
            meter_id=meter.id,
            low=low,
            overload_w=None,
            models=meter_models(),
            at=ours.clock.now(),
        )
        assert levels == Levels(*low, None, own=True)
    assert await look(ours) == Looked(4, 0)
    async with unit_of_work(ours.group_id) as work:
        rows = await work.fetch("SELECT meter_id, kind, settings FROM control_command")
        told_meters = [(row["meter_id"], row["kind"], row["settings"]) for row in rows]
    assert told_meters == [(ours.meter.id, "THRESHOLDS", {"alarm1": 500_000, "alarm2": 350_000})], (
        "a meter whose money is in the cloud has nothing to be told"
    )
    async with unit_of_work(theirs.group_id) as work:
        with pytest.raises(NotFound):
            await meter_levels(work, scope=theirs.scope, meter_id=ours.meter.id)
    back = await set_meter_levels(
        scope=ours.scope,
        meter_id=home.meter.id,
        low=None,
        overload_w=None,
        models=meter_models(),
        at=ours.clock.now(),
    )
    assert back == Levels(Money.parse("20"), Money.parse("5"), None)
    assert await look(ours) == Looked(0, 2)


async def test_what_a_meter_is_commanded_to_warn_at_is_alarmed_here_too(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds

    async def told_by(**thresholds: int) -> Levels:
        await command_meter(
            scope=ours.scope,
            meter_id=ours.meter.id,
            kind=CommandKind.THRESHOLDS,
            reason="a new tenant",
            given=Given(thresholds=thresholds),
            models=meter_models(),
            at=ours.clock.now(),
        )
        async with unit_of_work(ours.group_id) as work:
            return await meter_levels(work, scope=ours.scope, meter_id=ours.meter.id)

    twenty, five, three = (Money.parse(yuan) for yuan in ("20", "5", "3"))
    assert await told_by(overdraft=100) == Levels(twenty, five, None)
    assert await told_by(overload_w=3_000) == Levels(twenty, five, 3_000, own=True)
    assert await told_by(alarm1=30_000) == Levels(three, three, 3_000, own=True)
    assert await told_by(alarm1=200_000, alarm2=50_000) == Levels(twenty, five, 3_000, own=True)
    async with unit_of_work(theirs.group_id) as work:
        levels = await meter_levels(work, scope=theirs.scope, meter_id=theirs.meter.id)
    assert levels == Levels(twenty, five, None)


async def test_a_projects_levels_hold_where_a_meter_has_none_of_its_own(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await holds(world, "60")
    asked = Levels(Money.parse("80"), Money.parse("70"), 2_000)
    reader = admin_scope(ours.group_id, permissions=frozenset({"alarm:read"}))
    for scope, levels, refusal in (
        (theirs.scope, asked, NotFound),
        (reader, asked, Forbidden),
        (ours.scope, replace(asked, low_2=Money.parse("81")), InvalidInput),
        (ours.scope, replace(asked, overload_w=0), InvalidInput),
    ):
        with pytest.raises(refusal):
            async with unit_of_work(scope.group_id) as work:
                await set_project_levels(
                    work, scope=scope, project_id=ours.project.id, levels=levels, at=START
                )
    async with unit_of_work(ours.group_id) as work:
        await set_project_levels(
            work, scope=ours.scope, project_id=ours.project.id, levels=asked, at=START
        )
    assert (await look(ours), await look(theirs)) == (Looked(2, 0), NOTHING)


async def test_too_much_power_and_power_that_flows_back_are_alarmed_until_they_are_over(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    async with unit_of_work(ours.group_id) as work:
        levels = Levels(Money.parse("20"), Money.parse("5"), 2_000)
        await set_project_levels(
            work, scope=ours.scope, project_id=ours.project.id, levels=levels, at=START
        )
    for world in worlds:
        await draws(world, 2_500)
    assert (await look(ours), await look(theirs)) == (Looked(1, 0), NOTHING)
    (alarm,) = await alarms(ours)
    assert (alarm.kind, alarm.level, alarm.meter_id) == (AlarmKind.OVERLOAD, 3, ours.meter.id)
    assert alarm.detail == {"power_w": "2500", "limit_w": "2000"}
    await draws(ours, 1_950)
    assert await look(ours) == NOTHING, "it hovers at its limit"
    assert (await alarms(ours))[0].detail["power_w"] == "1950"
    await draws(ours, -300)
    assert await look(ours) == Looked(1, 1)
    assert await kinds(ours) == {AlarmKind.REVERSE}
    await draws(ours, 0)
    assert await look(ours) == Looked(0, 1)


async def test_alarms_of_the_field_stand_as_long_as_its_episodes(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await holds(world, "100")
    async with unit_of_work(ours.group_id) as work:
        await note_gateway_clock(
            work, gateway_id=ours.gateway.id, drift=timedelta(minutes=9), at=ours.clock.now()
        )
        await note_gateway(work, gateway_id=ours.gateway.id, answered=False, at=ours.clock.now())
    ours.clock.advance(timedelta(minutes=5))
    await watch_lines(group_id=ours.group_id, at=ours.clock.now())
    await watch_meters(group_id=ours.group_id, at=ours.clock.now())
    assert await look(ours) == Looked(2, 0)
    assert await look(ours) == NOTHING
    assert {(a.kind, a.gateway_id) for a in await alarms(ours)} == {
        (AlarmKind.GATEWAY_LOST, ours.gateway.id),
        (AlarmKind.CLOCK_DRIFT, ours.gateway.id),
    }
    async with unit_of_work(ours.group_id) as work:
        await close_cases(
            work,
            kind="GATEWAY_SILENT",
            subjects=[str(ours.gateway.id)],
            note="sent somebody",
            at=ours.clock.now(),
        )
    assert await look(ours) == NOTHING, "a note in a case does not bring a gateway back"
    async with unit_of_work(ours.group_id) as work:
        await note_gateway(work, gateway_id=ours.gateway.id, answered=True, at=ours.clock.now())
        await note_gateway_clock(
            work, gateway_id=ours.gateway.id, drift=timedelta(), at=ours.clock.now()
        )
    await watch_lines(group_id=ours.group_id, at=ours.clock.now())
    assert await look(ours) == Looked(0, 2)
    assert await look(theirs) == NOTHING


async def test_who_is_served_by_a_meter_that_is_lost_hears_of_it_once(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    await holds(ours, "100")
    await holds(theirs, "100")
    await bind_customer(ours)
    async with unit_of_work(ours.group_id) as work:
        await note_gateway(work, gateway_id=ours.gateway.id, answered=True, at=ours.clock.now())
    for _ in range(12):
        ours.clock.advance(timedelta(minutes=10))
        await watch_meters(group_id=ours.group_id, at=ours.clock.now())
    assert (await look(ours), await look(ours)) == (Looked(1, 0), NOTHING)
    (alarm,) = await alarms(ours)
    assert (alarm.kind, alarm.account_id, alarm.detail["meter"]) == (
        AlarmKind.METER_LOST,
        ours.account.id,
        ours.meter.serial,
    )
    ((address, text),) = await told(ours)
    assert address == "o-zhang"
    assert "Shop 100001 的表计 M-100001 自 11-22 12:01 起无法读取" in text
    assert await told(theirs) == []


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("VEND_STOPPED", AlarmKind.COUNT_MISMATCH),
        ("METER_DRIFT", AlarmKind.DRIFT),
        ("METER_PRICES_LAG", AlarmKind.TARIFF_LAG),
        ("PAYMENT_MISMATCH", AlarmKind.PAYMENT_EXCEPTION),
        ("BILL_DIFFERS", AlarmKind.PAYMENT_EXCEPTION),
    ],
)
async def test_an_alarm_of_a_case_begins_and_ends_with_it(
    worlds: tuple[World, World], case: str, kind: AlarmKind
) -> None:
    ours, theirs = worlds
    subject = str(ours.meter.id)
    async with unit_of_work(ours.group_id) as work:
        await open_case(
            work,
            project_id=ours.project.id,
            kind=case,
            subject=subject,
            detail={"why": "a test"},
            at=START,
        )
    assert (await look(ours), await look(theirs)) == (Looked(1, 0), NOTHING)
    assert await look(ours) == NOTHING
    (alarm,) = await alarms(ours)
    assert (alarm.kind, alarm.detail["why"]) == (kind, "a test")
    async with unit_of_work(ours.group_id) as work:
        await close_cases(work, kind=case, subjects=[subject], note="it was seen to", at=START)
    assert await look(ours) == Looked(0, 1)


async def test_an_alarm_is_acknowledged_once_with_a_note_and_stands_until_its_cause_is_gone(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    await holds(ours, "1")
    await look(ours)
    first, second = await alarms(ours)
    reader = admin_scope(ours.group_id, permissions=frozenset({"alarm:read"}))
    for scope, note, refusal in (
        (theirs.scope, "on my way", NotFound),
        (admin_scope(ours.group_id, permissions=frozenset()), "on my way", NotFound),
        (reader, "on my way", Forbidden),
        (ours.scope, "ok", InvalidInput),
    ):
        with pytest.raises(refusal):
            async with unit_of_work(scope.group_id) as work:
                await acknowledge(work, scope=scope, alarm_id=first.id, note=note, at=START)
    async with unit_of_work(ours.group_id) as work:
        known = await acknowledge(
            work, scope=ours.scope, alarm_id=first.id, note=" called them ", at=START
        )
    assert (known.acknowledged_by, known.acknowledged_at, known.note, known.ended_at) == (
        "ling",
        START,
        "called them",
        None,
    )
    with pytest.raises(Conflict):
        async with unit_of_work(ours.group_id) as work:
            await acknowledge(work, scope=ours.scope, alarm_id=first.id, note="me too", at=START)
    async with unit_of_work(ours.group_id) as work:
        entries = await work.fetch(
            "SELECT action, subject FROM audit_entry WHERE action LIKE 'alarm:%'"
        )
    assert [tuple(row) for row in entries] == [("alarm:self:acknowledge", str(first.id))]
    assert await alarms(ours) == [known, second]


async def test_the_same_alarm_raised_again_is_one_row_and_tells_what_was_seen_last(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds

    def heard(world: World, subject: str, power: str) -> NewAlarm:
        detail = {"power": power}
        kind, project_id = AlarmKind.MALIGNANT_LOAD, world.project.id
        return NewAlarm(project_id, kind, subject, None, world.meter.id, None, 3, detail)

    subject = str(new_id())
    async with unit_of_work(ours.group_id) as work:
        began = await raise_alarms(
            work, alarms=[heard(ours, subject, "800"), heard(ours, subject, "900")], at=START
        )
        again = await raise_alarms(work, alarms=[heard(ours, subject, "950")], at=START)
    assert ([a.detail for a in began], again) == ([{"power": "800"}], [])
    assert [a.detail["power"] for a in await alarms(ours)] == ["950"]
    async with unit_of_work(theirs.group_id) as work:
        kind = AlarmKind.MALIGNANT_LOAD
        assert await end_alarms(work, kind=kind, subjects=[subject], note="over", at=START) == 0
        assert len(await raise_alarms(work, alarms=[heard(theirs, subject, "1")], at=START)) == 1
    async with unit_of_work(ours.group_id) as work:
        assert await end_alarms(work, kind=kind, subjects=[subject], note="over", at=START) == 1
        assert len(await raise_alarms(work, alarms=[heard(ours, subject, "1")], at=START)) == 1
