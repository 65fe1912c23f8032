"""A payment that arrives while the cut is in flight ends with power on, whoever is first (C20, C21).

Two hundred races in the suite; a thousand by `RACES=1000 pytest tests/integration/test_cut_race.py`.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from random import Random

import pytest

from backend.control.command_rules import CommandKind, CommandState
from backend.control.command_steps import Writing
from backend.control.commands import Command
from backend.control.supplies import supplies_of_meters
from backend.journeys import supply
from backend.journeys.charge_figures import figures
from backend.journeys.serve_command import about_to_write
from backend.kernel.db import unit_of_work
from backend.kernel.money import ZERO

from .charged import Home
from .racing import DAY, MONDAY, Moments, Street, make_street
from .world import World

RACES = int(os.environ.get("RACES", "200"))
TURNS = 10  # a week each, before the Spring Festival
HOMES = RACES // TURNS


@pytest.fixture
async def street(worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch) -> Street:
    """A street of households, all of them due at once: the limit of trips is another test's."""
    monkeypatch.setattr("backend.journeys.supply_trips.trips_at_most", lambda meters: 10_000)
    return await make_street(worlds[0], homes=HOMES)


# Who waits for what: the payer for a moment of the worker's, or the worker for one of the payer's.
_STARTS = (
    ("", ""),
    ("", "read"),
    ("", "written"),
    ("", "obeyed"),
    ("", "ended"),
    ("ordered", ""),
    ("paid", ""),
)


async def _race(street: Street, home: Home, trip: Command, starts: tuple[str, str]) -> None:
    """The worker serves the trip of a household while the household pays and its bell is heard."""
    assert trip.kind is CommandKind.TRIP
    moments = street.switch(home).moments = Moments()
    worker_waits, payer_waits = starts

    async def works() -> None:
        if worker_waits:
            await moments[worker_waits].wait()
        await street.serve(trip)
        for name in ("read", "written", "obeyed", "ended"):  # also when it never came to that
            moments[name].set()

    async def pays() -> None:
        if payer_waits:
            await moments[payer_waits].wait()
        await street.pay(home)
        await street.hear(home)

    await asyncio.gather(works(), pays())


@pytest.mark.timeout(600)
async def test_a_payment_while_the_cut_is_in_flight_ends_with_power_on(street: Street) -> None:
    draw, cut, called_off = Random(5), 0, 0
    for turn in range(TURNS):
        street.world.clock.instant = MONDAY + turn * 7 * DAY
        await street.use_up()
        assert (await street.look()).commands == HOMES
        street.world.clock.advance(timedelta(seconds=1))
        before = sum(street.switch(home).trips for home in street.homes)
        trips = await street.newest()
        await asyncio.gather(
            *(
                _race(street, home, trips[home.meter.id], draw.choice(_STARTS))
                for home in street.homes
            )
        )
        while await street.ring():
            street.world.clock.advance(timedelta(seconds=1))
        dark = [home.account.no for home in street.homes if not street.switch(home).closed]
        assert dark == []
        tripped = sum(street.switch(home).trips for home in street.homes) - before
        cut, called_off = cut + tripped, called_off + HOMES - tripped
        told = await street.newest()
        assert {each.state for each in told.values()} <= {
            CommandState.VERIFIED,
            CommandState.SUPERSEDED,
        }
        await street.read()
        await street.look()
        async with unit_of_work(street.world.group_id) as work:
            ids = [home.meter.id for home in street.homes]
            held = await supplies_of_meters(work, meter_ids=ids)
            accounts = [home.account.id for home in street.homes]
            money = await figures(work, account_ids=accounts)
        assert {each.force for each in held.values()} == {None}
        assert min(known.available for known in money.values()) > ZERO
    assert cut > RACES // 10  # the meter had opened before the money was known
    assert called_off > RACES // 10  # and the other way round


async def test_a_trip_that_waits_is_not_written_once_its_meter_is_protected_or_its_money_came(
    street: Street,
) -> None:
    await street.use_up()
    await street.look()
    street.world.clock.advance(timedelta(seconds=1))
    at, group_id = street.world.clock.now(), street.world.group_id
    protected, paid, due = street.homes[:3]
    trips = await street.newest()
    await supply.protect_meter(
        scope=street.world.scope,
        meter_id=protected.meter.id,
        reason="a breathing machine",
        review_at=at + DAY,
        at=at,
    )
    await street.pay(paid)  # and nobody hears the bell
    for home, word in (
        (protected, "the meter came to be protected"),
        (paid, "not wanted any more: PAID"),
        (due, None),
    ):
        trip = trips[home.meter.id]
        write = Writing(trip.id, writes=0, relay_closed=True, at=at)
        (written,) = await about_to_write(group_id=group_id, writes=[write])
        assert (written is None) == (word is not None)
        now = (await street.newest())[home.meter.id]
        assert now.outcome == word
        assert now.state is (CommandState.SENT if word is None else CommandState.SUPERSEDED)
    await street.serve(trips[protected.meter.id])
    assert street.switch(protected).closed
