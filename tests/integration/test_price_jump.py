"""A price typed a hundred times too high cuts nobody, and keeps nobody in the dark who paid (C20)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.alerts.queries import cases_page
from backend.charges.rules import Figures
from backend.control.supplies import lock_supply
from backend.control.supply_rules import Decision, Want, Why, decide
from backend.journeys.charge_figures import figures
from backend.journeys.supply_doubts import doubted
from backend.journeys.supply_facts import gather
from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.money import ZERO, Money
from backend.metering.supplied import supplied_meters
from backend.tariffs.rules import TariffKind
from workers.models import meter_models

from .charged import Home, make_home
from .priced import assign, flat, in_force, make_draft, make_tariff, submit
from .world import START, World

MEANT, TYPED = 6_000, 600_000  # hao a kWh
DAY = timedelta(days=1)
_HALF_HOURS = 48


@pytest.fixture
async def homes(worlds: tuple[World, World]) -> tuple[Home, Home]:
    """Ours pays sixty yuan a kWh from the second day on by a slip; theirs is as ours was meant."""
    ours = await make_home(worlds[0], terms=None)
    tariff = await make_tariff(worlds[0])
    await in_force(worlds[0], tariff, terms=flat(MEANT))
    await in_force(worlds[0], tariff, terms=flat(TYPED), effective_at=START + DAY)
    await assign(worlds[0], tariff, ours.account.id)
    theirs = await make_home(worlds[1], terms=flat(MEANT))
    for home in (ours, theirs):
        await home.pay("10")
        await home.read(home.reading(_HALF_HOURS, 10_000))
    return ours, theirs


async def _known(home: Home) -> Figures:
    async with unit_of_work(home.world.group_id) as work:
        return (await figures(work, account_ids=[home.account.id]))[home.account.id]


async def _decided(home: Home) -> Decision:
    at = home.at(_HALF_HOURS + 2)
    async with unit_of_work(home.world.group_id) as work:
        held = await lock_supply(work, project_id=home.world.project.id, meter_id=home.meter.id)
        meters = await supplied_meters(work, meter_ids=[home.meter.id])
        facts = await gather(work, [held], meters, meter_models(), at)
    return decide(facts[home.meter.id])


async def _cases(home: Home) -> list[str]:
    async with unit_of_work(home.world.group_id) as work:
        found = await cases_page(
            work,
            scope=home.world.scope,
            project_id=home.world.project.id,
            only_open=True,
            before=None,
            limit=100,
        )
    return [case.kind for case in found]


async def test_who_owes_only_by_a_price_that_jumped_is_taken_for_paid_and_a_person_is_told(
    homes: tuple[Home, Home],
) -> None:
    ours, theirs = homes
    for home in homes:
        await home.read(home.reading(_HALF_HOURS + 1, 11_000))
    assert (await _known(ours)).available == Money.parse("-56")
    assert (await _decided(ours))[:2] == (Want.ON, Why.PAID)
    assert "PRICE_DOUBTED" in await _cases(ours)
    assert (await _known(theirs)).available == Money.parse("3.4")
    assert await _cases(theirs) == []


async def test_use_that_is_read_and_not_charged_yet_is_doubted_by_the_same_price(
    homes: tuple[Home, Home],
) -> None:
    ours, _ = homes
    await ours.read(ours.reading(_HALF_HOURS + 1, 10_100))
    await ours.read(ours.reading(_HALF_HOURS + 2, 13_000), charge=False)
    assert (await _known(ours)).uncharged == Money.parse("174")
    assert (await _decided(ours))[:2] == (Want.ON, Why.PAID)


async def test_who_owes_by_the_price_that_was_meant_too_is_judged_like_anybody(
    homes: tuple[Home, Home],
) -> None:
    for home in homes:
        await home.read(home.reading(_HALF_HOURS + 1, 17_000))
    ours, theirs = homes
    assert (await _decided(ours)).held_back == (await _decided(theirs)).held_back
    assert (await _decided(ours)).why is not Why.PAID
    assert "PRICE_DOUBTED" not in await _cases(ours)


async def test_the_first_price_of_a_tariff_is_compared_with_another_tariff_of_its_kind(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    await in_force(ours, await make_tariff(ours), terms=flat(MEANT))
    for world, kind, told in (
        (ours, TariffKind.ELECTRICITY, ["flat: 6000 -> 600000"]),
        (ours, TariffKind.WATER, []),
        (theirs, TariffKind.ELECTRICITY, []),
    ):
        tariff = await make_tariff(world, name=f"Offices {kind}", kind=kind)
        draft = await make_draft(world, tariff, terms=flat(TYPED, kind))
        if told:
            with pytest.raises(InvalidInput, match="many times"):
                await submit(world, draft, confirm_jumps=False)
        submitted = await submit(world, draft, confirm_jumps=bool(told))
        assert set(told) <= set(submitted.jumps)
        assert bool(submitted.jumps) == bool(told)


async def test_what_one_group_doubts_another_does_not_see(homes: tuple[Home, Home]) -> None:
    ours, theirs = homes
    await ours.read(ours.reading(_HALF_HOURS + 1, 11_000))
    owing = {ours.account.id: await _known(ours)}
    at = ours.at(_HALF_HOURS + 2)
    async with unit_of_work(theirs.world.group_id) as work:
        assert await doubted(work, owing=owing, at=at) == {}
    async with unit_of_work(ours.world.group_id) as work:
        found = await doubted(work, owing=owing, at=at)
        assert found == {ours.account.id: Money.parse("59.4")}
        assert await doubted(work, owing=owing, at=at + 63 * DAY) == {}
        assert await doubted(work, owing={}, at=at) == {}
    assert found[ours.account.id] > ZERO
