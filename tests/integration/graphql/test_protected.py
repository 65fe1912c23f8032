"""A trip of a protected meter is refused on all five ways: by hand, batch, engine, API, timetable (O19, C23).

A third party's takeover does not exist yet; what it will send is a command like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import pytest

from backend.control.batch_rules import LeftOut
from backend.control.command_rules import CommandKind, Order
from backend.control.supply_rules import Why
from backend.journeys import batch as batches
from backend.journeys import supply, timetable
from backend.journeys.batch import Wish
from backend.journeys.batch_selection import Selection
from backend.journeys.command import ask, command_meter
from backend.journeys.supply_look import ENGINE
from backend.kernel.clock import CHINA
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict
from schema.scalars import ref
from workers.models import meter_models

from ..batched import make_operator
from ..charged import Home
from ..dormitory import make_timetable
from ..racing import DAY, Street, make_street
from ..world import World
from .edge import Api, operator_token

TELL = """mutation($m: ID!) { answer: commandMeter(meter: $m, kind: TRIP, reason: "who knows why") {
  __typename ... on Problem { code message } } }"""
WHY = "somebody wants it off"
EVENING = datetime.combine(date(2026, 11, 24), time(23, 30), CHINA)


@dataclass
class Ward:
    """Two households, both due for a cut; the first one has a breathing machine."""

    street: Street
    api: Api

    @property
    def home(self) -> Home:
        """The protected one."""
        return self.street.homes[0]

    @property
    def world(self) -> World:
        """Its group."""
        return self.street.world


@pytest.fixture
async def ward(worlds: tuple[World, World], api: Api) -> Ward:
    """A day after everybody's money was used up and everybody was warned."""
    street = await make_street(worlds[0], homes=2)
    await street.use_up()
    at = street.world.clock.now()
    await supply.protect_meter(
        scope=street.world.scope,
        meter_id=street.homes[0].meter.id,
        reason="a breathing machine",
        review_at=at + 90 * DAY,
        at=at,
    )
    return Ward(street, api)


async def by_hand(ward: Ward) -> None:
    """One meter, by an operator with every right."""
    with pytest.raises(Conflict, match="protected"):
        await command_meter(
            scope=ward.world.scope,
            meter_id=ward.home.meter.id,
            kind=CommandKind.TRIP,
            reason=WHY,
            models=meter_models(),
            at=ward.world.clock.now(),
        )


async def by_batch(ward: Ward) -> None:
    """A batch that names both."""
    ling = await make_operator(ward.world, "ling")
    at = ward.world.clock.now()
    made = await batches.prepare_batch(
        scope=ling,
        project_id=ward.world.project.id,
        wish=Wish(CommandKind.TRIP, WHY),
        selection=Selection(numbers="\n".join(home.meter.serial for home in ward.street.homes)),
        models=meter_models(),
        at=at,
    )
    async with unit_of_work(ward.world.group_id) as work:
        rows = await work.fetch(
            "SELECT meter_id, left_out FROM control_batch_item WHERE group_id = $1 AND batch_id = $2",
            work.group_id,
            made.id,
        )
    found = {row["meter_id"]: row["left_out"] for row in rows}
    assert found[ward.home.meter.id] == LeftOut.PROTECTED


async def by_the_engine(ward: Ward) -> None:
    """An automatic cut: the neighbour's comes, this one's does not; nor when the engine asks all the same."""
    assert (await ward.street.look()).commands >= 1
    assert [
        told.kind
        for meter_id, told in (await ward.street.newest()).items()
        if meter_id != ward.home.meter.id
    ] == [CommandKind.TRIP]
    for why in (Why.ARREARS, Why.SAFETY_LOCK, Why.TIMETABLE, Why.FORCED_OFF):
        with pytest.raises(Conflict, match="protected"):
            async with unit_of_work(ward.world.group_id) as work:
                await ask(
                    work,
                    meter=ward.home.meter,
                    order=Order(CommandKind.TRIP, WHY),
                    models=meter_models(),
                    actor=ENGINE,
                    at=ward.world.clock.now(),
                    why=why,
                )


async def by_the_api(ward: Ward) -> None:
    """Through the edge, with a token."""
    token = await operator_token(ward.world)
    meter = {"m": ref("Meter", ward.home.meter.id)}
    answer = (await ward.api.data(TELL, meter, token=token))["answer"]
    assert answer["code"] == "CONFLICT"
    assert "protected" in answer["message"]


async def by_a_timetable(ward: Ward) -> None:
    """Lights out at eleven, for both."""
    kept = await make_timetable(ward.world)
    await timetable.plan_timing(
        scope=ward.world.scope,
        timetable_id=kept.id,
        meter_ids=[home.meter.id for home in ward.street.homes],
        reason=WHY,
        models=meter_models(),
        at=ward.world.clock.now(),
    )
    ward.world.clock.instant = EVENING
    await ward.street.read()
    await ward.street.look()


WAYS: dict[str, Callable[[Ward], Awaitable[None]]] = {
    "one meter": by_hand,
    "batch": by_batch,
    "automatic": by_the_engine,
    "API": by_the_api,
    "schedule": by_a_timetable,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_trip_of_a_protected_meter_is_refused(ward: Ward, way: str) -> None:
    await WAYS[way](ward)
    while await ward.street.ring():
        ward.world.clock.advance(timedelta(seconds=1))
    assert ward.street.switch(ward.home).trips == 0
    assert ward.street.switch(ward.home).closed
    async with unit_of_work(ward.world.group_id) as work:
        kinds = await work.fetch(
            "SELECT kind FROM control_command WHERE group_id = $1 AND meter_id = $2",
            work.group_id,
            ward.home.meter.id,
        )
    assert CommandKind.TRIP not in {row["kind"] for row in kinds}


async def test_the_neighbour_goes_dark_by_the_engine_and_by_the_timetable(ward: Ward) -> None:
    neighbour = ward.street.homes[1]
    await by_a_timetable(ward)
    while await ward.street.ring():
        ward.world.clock.advance(timedelta(seconds=1))
    assert not ward.street.switch(neighbour).closed
