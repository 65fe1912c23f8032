"""A meter whose money is in the cloud is taken down: charged to its last word, however late it is (A17, C14).

Found by seeds 34, 40, 93, 126 and 160 of `shuidian simulate`: what was read between the last word and the end
of the service stayed charged beyond the closing register.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.journeys.charge import charge_in
from backend.journeys.takedown import Ask, name_next_meter, replace_meter
from backend.journeys.takedown_steps import go_on
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.metering import cloud
from backend.metering import operations as metering
from backend.metering import takedowns as rows
from backend.metering.models import Meter
from backend.metering.readings import store_readings
from backend.metering.rules import CreditMode
from backend.metering.takedown_rules import TakedownState
from backend.metering.takedowns import Takedown
from workers.models import meter_models

from .charged import Home, make_home
from .world import World, reading_of


@pytest.fixture
async def home(worlds: tuple[World, World]) -> Home:
    """A home of ours with 100 yuan; a neighbour in the other group uses as much and has no part in it."""
    ours, theirs = worlds
    neighbour = await make_home(theirs)
    await neighbour.read(neighbour.reading(1, 1_000), neighbour.reading(3, 5_000))
    made = await make_home(ours)
    await made.pay("100")
    return made


async def begun(home: Home, half_hours: float) -> Takedown:
    """An operator begins to replace the home's meter; the next one is named later."""
    home.world.clock.instant = home.at(half_hours)
    ask = Ask(
        home.world.scope.actor, "it is old", "replace-cloud", meter_models(), home.at(half_hours)
    )
    return await replace_meter(
        scope=home.world.scope, meter_id=home.meter.id, to_meter_id=None, ask=ask
    )


async def goes_on(home: Home, takedown: Takedown, half_hours: float) -> Takedown:
    """A worker goes on with it; how it then stands."""
    home.world.clock.instant = home.at(half_hours)
    await go_on(group_id=home.world.group_id, takedown_id=takedown.id, at=home.at(half_hours))
    async with unit_of_work(home.world.group_id) as work:
        return await rows.takedown(work, scope=home.world.scope, takedown_id=takedown.id)


async def ended(home: Home, takedown: Takedown, half_hours: float) -> Takedown:
    """The next meter was read and takes over."""
    world, at = home.world, home.at(half_hours)
    async with unit_of_work(world.group_id) as work:
        following: Meter = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial="C-300002",
            model=meter_models()["DDSY1352-NK"],
            bus_address="99",
            at=at,
            credit_mode=CreditMode.CLOUD,
        )
        await store_readings(work, readings=[reading_of(following.id, at=at, total=7)])
    await name_next_meter(
        scope=world.scope, takedown_id=takedown.id, to_meter_id=following.id, at=at
    )
    return await goes_on(home, takedown, half_hours + 0.01)


async def test_what_was_charged_beyond_the_last_word_is_taken_back_when_the_service_ends(
    home: Home,
) -> None:
    await home.read(home.reading(1, 1_000))
    takedown = await begun(home, 2)
    await home.read(home.reading(2.1, 2_000))
    assert (await goes_on(home, takedown, 2.2)).state is TakedownState.KNOWN
    await home.read(home.reading(3, 5_000))
    assert await home.charged() == Money.parse("3.00"), "it serves on until another takes over"
    done = await ended(home, takedown, 3.2)
    assert done.state is TakedownState.DONE
    assert await home.charged() == Money.parse("1.20")
    assert await home.owed() == Money.parse("98.80")
    await home.read(home.reading(4, 9_000))
    assert await home.charged() == Money.parse("1.20"), "in the workshop it counts for nobody"


async def test_who_charges_while_a_service_ends_charges_no_further_than_its_last_word(
    home: Home,
) -> None:
    takedown = await begun(home, 2)
    await home.read(home.reading(2.1, 2_000), charge=False)
    await goes_on(home, takedown, 2.2)
    await home.read(home.reading(3, 5_000), charge=False)
    async with unit_of_work(home.world.group_id) as work:
        found_before = await cloud.cloud_assignments(work, meter_ids=[home.meter.id])
    await ended(home, takedown, 3.2)
    async with unit_of_work(home.world.group_id) as work:
        await charge_in(work, assignments=found_before, since={}, at=home.at(3.3))
    assert await home.charged() == Money.parse("1.20")


async def test_what_a_gateway_read_before_and_tells_late_is_not_a_meters_last_word(
    home: Home,
) -> None:
    takedown = await begun(home, 2)
    late = reading_of(home.meter.id, at=home.at(1.9), total=1_001_900, late_s=600)
    assert late.received_at > home.at(2) + timedelta(minutes=1)
    await home.read(late)
    assert (await goes_on(home, takedown, 2.4)).state is TakedownState.WAITING
    await home.read(home.reading(2.5, 2_500))
    heard = await goes_on(home, takedown, 2.6)
    assert heard.state is TakedownState.KNOWN
    assert heard.final is not None
    assert heard.final.total == 1_002_500
