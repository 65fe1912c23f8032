"""When which band holds reaches meters by order and with their prices (A14, C17)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.control.command_rules import CommandKind, CommandState
from backend.control.commands import Command
from backend.journeys.price_download import Downloaded, wanted_of
from backend.kernel.band_calendar import Calendar, DaySlot, YearZone, calendar_numbers
from backend.kernel.errors import Conflict
from backend.kernel.money import Money
from backend.tariffs.rules import Season, TariffKind, Terms, compile_terms
from schema.scalars import ref
from workers.models import meter_models
from workers.protocols import modbus
from workers.virtual.dlt645_meter import Virtual645

from .commanded import ELECTRIC, VALVE, Post
from .graphql.edge import make_api, operator_token
from .priced import in_force, later, priced
from .test_price_download import FOUR, cases, laggards, row, run, serve_all

LAGGARDS = """query($p: ID!) { priceLaggards(project: $p) { edges { node { meter
  desiredCalendar { zones { month day table } tables { start band } }
  actualCalendar { zones { month day table } tables { start band } } actualCalendarAt } } } }"""
VERIFIED, FAILED = CommandState.VERIFIED, CommandState.FAILED
DAY = (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(1320, "valley"))
FLAT = (DaySlot(0, "flat"),)
HOURS = Calendar((YearZone(1, 1, 1),), (DAY,))
SHOP = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, FOUR),),
    (DAY, FLAT),
)


async def not_obeyed(post: Post, calendar: Calendar) -> Command:
    """An order that the meter says it took, and did not, when its time is over."""
    post.ear.idle = 2
    asked = await post.ask(CommandKind.CALENDAR, calendar=calendar)
    await post.serve(asked)
    post.clock.advance(timedelta(minutes=6))
    await post.serve(asked)
    return await post.now(asked)


async def test_hours_hold_at_the_meter_and_are_told_in_the_audit(post: Post) -> None:
    done = await post.done(CommandKind.CALENDAR, calendar=HOURS)
    assert (done.state, done.outcome) == (VERIFIED, "the meter holds what was ordered")
    held = post.meter().state().settings
    (asked,) = await post.audited("meter:command:request")
    assert asked.after is not None
    assert asked.after["zone1"] == "day table 1 from 01-01"
    assert asked.after["table1_2"] == "peak from 08:00"
    longer = replace(HOURS, tables=((*DAY, DaySlot(23 * 60, "flat")),))
    assert (await post.done(CommandKind.CALENDAR, calendar=longer)).state is VERIFIED
    assert post.meter().state().settings != held
    assert (await post.done(CommandKind.CALENDAR, calendar=HOURS)).state is VERIFIED
    assert post.meter().state().settings.tables[0] == held.tables[0]
    assert len(post.ear.heard) == 6, "a day table and the zones each time"


async def test_hours_that_a_meter_cannot_hold_are_refused_and_nothing_is_written(
    post: Post,
) -> None:
    zones = tuple(YearZone(month, 1, 1 + month % 2) for month in range(1, 7))
    failed = await post.done(CommandKind.CALENDAR, calendar=Calendar(zones, (DAY, FLAT)))
    assert (failed.state, failed.outcome) == (FAILED, "6 year zones, the meter holds 4 at most")
    assert post.ear.heard == []
    valve = await post.add_meter(model="JICHENG-188-VALVE", bus_address=VALVE)
    with pytest.raises(Conflict, match="no layout of JICHENG-188-VALVE's calendar is known"):
        await post.ask(CommandKind.CALENDAR, meter=valve, calendar=HOURS)


async def test_a_meter_that_shows_other_hours_than_it_took_fails_and_says_which(post: Post) -> None:
    await post.done(CommandKind.CALENDAR, calendar=replace(HOURS, tables=(FLAT,)))
    done = await not_obeyed(post, HOURS)
    assert (done.state, done.outcome) == (
        FAILED,
        "the meter said that it took it, but day table 1 slot 1 holds flat from 00:00, ordered was"
        " valley from 00:00; day table 1 slot 2 holds none, ordered was peak from 08:00;"
        " day table 1 slot 3 holds none, ordered was valley from 22:00",
    )


async def test_an_hour_more_than_was_ordered_is_not_what_was_ordered(post: Post) -> None:
    longer = replace(HOURS, tables=((*DAY, DaySlot(23 * 60, "flat")),))
    await post.done(CommandKind.CALENDAR, calendar=longer)
    done = await not_obeyed(post, HOURS)
    assert done.state is FAILED
    assert (done.outcome or "").endswith("slot 4 holds flat from 23:00, ordered was none")


async def test_a_meter_that_holds_noise_is_written_like_one_of_other_hours(post: Post) -> None:
    noise = modbus.write_registers(unit=1, address=0x2000, values=[0xFFFF] * 6)
    await post.meter().answer(noise.request)
    assert (await post.done(CommandKind.CALENDAR, calendar=HOURS)).state is VERIFIED


@pytest.mark.parametrize("zones", ["010101" * 2, "010199" * 2, "ffffff" * 2, "130001" * 2])
async def test_a_645_meter_takes_hours_by_the_same_order_whatever_it_held(
    post: Post, zones: str
) -> None:
    meter = await post.add_meter(model="GENERIC-645-2007", bus_address=ELECTRIC)
    virtual = post.gateway.meters[ELECTRIC]
    assert isinstance(virtual, Virtual645)
    kept = virtual.memory()
    settings = {**kept["settings"], "04010000": zones}
    virtual.take_up({**kept, "settings": settings})
    done = await post.done(CommandKind.CALENDAR, meter=meter, calendar=HOURS)
    assert done.state is VERIFIED


async def test_the_hours_of_a_tariff_go_before_its_prices_and_the_meter_lags_until_both_are_read(
    post: Post,
) -> None:
    await priced(post.world, terms=SHOP)
    factory = post.meter().state().settings.prices
    assert await run(post) == Downloaded(wanted=1, sent=1, cases=0)
    await serve_all(post)
    assert post.meter().state().settings.prices == factory
    assert (await run(post)).sent == 1
    (lagging,) = await laggards(post.world)
    assert (lagging.actual_prices, lagging.actual_calendar) == (None, calendar_numbers(HOURS))
    reasons = {each.kind: each.reason for each in await post.all()}
    assert reasons == {
        CommandKind.PRICES: "prices of the tariff in force",
        CommandKind.CALENDAR: "hours of the tariff in force",
    }
    await serve_all(post)
    assert await run(post) == Downloaded(wanted=0, sent=0, cases=0)
    done = await row(post)
    assert (done.actual_prices, done.actual_version) == (FOUR, done.desired_version)
    assert await laggards(post.world) == []
    assert len(post.meter().state().settings.tables) == 2


async def test_new_hours_under_the_same_prices_are_sent_alone(post: Post) -> None:
    tariff = await priced(post.world, terms=SHOP)
    for _ in range(2):
        await run(post)
        await serve_all(post)
    await run(post)
    turned = replace(SHOP, seasons=(Season(1, 1, FOUR), Season(7, 1, FOUR, 1, 1)))
    await in_force(post.world, tariff, terms=turned, effective_at=later(hours=1))
    post.clock.advance(timedelta(hours=1))
    assert await run(post) == Downloaded(wanted=1, sent=1, cases=0)
    waiting = [each.kind for each in await post.all() if each.state is CommandState.QUEUED]
    assert waiting == [CommandKind.CALENDAR]
    await serve_all(post)
    await run(post)
    assert await laggards(post.world) == []


async def test_the_console_shows_which_hours_a_meter_should_hold_and_which_it_was_read_to_hold(
    both: tuple[Post, Post],
) -> None:
    ours, theirs = both
    await priced(ours.world, terms=SHOP)
    await priced(theirs.world, terms=SHOP)
    flat = replace(HOURS, tables=(FLAT,))
    await ours.done(CommandKind.CALENDAR, calendar=flat)
    await run(ours)
    api = make_api(ours.world.ports, dsn="postgresql://unused")
    found = await api.data(
        LAGGARDS,
        {"p": ref("Project", ours.world.project.id)},
        token=await operator_token(ours.world, role="auditor"),
    )
    (edge,) = found["priceLaggards"]["edges"]
    wanted = [{"start": "00:00", "band": "valley"}, {"start": "08:00", "band": "peak"}]
    zones = [{"month": 1, "day": 1, "table": 1}]
    assert edge["node"] == {
        "meter": ref("Meter", ours.world.meter.id),
        "desiredCalendar": {
            "zones": zones,
            "tables": [[*wanted, {"start": "22:00", "band": "valley"}]],
        },
        "actualCalendar": {"zones": zones, "tables": [[{"start": "00:00", "band": "flat"}]]},
        "actualCalendarAt": ours.clock.now().isoformat(),
    }


async def test_a_tariff_that_tells_no_hours_leaves_those_of_the_installer(post: Post) -> None:
    await post.done(CommandKind.CALENDAR, calendar=HOURS)
    held = post.meter().state().settings.tables
    await priced(post.world, terms=replace(SHOP, day_plans=(FLAT,)))
    await run(post)
    await serve_all(post)
    assert await run(post) == Downloaded(wanted=0, sent=0, cases=0)
    assert await laggards(post.world) == []
    assert post.meter().state().settings.tables == held


async def test_a_meter_of_the_right_prices_at_other_hours_lags(post: Post) -> None:
    await priced(post.world, terms=SHOP)
    await run(post)
    await post.done(CommandKind.PRICES, prices=[(band, Money(hao)) for band, hao in FOUR.items()])
    await run(post)
    (lagging,) = await laggards(post.world)
    assert (lagging.actual_prices, lagging.actual_version) == (FOUR, None)
    await serve_all(post)
    await run(post)
    assert await laggards(post.world) == []


async def test_nothing_is_sent_while_an_operators_own_hours_are_on_their_way(post: Post) -> None:
    await priced(post.world, terms=SHOP)
    asked = await post.ask(CommandKind.CALENDAR, calendar=replace(HOURS, tables=(FLAT,)))
    assert await run(post) == Downloaded(wanted=1, sent=0, cases=0)
    await post.serve(asked)
    assert (await run(post)).sent == 1


def test_a_model_whose_calendar_nobody_knows_is_not_sold_by_the_hour() -> None:
    plan, day = compile_terms(SHOP), later(days=0).date()
    model = meter_models()["DDSY1352-NK"]
    assert wanted_of(plan, day, model) == (FOUR, calendar_numbers(HOURS), "")
    why = wanted_of(plan, day, replace(model, keeps_calendar=False))[2]
    assert why == "a meter's own price cannot hold hours of its bands"


async def test_what_an_operator_wrote_over_the_hours_is_seen_and_put_right(post: Post) -> None:
    await priced(post.world, terms=SHOP)
    for _ in range(2):
        await run(post)
        await serve_all(post)
    await run(post)
    post.clock.advance(timedelta(hours=1))
    asked = await post.ask(CommandKind.CALENDAR, calendar=replace(HOURS, tables=(FLAT,)))
    assert (await run(post)).sent == 0
    await post.serve(asked)
    post.clock.advance(timedelta(minutes=5))
    assert (await run(post)).sent == 1
    (lagging,) = await laggards(post.world)
    assert lagging.actual_version is None
    await serve_all(post)
    await run(post)
    assert await laggards(post.world) == []


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        (replace(SHOP, seasons=(Season(1, 1, FOUR, 0, 1),)), "other hours at weekends"),
        (replace(SHOP, days={later(days=40).date(): 1}), "other hours on single days"),
    ],
)
async def test_hours_that_the_meter_cannot_hold_are_told_and_the_prices_stay_back_with_them(
    post: Post, terms: Terms, why: str
) -> None:
    await priced(post.world, terms=terms)
    assert await run(post) == Downloaded(wanted=1, sent=0, cases=1)
    (case,) = await cases(post)
    assert case.detail["why"] == f"a meter's own price cannot hold {why}"
    assert await post.all() == []


async def test_hours_that_the_meter_refuses_are_a_laggard_with_the_meters_reason(
    post: Post,
) -> None:
    begins = ((1, 1), (2, 1), (3, 1), (4, 1), (5, 1))
    seasons = tuple(Season(*day, FOUR, at % 2, at % 2) for at, day in enumerate(begins))
    await priced(post.world, terms=replace(SHOP, seasons=(*seasons, Season(6, 1, FOUR, 1, 1))))
    await run(post)
    await serve_all(post)
    await run(post)
    (lagging,) = await laggards(post.world)
    assert [each.kind for each in await post.all()] == [CommandKind.CALENDAR], (
        "no prices without hours"
    )
    assert lagging.problem == "FAILED: 6 year zones, the meter holds 4 at most"
    post.clock.advance(timedelta(hours=25))
    await run(post)
    (case,) = await cases(post)
    assert case.detail["why"] == lagging.problem
