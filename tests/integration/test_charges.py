"""A month to date is charged by differences: right whatever the order in which readings come (C13-C17)."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from uuid import UUID

import pytest

from backend.charges.rules import Amounts, Point, Reason
from backend.journeys.charge_rating import Timeline, amounts_to_date, segments_to_date, spans
from backend.kernel.clock import CHINA
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.ledger.rules import ARREARS, AccountKind
from backend.metering.readings import BANDS, Reading
from backend.metering.rules import MeterKind
from backend.tariffs.queries import timelines
from backend.tariffs.rules import Fee, Season, Step, StepPeriod, TariffKind, Terms

from .charged import Home, add_meter, make_home, totals
from .priced import assign, in_force, make_tariff
from .test_ledger import expect_kept_is_derived
from .world import World


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
        rated, backward = spans([opening, *found], MeterKind.ELECTRICITY, {})
        assert backward is None
        parts += [part for span in rated for part in timeline.parts(span)]
    total, used = Amounts(), {}
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
        segments = segments_to_date(
            plan_month, uses, homes[0].assignment.started_at, until, years, CHINA
        )
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
    for each in (home, second):
        wh, bands = 0, dict.fromkeys(("peak", "flat", "valley"), 0)
        for half_hours in sorted(chance.sample(range(1, 460), 14)):
            for band in bands:
                bands[band] += chance.randrange(0, 400)
            wh = sum(bands.values())
            known = chance.random() < 0.8
            readings.append(each.reading(half_hours, wh, **(bands if known else {})))
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
    async with unit_of_work(theirs.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM charges_charge") == 0
