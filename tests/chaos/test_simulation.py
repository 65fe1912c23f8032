"""The simulation finds nothing where nothing is wrong, repeats itself, and finds what is planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backend.chaos import fate
from backend.chaos.fate import REGISTRY, Fate, Way, name_of
from backend.chaos.simulate import Tally, play_seeds
from backend.kernel.failpoints import Moment, Place, SimulatedCrash
from backend.sandbox.embedded.services import EmbeddedServices

from .planted import BUGS

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
async def test_two_dozen_seeds_lose_and_double_nothing_and_die_at_every_place(play: Play) -> None:
    tally = await play(range(8, 32))  # the 31st strikes the last place
    assert tally.failed == []
    assert tally.never_hit == []
    assert tally.unregistered == []
    assert tally.payments > 200
    assert tally.forged_refused > 10
    assert tally.refunded_fen > 10_000
    assert set(tally.struck) == REGISTRY


@pytest.mark.timeout(300)
async def test_a_seed_played_again_does_just_the_same(play: Play) -> None:
    once, again = await play(range(3, 5), steps=80), await play(range(3, 5), steps=80)
    assert once.traces == again.traces
    assert once.traces[3] != once.traces[4]
    assert once.struck == again.struck


# A seed that finds each, and what it says.
FOUND = {
    "a meter that credits twice what it was sold": (1, "a wallet did not grow by its sales"),
    "a worker that takes the meter's count for its own number": (1, "meters took"),
    "a refund that is asked for by a new number at each try": (1, "the four sums differ"),
    "a lot that is not given back when its refund fails": (2, "the book is broken"),
    "a charge that is kept by two commits": (1, "charges_charge_group_id_assignment_id_seq_key"),
    "a drawer handed over as it was opened": (1, "money is left in a drawer"),
    "a household that moved and is where it was": (1, "its place did not change"),
    "a new meter that is given its money twice": (1, "money waits in the book"),
    "an amount of ChinaPay that is read as yuan": (1, "Broken"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
async def test_what_people_get_wrong_is_found(
    play: Play, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    seed, word = FOUND[bug]
    BUGS[bug](monkeypatch)
    tally = await play(range(seed, seed + 1))
    assert [failure["seed"] for failure in tally.failed] == [seed]
    assert word in tally.failed[0]["why"]
    repro = f"shuidian simulate --seed {seed} --seeds 1 --steps 200"
    assert tally.failed[0]["repro"] == repro


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
    from backend.chaos.sim_world import START, Shared, make_group
    from backend.kernel import failpoints
    from backend.kernel.clock import SetClock
    from backend.kernel.db import unit_of_work

    dsns = {"owner_dsn": database.owner_dsn(), "app_dsn": database.app_dsn()}
    async with Shared.fresh(**dsns) as shared:
        group = await make_group(shared, Fate(1), SetClock(START), code=f"f{unique}")
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
