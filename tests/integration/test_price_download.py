"""Prices reach the meters that hold their own money, by command and read-back; laggards are seen (A14)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.alerts.queries import Case, cases_page
from backend.control.command_rules import CommandKind, CommandState
from backend.control.prices import MeterPrices, price_laggards, prices_of
from backend.journeys.price_download import CASE_KIND, Downloaded, download_prices
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.tariffs.rules import Fee, Season, Step, TariffKind, Terms
from schema.scalars import ref
from workers.housekeeping import download_all_prices
from workers.models import meter_models

from .commanded import Post
from .graphql.edge import make_api, operator_token
from .priced import assign, flat, in_force, later, make_tariff, priced
from .world import START, World, make_account

FOUR = {"spike": 12_000, "peak": 9_000, "flat": 6_000, "valley": 3_000}
BANDS = Terms(TariffKind.ELECTRICITY, (Season(1, 1, FOUR),))
LAGGARDS = """query($p: ID!) { priceLaggards(project: $p) { edges { node {
  meter desired { band price } actual { band price } unfit tries problem underWay } } } }"""


async def run(post: Post) -> Downloaded:
    return await download_prices(
        group_id=post.world.group_id, models=meter_models(), at=post.clock.now()
    )


async def row(post: Post) -> MeterPrices:
    async with unit_of_work(post.world.group_id) as work:
        found = await work.fetchrow("SELECT * FROM control_meter_prices")
    assert found is not None
    return prices_of(found)


async def laggards(world: World) -> list[MeterPrices]:
    async with unit_of_work(world.group_id) as work:
        return await price_laggards(
            work, scope=world.scope, project_id=world.project.id, after=None, limit=50
        )


async def cases(post: Post, *, only_open: bool = True) -> list[Case]:
    async with unit_of_work(post.world.group_id) as work:
        found = await cases_page(
            work,
            scope=post.world.scope,
            project_id=post.world.project.id,
            only_open=only_open,
            before=None,
            limit=50,
        )
    return [case for case in found if case.kind == CASE_KIND]


async def serve_all(post: Post) -> None:
    """A worker serves the commands that wait."""
    for command in await post.all():
        if command.state in (CommandState.QUEUED, CommandState.SENT):
            await post.serve(command)


async def test_the_price_in_force_reaches_the_meter_and_counts_only_when_read_back(
    post: Post,
) -> None:
    await priced(post.world, terms=BANDS)
    assert await run(post) == Downloaded(wanted=1, sent=1, cases=0)
    waiting = await row(post)
    assert (waiting.desired_prices, waiting.actual_version) == (FOUR, None)
    assert [each.meter_id for each in await laggards(post.world)] == [post.world.meter.id]
    assert await run(post) == Downloaded(wanted=0, sent=0, cases=0)
    await serve_all(post)
    assert post.meter().state().settings.prices == (12_000, 9_000, 6_000, 3_000)
    await run(post)
    done = await row(post)
    assert (done.actual_prices, done.actual_version) == (FOUR, done.desired_version)
    assert await laggards(post.world) == []
    assert len(await post.all()) == 1
    (asked,) = await post.audited("meter:command:request")
    assert asked.actor.name == "price download"


async def test_a_new_version_is_sent_when_it_holds_and_one_of_the_same_prices_never(
    post: Post,
) -> None:
    tariff = await priced(post.world, terms=BANDS)
    await run(post)
    await serve_all(post)
    await run(post)
    same = await in_force(post.world, tariff, terms=BANDS, effective_at=later(days=1))
    other = replace(BANDS, seasons=(Season(1, 1, FOUR | {"peak": 9_900}),))
    await in_force(post.world, tariff, terms=other, effective_at=later(days=2))
    post.clock.advance(timedelta(days=1))
    assert (await run(post)).sent == 0
    assert (await row(post)).actual_version == same.id
    post.clock.advance(timedelta(days=1))
    assert await run(post) == Downloaded(wanted=1, sent=1, cases=0)
    await serve_all(post)
    assert post.meter().state().settings.prices == (12_000, 9_900, 6_000, 3_000)


async def test_a_season_begins_by_a_new_price_under_the_same_version(post: Post) -> None:
    winter = Season(12, 1, FOUR | {"peak": 9_500})
    await priced(post.world, terms=replace(BANDS, seasons=(Season(1, 1, FOUR), winter)))
    await run(post)
    await serve_all(post)
    await run(post)
    before = (await row(post)).actual_version
    post.clock.advance(timedelta(days=9))
    assert (await run(post)).sent == 1
    await serve_all(post)
    await run(post)
    done = await row(post)
    assert (done.actual_version, (done.actual_prices or {})["peak"]) == (before, 9_500)


async def test_a_meter_that_is_not_reached_is_tried_again_and_becomes_a_case_until_it_is(
    post: Post,
) -> None:
    await priced(post.world, terms=BANDS)
    post.ear.refused = 1
    await run(post)
    await serve_all(post)
    assert (await run(post)).sent == 0
    failed = await row(post)
    assert (failed.tries, failed.next_try_at) == (1, post.clock.now() + timedelta(minutes=15))
    assert (failed.problem or "").startswith("FAILED: ")
    assert await cases(post) == []
    post.clock.advance(timedelta(hours=24))
    assert await run(post) == Downloaded(wanted=0, sent=1, cases=1)
    (case,) = await cases(post)
    assert (case.subject, case.detail["tries"]) == (str(post.world.meter.id), "1")
    await serve_all(post)
    await run(post)
    assert await cases(post) == []
    (closed,) = await cases(post, only_open=False)
    assert (closed.resolved_by, closed.id) == ("system", case.id)
    assert await laggards(post.world) == []


async def test_a_newer_price_overtakes_the_one_that_still_waits_for_the_meter(post: Post) -> None:
    tariff = await priced(post.world, terms=BANDS)
    other = replace(BANDS, seasons=(Season(1, 1, FOUR | {"peak": 9_900}),))
    await in_force(post.world, tariff, terms=other, effective_at=later(minutes=5))
    await run(post)
    post.clock.advance(timedelta(minutes=5))
    assert (await run(post)).sent == 1
    newest, older = await post.all()
    assert (newest.settings["peak"], older.state) == (9_900, CommandState.SUPERSEDED)
    await serve_all(post)
    await run(post)
    assert await laggards(post.world) == []


async def test_what_an_operator_wrote_to_the_meter_is_seen_and_put_right(post: Post) -> None:
    await priced(post.world, terms=BANDS)
    await run(post)
    await serve_all(post)
    await run(post)
    post.clock.advance(timedelta(hours=1))
    asked = await post.ask(CommandKind.PRICES, prices=[("peak", Money(1_000))])
    assert (await run(post)).sent == 0
    await post.serve(asked)
    assert (await run(post)).sent == 1
    drifted = await row(post)
    assert (drifted.actual_version, drifted.actual_prices) == (None, FOUR | {"peak": 1_000})
    await serve_all(post)
    assert post.meter().state().settings.prices[1] == 9_000


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (replace(BANDS, steps=(Step(100_000, 500),)), "steps"),
        (replace(BANDS, loss=Fee(0, 300)), "fees"),
        (replace(BANDS, monthly=10), "a monthly fee"),
        (replace(BANDS, seasons=(Season(1, 1, FOUR | {"deep": 1_000}),)), "no band deep"),
        (flat(0), "above 0"),
        (flat(100_001), "at most 10 yuan"),
    ],
)
async def test_a_price_that_the_meter_cannot_hold_is_never_sent_in_part_but_told(
    post: Post, terms: Terms, why: str
) -> None:
    await priced(post.world, terms=terms)
    assert await run(post) == Downloaded(wanted=1, sent=0, cases=1)
    assert await run(post) == Downloaded(wanted=0, sent=0, cases=0)
    (lagging,) = await laggards(post.world)
    assert why in (lagging.unfit or "")
    (case,) = await cases(post)
    assert why in case.detail["why"]
    assert await post.all() == []
    other = await make_tariff(post.world, name="Plain")
    await in_force(post.world, other, terms=BANDS)
    post.clock.advance(timedelta(minutes=1))
    await assign(post.world, other, started_at=post.clock.now())
    assert (await run(post)).sent == 1
    await serve_all(post)
    await run(post)
    assert await cases(post) == []


async def test_a_meter_that_serves_nobody_or_pays_by_nothing_is_wanted_nothing_of(
    both: tuple[Post, Post],
) -> None:
    post, other = both
    assert await run(post) == Downloaded(0, 0, 0)
    await priced(post.world, terms=replace(BANDS, monthly=1))
    await make_account(post.world, no="100009")
    await run(post)
    assert len(await cases(post)) == 1
    async with unit_of_work(post.world.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET ended_at = $2 WHERE group_id = $1",
            post.world.group_id,
            START + timedelta(seconds=1),
        )
    await run(post)
    assert await laggards(post.world) == []
    assert await cases(post) == []
    assert await laggards(other.world) == []


async def test_the_clock_sends_for_every_group_and_the_console_sees_its_own_laggards(
    both: tuple[Post, Post],
) -> None:
    ours, theirs = both
    await priced(ours.world, terms=BANDS)
    await priced(theirs.world, terms=flat(7_000))
    await download_all_prices(ours.context)
    assert [len(await post.all()) for post in both] == [1, 1]
    api = make_api(ours.world.ports, dsn="postgresql://unused")
    found = await api.data(
        LAGGARDS,
        {"p": ref("Project", ours.world.project.id)},
        token=await operator_token(ours.world, role="auditor"),
    )
    (edge,) = found["priceLaggards"]["edges"]
    (command,) = await ours.all()
    assert edge["node"] == {
        "meter": ref("Meter", ours.world.meter.id),
        "desired": [{"band": band, "price": str(Money(price))} for band, price in FOUR.items()],
        "actual": [],
        "unfit": None,
        "tries": 0,
        "problem": None,
        "underWay": ref("Command", command.id),
    }
