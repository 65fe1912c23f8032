"""A month to date is charged by differences: right whatever the order in which readings come (C13-C17)."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial, reduce
from uuid import UUID

import asyncpg
import pytest

from backend.charges.rules import Amounts, Point, Reason, Ruling
from backend.journeys.charge_estimate import estimate_use
from backend.journeys.charge_explain import explained
from backend.journeys.charge_figures import figures
from backend.journeys.charge_missed import charge_missed
from backend.journeys.charge_rating import Timeline, amounts_to_date, segments_to_date, spans
from backend.journeys.charge_rulings import re_rate, rule_on_hold
from backend.kernel.band_calendar import BANDS
from backend.kernel.clock import CHINA
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import Money
from backend.ledger.rules import ARREARS, AccountKind
from backend.metering.readings import Reading
from backend.metering.rules import MeterKind
from backend.tariffs.queries import timelines
from backend.tariffs.rules import Fee, Season, Step, StepPeriod, TariffKind, Terms

from .charged import Home, add_meter, charge_due, make_home, totals
from .priced import FLAT, assign, flat, in_force, make_tariff
from .test_ledger import expect_kept_is_derived
from .world import START, World, admin_scope, make_account, make_project, new_id, reading_of


async def test_what_is_read_is_charged_once_from_the_opening_on(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await make_home(ours), await make_home(theirs)
    await home.pay("10")
    first = home.reading(1, 500)
    assert await home.read(first) == 1
    assert await home.read(first) == 0
    assert await home.read(home.reading(2, 1_500)) == 1
    charges = await home.charges()
    assert totals(charges) == [3_000, 6_000]  # 0.5 and 1 kWh at 0.60
    assert [charge.seq for charge in charges] == [1, 2]
    assert [(charge.from_total, charge.to_total) for charge in charges] == [
        (1_000_000, 1_000_500),
        (1_000_500, 1_001_500),
    ]
    assert await home.owed() == Money.parse("9.10")
    assert await other.charges() == []
    await expect_kept_is_derived(ours)


@pytest.mark.parametrize(
    "column", ["assignment_id", "account_id", "project_id", "purse_id", "version_id", "entry_id"]
)
async def test_a_charge_that_points_at_what_its_project_has_not_is_refused(
    worlds: tuple[World, World], column: str
) -> None:
    """By the database itself, whether it is nowhere, another group's, or another project's of the group."""
    ours, theirs = worlds
    second = await make_project(ours)
    home, neighbour = await make_home(ours), await make_home(ours, no="300002")
    far, other = await make_home(second, no="300003"), await make_home(theirs)
    for each in (home, neighbour, far, other):
        await each.pay("10")
        assert await each.read(each.reading(1, 500)) == 1
    (charge,), (next_door,) = await home.charges(), await neighbour.charges()
    (distant,), (foreign,) = await far.charges(), await other.charges()
    wrong = [new_id(), *(getattr(each, column) for each in (distant, foreign))]
    if column in ("assignment_id", "account_id"):
        wrong.append(getattr(next_door, column))
    if column == "version_id":
        wrong.remove(distant.version_id)  # a group's versions know no project
    again = (
        "INSERT INTO charges_charge SELECT (jsonb_populate_record(c, $2)).* FROM charges_charge c"
        " WHERE c.id = $1"
    )
    async with unit_of_work(ours.group_id) as work:  # what is changed below is all that is wrong
        await work.execute(again, charge.id, {"id": str(new_id()), "seq": 2})
    for value in wrong:
        changed = {"id": str(new_id()), "seq": 3, column: str(value)}
        with pytest.raises(asyncpg.ForeignKeyViolationError, match="this project has not"):
            async with unit_of_work(ours.group_id) as work:
                await work.execute(again, charge.id, changed)


async def test_a_late_reading_changes_nothing_where_one_price_holds(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.read(home.reading(4, 4_000))
    await home.read(home.reading(2, 1_000))
    assert await home.charged() == Money.parse("2.4")
    assert [charge.reason for charge in await home.charges()] == [Reason.USE]


async def test_what_the_purse_cannot_pay_stands_in_arrears(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.pay("1")
    await home.read(home.reading(1, 3_000))
    assert await home.owed() == Money(0)
    assert await home.owed(AccountKind.ENERGY_ARREARS) == Money.parse("0.8")
    await expect_kept_is_derived(ours)


STEPPED = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": 5_000, "peak": 9_000, "valley": 3_000}),),
    steps=(Step(2_000, 1_000), Step(6_000, 3_000)),
    loss=Fee(share=500),
    public=Fee(per_unit=123),
    service=Fee(per_unit=77, share=11),
    monthly=310_000,
)
DEARER = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": 7_000}), Season(11, 25, {"flat": 8_001})),
    steps=(Step(3_000, 500),),
    monthly=100_000,
)
YEARLY = replace(STEPPED, step_period=StepPeriod.YEAR, year_starts_in=7)


async def truth(homes: list[Home], read: dict[UUID, dict[datetime, Reading]]) -> Amounts:
    """What the final set of readings costs, rated once from nothing."""
    account, world = homes[0].account, homes[0].world
    last = max(at for of_meter in read.values() for at in of_meter)
    async with unit_of_work(world.group_id) as work:
        held = await timelines(
            work, account_ids=[account.id], kind=TariffKind.ELECTRICITY, until=last
        )
    timeline = Timeline(held[account.id], CHINA)
    parts = []
    for home in homes:
        opening = Point(home.assignment.started_at, home.assignment.opening_total)
        found = [
            Point(at, each.total, tuple(each.bands.get(band) for band in BANDS))
            for at, each in sorted(read[home.meter.id].items())
        ]
        rated, stop = spans([opening, *found], MeterKind.ELECTRICITY, {})
        assert stop is None
        parts += [part for span in rated for part in timeline.parts(span)]
    total = Amounts()
    used: dict[date, int] = {}
    for month in sorted({part.month for part in parts}):
        plan_month = timeline.month(month)
        uses = [[0] * 6 for _ in plan_month.starts]
        for part in parts:
            if part.month == month:
                uses[part.place] = [a + b for a, b in zip(uses[part.place], part.use, strict=True)]
        years = {
            place: sum(used.values())
            for place, plan in enumerate(plan_month.plans)
            if plan.terms.step_period is StepPeriod.YEAR
        }
        until = max(part.end for part in parts if part.month == month)
        uses = uses[: 1 + max(part.place for part in parts if part.month == month)]
        segments = segments_to_date(plan_month, uses, homes[0].assignment.started_at, until, years)
        total = total.plus(amounts_to_date(segments))
        used[month] = sum(map(sum, uses))
    return total


@pytest.mark.parametrize("terms", [STEPPED, YEARLY], ids=["monthly", "yearly"])
@pytest.mark.parametrize("seed", range(4))
async def test_any_order_of_readings_ends_in_what_the_truth_costs_rated_once(
    worlds: tuple[World, World], terms: Terms, seed: int
) -> None:
    """Late, repeated, in batches, over a change of price, a season, a month, and with two meters."""
    ours, theirs = worlds
    chance = random.Random(seed)
    home = await make_home(ours, terms=terms)
    tariff = await make_tariff(ours, name="dearer")
    await in_force(ours, tariff, terms=DEARER, effective_at=home.at(70.3))
    await assign(ours, tariff, home.account.id, started_at=home.at(70.3))
    second = await add_meter(ours, home.account, serial="C-second", bus_address=9)
    await home.pay("3")
    readings = []
    for one in (home, second):
        wh, bands = 0, dict.fromkeys(("peak", "flat", "valley"), 0)
        for half_hours in sorted(chance.sample(range(1, 460), 14)):
            for band in bands:
                bands[band] += chance.randrange(0, 400)
            wh = sum(bands.values())
            known = chance.random() < 0.8
            readings.append(one.reading(half_hours, wh, **(bands if known else {})))
    read: dict[UUID, dict[datetime, Reading]] = {home.meter.id: {}, second.meter.id: {}}
    repeats = chance.sample(readings, 5)
    order = chance.sample(readings, len(readings)) + repeats
    if seed % 2 == 0:  # in time, and charged as they come
        order = sorted(readings, key=lambda each: each.at) + repeats
    else:
        ours.clock.advance(timedelta(days=11))
    while order:
        batch = [order.pop(0) for _ in range(min(len(order), chance.randrange(1, 4)))]
        for each in batch:
            read[each.meter_id].setdefault(each.at, each)
        await home.read(*batch)
        expected = await truth([home, second], read)
        charged = [charge.amounts for charge in await home.charges()]
        assert reduce(Amounts.plus, charged, Amounts()) == expected
    made = len(await home.charges())
    await home.read(*chance.sample(readings, 3))
    assert len(await home.charges()) == made
    numbers = [(charge.assignment_id, charge.seq) for charge in await home.charges()]
    assert len(set(numbers)) == len(numbers)
    arrears = [await home.owed(kind) for kind in ARREARS]
    assert sum(each.hao for each in arrears) + 30_000 == (await home.charged()).hao
    await expect_kept_is_derived(ours)
    charges = await home.charges()
    async with unit_of_work(ours.group_id) as work:
        for charge in charges:
            told = await explained(work, charge=charge)
            assert told.agrees, told
    if seed % 2 == 0:
        assert sum(charge.reason is Reason.USE for charge in charges) > 25
    async with unit_of_work(theirs.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM charges_charge") == 0


HOURS = 2  # half hours


async def test_an_interval_across_a_step_is_split_and_the_counter_follows_a_meter_change(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    steps = Terms(
        TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 5_000}),), steps=(Step(2_000, 1_000),)
    )
    home = await make_home(ours, terms=steps)
    await home.read(home.reading(1, 1_500), home.reading(2, 2_500))
    assert totals(await home.charges()) == [7_500, 5_000 + 500]
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET ended_at = $2, closing_total = $3 WHERE id = $1",
            home.assignment.id,
            home.at(3),
            1_002_700,
        )
    new = await add_meter(
        ours, home.account, serial="C-new", bus_address=9, at=home.at(3), opening=77
    )
    await new.read(reading_of(new.meter.id, at=new.at(4), total=1_077))
    assert totals(await home.charges())[2:] == [6_000]  # one more kWh, all of it in step 2
    await home.read(home.reading(3, 2_700))  # the closing of the old one, at last
    late = [c for c in await home.charges() if c.assignment_id == home.assignment.id]
    assert totals(late) == [7_500, 5_500, 1_200]
    assert (await home.charged()).hao == 3_700 * 5 + 1_700


async def test_a_register_that_goes_back_is_held_and_goes_on_as_a_person_rules(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await make_home(ours)
    await home.read(home.reading(1, 1_000))
    assert await home.read(home.reading(2, 400), home.reading(3, 2_000)) == 0
    assert await home.read(home.reading(4, 3_000)) == 0
    async with unit_of_work(ours.group_id) as work:
        cases = await work.fetch("SELECT * FROM alerts_case WHERE kind = 'BILLING_HOLD'")
    assert [(case["subject"], case["detail"]["reason"]) for case in cases] == [
        (str(home.assignment.id), "NEGATIVE")
    ]
    rule = partial(rule_on_hold, meter_id=home.meter.id, at=home.at(5))
    with pytest.raises(NotFound):
        await rule(scope=theirs.scope, ruling=Ruling.IGNORE, note="not theirs")
    with pytest.raises(InvalidInput):
        await rule(scope=ours.scope, ruling=Ruling.IGNORE, note=" ")
    await rule(scope=ours.scope, ruling=Ruling.IGNORE, note="one bad frame")
    assert (await home.charged()).hao == 18_000
    with pytest.raises(Conflict):
        await rule(scope=ours.scope, ruling=Ruling.IGNORE, note="again")
    await home.read(home.reading(6, -900_000))  # somebody reset the register
    await home.read(home.reading(7, -899_000))
    assert (await home.charged()).hao == 18_000
    await rule(scope=ours.scope, ruling=Ruling.REBASE, note="register was reset")
    assert (await home.charged()).hao == 24_000
    assert await home.read(home.reading(8, -898_000)) == 1
    assert (await home.charged()).hao == 30_000


async def test_a_register_that_gains_more_than_a_meter_can_is_held_and_charged_only_when_a_person_says_so(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await make_home(ours), await make_home(theirs)
    await home.read(home.reading(1, 1_000))
    wrong = home.reading(2, 50_001_000)  # one digit of eight was told wrong
    await home.read(wrong, charge=False)
    async with unit_of_work(ours.group_id) as work:
        known = (await figures(work, account_ids=[home.account.id]))[home.account.id]
    assert known.uncharged == Money(0)  # not even before it is looked at
    assert await home.read(wrong) == 0
    assert await home.read(home.reading(3, 3_000)) == 0
    assert await other.read(other.reading(1, 1_000)) == 1  # who lives elsewhere is charged
    async with unit_of_work(ours.group_id) as work:
        (case,) = await work.fetch("SELECT * FROM alerts_case WHERE kind = 'BILLING_HOLD'")
    assert case["detail"]["reason"] == "TOO_FAST"
    rule = partial(rule_on_hold, scope=ours.scope, meter_id=home.meter.id, at=home.at(5))
    await rule(ruling=Ruling.IGNORE, note="a wrong digit")
    assert (await home.charged()).hao == 18_000
    await home.read(home.reading(4, 5_003_000), home.reading(5, 5_004_000))
    assert (await home.charged()).hao == 18_000
    await rule(ruling=Ruling.COUNT, note="a welder of the works behind transformers")
    assert sum(sum(charge.use) for charge in await home.charges()) == 5_004_000
    await home.read(home.reading(6, 4_000_000))
    with pytest.raises(InvalidInput, match="no use to count"):
        await rule(ruling=Ruling.COUNT, note="what went back has no use")


async def test_a_late_reading_that_goes_back_takes_nothing_back_before_a_person_rules(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.read(home.reading(1, 1_000))
    await home.read(home.reading(3, 3_000))
    assert await home.read(home.reading(2, 500)) == 0
    assert (await home.charged()).hao == 18_000
    await home.read(home.reading(4, 4_000))
    await rule_on_hold(
        scope=ours.scope,
        meter_id=home.meter.id,
        ruling=Ruling.IGNORE,
        note="a frame of another meter",
        at=home.at(5),
    )
    assert (await home.charged()).hao == 24_000


async def test_a_register_that_begins_anew_is_no_step_back(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    account = await make_account(ours, no="310001")
    home = await add_meter(ours, account, serial="C-full", bus_address=9, opening=999_999_500)
    tariff = await make_tariff(ours)
    await in_force(ours, tariff)
    await assign(ours, tariff, account.id)
    assert await home.read(reading_of(home.meter.id, at=home.at(1), total=500)) == 1
    assert (await home.charged()).hao == 6_000


async def test_a_gap_is_charged_at_the_next_reading_split_by_day_and_month(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    to_midnight = 24  # half hours from START, noon in China
    assert await home.read(home.reading(to_midnight + 48, 7_200)) == 2
    charges = await home.charges()
    assert [str(charge.day) for charge in charges] == ["2026-11-22", "2026-11-23"]
    assert [sum(charge.use) for charge in charges] == [2_400, 4_800]
    assert all(charge.shared for charge in charges)
    assert await home.read(home.reading(to_midnight + 48 * 9, 7_200)) == 0
    await home.read(home.reading(to_midnight + 48 * 30, 28_200))
    charged = await home.charged()
    assert charged.hao == 28_200 * 6
    # A late reading of the month before moves use from this one to that one, and changes nothing else.
    await home.read(home.reading(to_midnight + 48 * 10, 17_200))
    assert await home.charged() == charged
    async with unit_of_work(ours.group_id) as work:
        used = await work.fetch("SELECT month, used FROM charges_month ORDER BY month")
    assert sum(row["used"] for row in used) == 28_200
    assert len(used) == 2


async def test_a_change_of_price_in_the_day_holds_from_its_instant_and_the_charge_keeps_its_version(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    tariff = await make_tariff(ours, name="new")
    dearer = await in_force(ours, tariff, terms=flat(12_000), effective_at=home.at(1.5))
    await assign(ours, tariff, home.account.id, started_at=home.at(1.5))
    await home.read(home.reading(1, 1_000), home.reading(2, 2_000))
    charges = await home.charges()
    assert totals(charges) == [6_000, 3_000, 6_000]
    assert charges[2].version_id == dearer.id != charges[1].version_id
    assert [charge.shared for charge in charges] == [False, True, True]


async def test_without_a_tariff_nothing_is_charged_and_nothing_lost(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    home = await make_home(ours, terms=None)
    assert await home.read(home.reading(1, 1_000)) == 0
    async with unit_of_work(ours.group_id) as work:
        case = await work.fetchrow("SELECT * FROM alerts_case WHERE kind = 'BILLING_HOLD'")
    assert case is not None
    assert case["detail"]["reason"] == "NO_TARIFF"
    tariff = await make_tariff(ours)
    await in_force(ours, tariff)
    await assign(ours, tariff, home.account.id)
    assert await charge_missed(group_id=ours.group_id, at=home.at(2)) == 1
    assert (await home.charged()).hao == 6_000
    assert await charge_missed(group_id=ours.group_id, at=home.at(2)) == 0


async def test_the_monthly_fee_is_borne_by_the_day(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    home = await make_home(ours, terms=replace(FLAT, monthly=300_000))
    await home.read(home.reading(1, 0))
    assert await home.charges() == []
    await home.read(home.reading(25, 0))
    await home.read(home.reading(49, 0))
    assert [charge.amounts.fixed for charge in await home.charges()] == [10_000]
    await home.read(home.reading(24 + 48 * 8, 0))
    assert sum(charge.amounts.fixed for charge in await home.charges()) == 90_000


async def test_rating_anew_posts_only_the_difference_and_needs_the_right(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await make_home(ours)
    await home.read(home.reading(1, 1_000))
    anew = partial(
        re_rate, account_id=home.account.id, kind="ELECTRICITY", first=START, at=home.at(3)
    )
    assert await anew(scope=ours.scope) == 0
    await home.read(home.reading(2, 3_000), charge=False)
    assert await anew(scope=ours.scope) == 1
    assert await anew(scope=ours.scope) == 0
    assert (await home.charged()).hao == 18_000
    assert await charge_due(ours) == 0
    reader = admin_scope(ours.group_id, permissions=frozenset({"account:read"}))
    with pytest.raises(Forbidden):
        await anew(scope=reader)
    with pytest.raises(NotFound):
        await anew(scope=theirs.scope)


async def test_a_silent_meter_is_charged_provisionally_and_its_next_reading_takes_that_back(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home = await make_home(ours, terms=replace(FLAT, steps=(Step(5_000, 1_000),)))
    await home.pay("10")
    estimate = partial(estimate_use, meter_id=home.meter.id)
    await home.read(home.reading(24, 1_200))
    with pytest.raises(Conflict):
        await estimate(scope=ours.scope, at=home.at(100))  # half a day of readings tells nothing
    await home.read(home.reading(48, 2_400))
    for scope in (
        theirs.scope,
        admin_scope(ours.group_id, permissions=frozenset({"charge:write"})),
    ):
        with pytest.raises(NotFound):
            await estimate(scope=scope, at=home.at(144))
    with pytest.raises(Conflict):
        await estimate(scope=ours.scope, at=home.at(50))
    # Two days at 50 Wh a half hour: 4.8 kWh, of which 2.2 lie above the step.
    assert (await estimate(scope=ours.scope, at=home.at(144))).hao == 4_800 * 6 + 2_200
    with pytest.raises(Conflict):
        await estimate(scope=ours.scope, at=home.at(145))
    assert await home.owed() == Money.parse("10") - Money(2_400 * 6 + 4_800 * 6 + 2_200)
    await home.read(home.reading(145, 3_400))
    assert (await home.charged()).hao == 3_400 * 6
    assert await home.owed() == Money.parse("10") - Money(3_400 * 6)
    charges = await home.charges()
    assert [c.reason for c in charges if "ESTIMATE" in c.reason] == [
        Reason.ESTIMATE,
        Reason.ESTIMATE_REVERSED,
    ]
    async with unit_of_work(ours.group_id) as work:
        for charge in charges:
            assert (await explained(work, charge=charge)).agrees
    await expect_kept_is_derived(ours)
