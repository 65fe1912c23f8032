"""The simulation finds nothing where nothing is wrong, repeats itself, and finds what is planted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from backend.chaos import fate
from backend.chaos.fate import REGISTRY, Fate, Way, name_of
from backend.chaos.sim_world import Shared
from backend.chaos.simulate import Tally, play_seeds
from backend.control.rules import VendFacts, VendStep, Wallet
from backend.kernel.failpoints import Moment, Place, SimulatedCrash
from backend.kernel.money import Money
from backend.sandbox.embedded.services import EmbeddedServices
from workers.drivers.modbus import ModbusDriver
from workers.virtual import state as meter_state

Play = Callable[..., Any]


@pytest.fixture
async def play(services: EmbeddedServices, unique: str) -> Play:
    """Play seeds on this worker's database, each call in groups of its own."""
    calls = 0

    async def run(seeds: range, *, steps: int = 200) -> Tally:
        nonlocal calls
        calls += 1
        return await play_seeds(
            app_dsn=services.app_dsn(),
            owner_dsn=services.owner_dsn(),
            seeds=seeds,
            steps=steps,
            name=f"{unique}{calls}x",
        )

    return run


@pytest.mark.timeout(900)
async def test_twenty_seeds_lose_and_double_nothing_and_die_at_every_place(play: Play) -> None:
    tally = await play(range(1, 21))
    assert tally.failed == []
    assert tally.never_hit == []
    assert tally.unregistered == []
    assert tally.payments > 200
    assert tally.forged_refused > 20
    assert set(tally.struck) == REGISTRY


@pytest.mark.timeout(300)
async def test_a_seed_played_again_does_just_the_same(play: Play) -> None:
    once, again = await play(range(3, 5), steps=80), await play(range(3, 5), steps=80)
    assert once.traces == again.traces
    assert once.traces[3] != once.traces[4]
    assert once.struck == again.struck


@pytest.mark.timeout(300)
async def test_a_meter_that_credits_twice_what_it_was_sold_is_found(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = meter_state.take_sale

    def twice(state: Any, *, amount_fen: int, purchase_count: int, count_off: int = 0) -> Any:
        return honest(
            state, amount_fen=2 * amount_fen, purchase_count=purchase_count, count_off=count_off
        )

    monkeypatch.setattr("workers.virtual.prepaid.take_sale", twice)
    tally = await play(range(1, 2))
    assert [failure["seed"] for failure in tally.failed] == [1]
    assert "the four sums differ" in tally.failed[0]["why"] or "took" in tally.failed[0]["why"]
    assert tally.failed[0]["repro"] == "shuidian simulate --seed 1 --seeds 1 --steps 200"


def naive(facts: VendFacts, meter: Wallet) -> tuple[VendStep, str]:
    """The naive worker: what it wrote a moment ago it believes, whatever was before it sends again."""
    full = None if facts.before is None else facts.before.remaining + facts.amount
    if full is not None and meter.remaining >= full and facts.since_before < timedelta(seconds=1):
        return VendStep.VERIFIED, "just written"
    return VendStep.SEND, "not by this try"


@pytest.mark.timeout(300)
async def test_a_worker_that_takes_the_meters_count_for_its_own_number_is_found(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trust.md section 1, finding 1: a balanced ledger, over-credited meters."""
    honest = ModbusDriver.credit

    async def credit(driver: ModbusDriver, *, amount: Money, purchase_count: int) -> None:
        read = await driver.wallet()
        await honest(driver, amount=amount, purchase_count=read.purchase_count + 1)

    monkeypatch.setattr(ModbusDriver, "credit", credit)
    monkeypatch.setattr("workers.control.decide_vend", naive)
    tally = await play(range(1, 4))
    assert tally.failed
    assert any("took" in one["why"] or "sums differ" in one["why"] for one in tally.failed)


def test_a_place_is_named_by_its_function_and_its_turn_in_it() -> None:
    from backend.journeys import topup

    lines = fate._opened_in(topup.__file__, "start")
    assert len(lines) == 2
    names = [name_of(Place(topup.__file__, "start", line)) for line in lines]
    assert names == ["backend.journeys.topup.start/1", "backend.journeys.topup.start/2"]


def test_fate_strikes_by_its_seed_and_never_in_peace() -> None:
    def strikes(seed: int, *, cruel: bool) -> list[int]:
        one, found = Fate(seed), []
        one.cruel = cruel
        for turn in range(300):
            try:
                one.at_send(fate.Send.QUERY, Way.DONE)
            except SimulatedCrash:
                found.append(turn)
        return found

    assert strikes(1, cruel=True) == strikes(1, cruel=True) != strikes(2, cruel=True)
    assert strikes(1, cruel=False) == []


async def test_a_commit_that_is_struck_before_it_keeps_nothing_and_after_it_keeps_all(
    database: EmbeddedServices, unique: str
) -> None:
    from backend.chaos.sim_outside import Merchants, SimChannel
    from backend.chaos.sim_world import START, make_group
    from backend.kernel import failpoints
    from backend.kernel.clock import SetClock
    from backend.kernel.db import unit_of_work

    merchants, clock = Merchants(), SetClock(START)
    shared = Shared.fresh(owner_dsn=database.owner_dsn(), app_dsn=database.app_dsn())
    channel = SimChannel(merchants, merchants.adapter(clock), Fate(1), clock)
    group = await make_group(shared, channel, code=f"f{unique}")
    for moment, kept in ((Moment.COMMITTING, 0), (Moment.COMMITTED, 1)):

        def strike(place: Place, reached: Moment, wanted: Moment = moment) -> None:
            if reached is wanted:
                raise SimulatedCrash(str(place))

        with failpoints.armed(strike), pytest.raises(SimulatedCrash):
            async with unit_of_work(group.id) as work:
                await work.execute(
                    "INSERT INTO outbox_inbox (group_id, id, channel, key, body, received_at)"
                    " VALUES ($1, gen_random_uuid(), 'TEST', $2, '{}', now())",
                    work.group_id,
                    str(moment),
                )
        async with unit_of_work(group.id) as work:
            found = await work.fetchval(
                "SELECT count(*) FROM outbox_inbox WHERE key = $1", str(moment)
            )
        assert found == kept
