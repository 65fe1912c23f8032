"""Nobody in the dark by mistake: what is decided of a supply, whatever the circumstances (C19-C23)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.control.command_rules import CommandKind
from backend.control.supply_rules import (
    Decision,
    Force,
    MoneyIn,
    OwnCut,
    SafetyLock,
    Supply,
    SupplyPolicy,
    Want,
    Why,
    decide,
    trips_at_most,
    trips_of_the_platform_at_most,
)
from backend.kernel.money import Money
from tests.unit.control.supply_cases import CASES, IN_ARREARS, Case, updated

DOCS = Path(__file__).parents[3] / "docs" / "supply.md"
PERIOD = timedelta(minutes=30)
OPENS = frozenset({CommandKind.TRIP})
CLOSES = frozenset(
    {CommandKind.CLOSE, CommandKind.ALLOW_CLOSE, CommandKind.KEEP_POWER, CommandKind.RELEASE}
)
_money = st.integers(-20_000, 20_000).map(Money)
_spans = st.none() | st.integers(0, 180).map(lambda minutes: timedelta(minutes=minutes))
_forces = st.none() | st.builds(
    Force, st.sampled_from([CommandKind.TRIP, CommandKind.KEEP_POWER]), st.sampled_from(list(Why))
)
supplies = st.builds(
    Supply,
    policy=st.sampled_from(list(SupplyPolicy)),
    protected=st.booleans(),
    emergency=st.booleans(),
    safety=st.none() | st.sampled_from(list(SafetyLock)),
    timetable=st.sampled_from([None, True, False]),
    money=st.sampled_from(list(MoneyIn)),
    balance=_money,
    uncharged=st.integers(0, 20_000).map(Money),
    overdraft=st.integers(0, 20_000).map(Money),
    reading_age=_spans,
    period=st.just(PERIOD),
    hold=st.booleans(),
    payment_pending=st.booleans(),
    window_open=st.booleans(),
    no_cut_day=st.booleans(),
    warned_for=_spans,
    notice=st.just(timedelta(hours=1)),
    takeover=st.booleans(),
    restored_by=st.sampled_from(
        [CommandKind.CLOSE, CommandKind.ALLOW_CLOSE, CommandKind.KEEP_POWER]
    ),
    relay=st.sampled_from([None, True, False]),
    force=_forces,
    own_cut=st.none() | st.sampled_from(list(OwnCut)),
)
calm = supplies.map(lambda supply: replace(supply, emergency=False))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.words)
def test_each_case_of_the_table_is_decided_as_people_are_told(case: Case) -> None:
    decided = decide(case.supply)
    assert decided == Decision(case.want, case.why, decided.held_back, case.command)


def test_the_table_in_the_docs_is_what_decide_answers() -> None:
    text = DOCS.read_text("utf-8")
    assert updated(text) == text, "run: python -m tests.unit.control.supply_cases docs/supply.md"


def test_all_that_holds_a_cut_back_is_told_and_not_only_the_first() -> None:
    held = replace(
        IN_ARREARS,
        hold=True,
        reading_age=None,
        payment_pending=True,
        no_cut_day=True,
        window_open=False,
        warned_for=None,
    )
    assert decide(held).held_back == (
        Why.BILLING_HOLD,
        Why.READING_IS_OLD,
        Why.PAYMENT_PENDING,
        Why.NO_CUT_DAY,
        Why.OUTSIDE_WINDOW,
        Why.NOT_WARNED,
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hold": True}, Why.BILLING_HOLD),
        ({"reading_age": timedelta(hours=1)}, Why.READING_IS_OLD),
        ({"payment_pending": True}, Why.PAYMENT_PENDING),
        ({"no_cut_day": True}, Why.NO_CUT_DAY),
        ({"window_open": False}, Why.OUTSIDE_WINDOW),
        ({"warned_for": timedelta(hours=3, minutes=59)}, Why.NOT_WARNED),
    ],
)
def test_each_rule_alone_holds_an_automatic_cut_back(change: dict[str, object], why: Why) -> None:
    decided = decide(replace(IN_ARREARS, **change))  # type: ignore[arg-type] # names of fields
    assert (decided.want, decided.held_back, decided.command) == (Want.ON, (why,), None)


@pytest.mark.parametrize(
    "change",
    [{"reading_age": timedelta(minutes=59, seconds=59)}, {"warned_for": timedelta(hours=4)}],
)
def test_the_borders_of_fresh_and_of_notice_are_where_they_are_said_to_be(
    change: dict[str, object],
) -> None:
    fresh = replace(IN_ARREARS, **change)  # type: ignore[arg-type] # names of fields
    assert decide(fresh).command is CommandKind.TRIP


@given(calm)
def test_what_is_protected_is_never_tripped(supply: Supply) -> None:
    protected = replace(supply, protected=True)
    assert decide(protected).command not in OPENS
    assert decide(replace(supply, policy=SupplyPolicy.KEEP_ON)).command not in OPENS


@given(supplies, st.sampled_from(list(OwnCut)))
def test_what_a_meter_opened_by_its_own_rule_is_forced_closed_for_no_money(
    supply: Supply, cut: OwnCut
) -> None:
    auto = replace(supply, protected=False, policy=SupplyPolicy.AUTO, own_cut=cut)
    assert decide(auto).command in (None, CommandKind.TRIP, CommandKind.RELEASE)


@given(supplies, st.sampled_from(list(OwnCut)))
def test_a_meters_own_cut_keeps_no_trip_and_no_promise_to_keep_power_from_happening(
    supply: Supply, cut: OwnCut
) -> None:
    alone = decide(replace(supply, own_cut=None))
    both = decide(replace(supply, own_cut=cut))
    if alone.want is not Want.ON or alone.why in (Why.PROTECTED, Why.KEEP_ON):
        assert both == alone
    else:
        assert both == alone or both == Decision(Want.AS_IS, Why.OWN_CUT, (), None)


@given(supplies)
def test_an_emergency_of_two_operators_opens_whatever_stands_in_its_way(supply: Supply) -> None:
    decided = decide(replace(supply, emergency=True, relay=True))
    assert (decided.want, decided.command) == (Want.OFF, CommandKind.TRIP)


@given(calm)
def test_a_cut_for_arrears_happens_only_when_every_rule_agrees(supply: Supply) -> None:
    decided = decide(supply)
    if decided.why is not Why.ARREARS:
        return
    assert decided.want is Want.OFF
    assert supply.policy is SupplyPolicy.AUTO
    assert not supply.protected
    assert not supply.hold
    assert not supply.payment_pending
    assert not supply.takeover
    assert supply.window_open
    assert not supply.no_cut_day
    assert supply.money is MoneyIn.CLOUD
    assert supply.balance - supply.uncharged + supply.overdraft <= Money(0)
    assert supply.reading_age is not None
    assert supply.reading_age < 2 * PERIOD
    assert supply.warned_for is not None
    assert supply.warned_for >= supply.notice


@given(calm)
def test_payment_brings_back_nothing_but_what_was_cut_for_money(supply: Supply) -> None:
    paid = replace(supply, balance=Money.parse("1000"))
    if decide(supply).why in {Why.FORCED_OFF, Why.SAFETY_LOCK, Why.TIMETABLE}:
        assert decide(paid) == decide(supply)
    elif paid.money is MoneyIn.CLOUD and not paid.takeover and paid.own_cut is None:
        assert decide(paid).want is Want.ON


@given(supplies)
def test_more_money_never_cuts(supply: Supply) -> None:
    richer = replace(supply, balance=supply.balance + Money.parse("1"))
    if decide(supply).want is Want.ON:
        assert decide(richer).want is Want.ON
        assert decide(richer).command not in OPENS


@given(supplies)
def test_no_command_is_given_against_its_intent_and_no_relay_opened_that_nobody_saw(
    supply: Supply,
) -> None:
    want, why, _, command = decide(supply)
    if command is not None:
        assert want is (Want.OFF if command in OPENS else Want.ON)
        assert command in OPENS | CLOSES
    unseen = decide(replace(supply, relay=None))
    assert unseen.command not in OPENS
    assert why is not Why.TAKEOVER or command is None


@given(supplies)
def test_a_command_that_was_obeyed_is_not_given_again(supply: Supply) -> None:
    decided = decide(supply)
    match decided.command:
        case None:
            return
        case CommandKind.TRIP | CommandKind.KEEP_POWER as kind:
            obeyed = replace(
                supply, relay=kind is not CommandKind.TRIP, force=Force(kind, decided.why)
            )
        case _:
            obeyed = replace(supply, relay=True, force=None)
    assert decide(obeyed).command is None


@given(supplies)
def test_a_relay_that_the_cloud_did_not_open_is_left_to_who_did(supply: Supply) -> None:
    others = replace(supply, relay=False, force=None)
    kept = others.protected or others.policy is SupplyPolicy.KEEP_ON
    assert kept or decide(others).command in {None, CommandKind.TRIP}


@given(supplies)
def test_a_trip_that_may_have_been_obeyed_is_taken_back_as_soon_as_power_is_wanted(
    supply: Supply,
) -> None:
    on_its_way = replace(supply, relay=None, force=Force(CommandKind.TRIP, Why.ARREARS))
    decided = decide(on_its_way)
    assert (decided.want is Want.ON) == (decided.command in CLOSES)


def test_a_meter_that_power_is_kept_on_by_is_told_again_when_its_relay_is_found_open() -> None:
    kept = replace(
        IN_ARREARS,
        balance=Money.parse("50"),
        restored_by=CommandKind.KEEP_POWER,
        force=Force(CommandKind.KEEP_POWER, Why.PAID),
    )
    asked = [decide(replace(kept, relay=relay)).command for relay in (False, True, None)]
    assert asked == [CommandKind.KEEP_POWER, None, None]


def test_a_meter_that_cut_itself_for_a_load_is_locked_for_safety_and_by_its_timetable_is_not() -> (
    None
):
    assert {cut: cut.lock for cut in OwnCut} == {
        OwnCut.OVERLOAD: SafetyLock.OVERLOAD,
        OwnCut.MALIGNANT_LOAD: SafetyLock.MALIGNANT_LOAD,
        OwnCut.TIMETABLE: None,
    }


@pytest.mark.parametrize(
    ("meters", "of_project", "of_platform"),
    [
        (0, 5, 20),
        (299, 5, 20),
        (300, 6, 20),
        (2_099, 41, 20),
        (2_100, 42, 21),
        (100_000, 2_000, 1_000),
    ],
)
def test_an_engine_gone_wrong_darkens_two_in_a_hundred_of_a_project_and_one_of_all(
    meters: int, of_project: int, of_platform: int
) -> None:
    assert trips_at_most(meters) == of_project
    assert trips_of_the_platform_at_most(meters) == of_platform
