"""Alarms are episodes: one row and one message from the crossing until the cause is gone (A22, C26, C27)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.alerts.alarm_queries import Wanted, alarms_page
from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import Alarm, NewAlarm, acknowledge, end_alarms, raise_alarms
from backend.alerts.levels import Levels, set_project_levels
from backend.alerts.operations import close_cases, open_case
from backend.journeys.alarm_levels import meter_levels, set_meter_levels
from backend.journeys.alarms import Looked, tend_alarms
from backend.journeys.shared_purse import share_purse
from backend.journeys.watch import watch_lines, watch_meters
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import Money
from backend.metering.episodes import note_gateway_clock
from backend.metering.operations import note_gateway
from backend.metering.readings import Reading, store_readings
from workers.models import meter_models

from .charged import Home, make_home
from .test_customer_news import told
from .world import START, World, admin_scope, bind_customer, new_id, reading_of

LOW_1, LOW_2, ARREARS = AlarmKind.LOW_1, AlarmKind.LOW_2, AlarmKind.ARREARS
MINUTE = timedelta(minutes=1)
NOTHING = Looked(0, 0)


async def look(world: World) -> Looked:
    """The look of a minute, a minute later."""
    world.clock.advance(MINUTE)
    return await tend_alarms(group_id=world.group_id, at=world.clock.now())


async def alarms(world: World, *, live: bool = True) -> list[Alarm]:
    """Of the world's project, oldest first."""
    async with unit_of_work(world.group_id) as work:
        found = await alarms_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            wanted=Wanted(live=live),
            before=None,
            limit=1_000,
        )
    return found[::-1]


async def kinds(world: World) -> set[AlarmKind]:
    """What stands in the world's project."""
    return {alarm.kind for alarm in await alarms(world)}


async def bound(home: Home, openid: str = "o-zhang") -> Home:
    """The home with a customer bound to its account."""
    await bind_customer(replace(home.world, account=home.account), external_id=openid)
    return home


async def read(world: World, *readings: Reading) -> None:
    """Readings are stored."""
    async with unit_of_work(world.group_id) as work:
        await store_readings(work, readings=readings)


async def holds(world: World, yuan: str, **registers: int) -> None:
    """The world's meter says how much money it holds."""
    world.clock.advance(MINUTE)
    hao = Money.parse(yuan).hao
    at = world.clock.now()
    await read(world, reading_of(world.meter.id, at=at, remaining_hao=hao, **registers))


async def draws(world: World, watts: int) -> None:
    """The world's meter says what power goes through it."""
    world.clock.advance(MINUTE)
    reading = reading_of(world.meter.id, at=world.clock.now(), remaining_hao=1_000_000)
    await read(world, reading._replace(power_w=watts))


async def test_a_meter_that_runs_low_is_told_once_a_level_and_again_after_it_was_filled(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await bind_customer(world)
        await holds(world, "100")
        assert await look(world) == NOTHING
    await holds(ours, "20")
    assert await look(ours) == Looked(1, 0)
    assert await told(ours) == [
        (
            "o-zhang",
            "余额提醒：Shop 100001 余额剩 20.00 元，预计可用天数：未知（11-22 12:04），请留意充值。",
        )
    ]
    assert await look(ours) == NOTHING
    await holds(ours, "19.5")
    assert await look(ours) == NOTHING
    assert [(a.kind, dict(a.detail)) for a in await alarms(ours)] == [
        (LOW_1, {"left": "19.50", "level": "20.00"})
    ]
    await holds(ours, "4")
    assert await look(ours) == Looked(1, 0)
    await holds(ours, "-1.2")
    assert await look(ours) == Looked(1, 0)
    assert await kinds(ours) == {LOW_1, LOW_2, ARREARS}
    assert [text[:4] for _, text in await told(ours)] == ["余额提醒", "停供提醒", "欠费提醒"]
    assert "欠费 1.20 元" in (await told(ours))[-1][1]
    await holds(ours, "21.99")
    assert await look(ours) == Looked(0, 2), "not a tenth above its first level yet"
    assert await kinds(ours) == {LOW_1}
    await holds(ours, "19")
    assert await look(ours) == NOTHING, "the episode goes on"
    await holds(ours, "22.01")
    assert await look(ours) == Looked(0, 1)
    await holds(ours, "20")
    assert await look(ours) == Looked(1, 0)
    assert len(await told(ours)) == 4
    assert [alarm.ended_at is None for alarm in await alarms(ours, live=False)] == [
        False,
        False,
        False,
        True,
    ]
    assert await alarms(theirs, live=False) == []
    assert await told(theirs) == []


async def test_who_falls_through_all_levels_at_once_hears_of_the_gravest_only(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await bound(await make_home(ours)), await bound(await make_home(theirs))
    for each in (home, other):
        await each.pay("40")
        assert await look(each.world) == NOTHING
    await home.read(home.reading(1, 70_000))
    assert await look(ours) == Looked(3, 0)
    assert [(address, text[:4]) for address, text in await told(ours)] == [("o-zhang", "欠费提醒")]
    assert "欠费 2.00 元" in (await told(ours))[0][1]
    await home.read(home.reading(2, 71_000))
    assert await look(ours) == NOTHING
    assert len(await told(ours)) == 1, "one message an episode"
    assert {a.detail["left"] for a in await alarms(ours)} == {"-2.60"}
    await home.pay("60")
    assert await look(ours) == Looked(0, 3)
    assert await kinds(ours) == set()
    assert {a.ended_why for a in await alarms(ours, live=False)} == {"there is money again"}
    assert await alarms(theirs, live=False) == []
    assert await told(theirs) == []


async def test_what_is_read_and_not_charged_yet_is_not_left(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.pay("30")
    await home.read(home.reading(1, 1_000))
    assert await look(ours) == NOTHING
    await home.read(home.reading(2, 20_000), charge=False)
    assert await look(ours) == Looked(1, 0)
    assert [a.detail["left"] for a in await alarms(ours)] == ["18.00"]


async def test_all_who_draw_from_a_purse_hear_of_it_and_nobody_else(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner, sharer, stranger = [await make_home(ours, no=f"30000{n}") for n in range(3)]
    await share_purse(
        scope=ours.scope,
        account_id=sharer.account.id,
        owner_id=owner.account.id,
        reason="one family",
        at=ours.clock.now(),
    )
    await stranger.pay("100")
    for home, openid in ((owner, "o-one"), (sharer, "o-two"), (stranger, "o-three")):
        await bound(home, openid)
    await sharer.read(sharer.reading(1, 1_000), owner.reading(1, 1_000))
    assert await look(ours) == Looked(3, 0), "the purse is one place"
    assert {address for address, _ in await told(ours)} == {"o-one", "o-two"}
    assert all("欠费 1.20 元" in text for _, text in await told(ours))


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


async def test_a_meter_that_serves_nobody_any_more_has_no_alarm_of_money(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await holds(ours, "1")
    assert await look(ours) == Looked(2, 0)
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET ended_at = $2, closing_total = 0,"
            " closing_remaining_hao = 0, closing_purchase_no = 0, closing_by = 'READ'"
            " WHERE id = $1",
            ours.assignment.id,
            ours.clock.now(),
        )
    assert await look(ours) == Looked(0, 2)
    assert await look(ours) == NOTHING


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
