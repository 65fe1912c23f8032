"""Who takes part in a batch, when it takes two, and what a list of numbers says (A21, C22, C30)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.control.batch_rules import (
    BECAME,
    BatchState,
    Candidate,
    LeftOut,
    check_step,
    left_out,
    needs_second,
    numbers_of,
)
from backend.control.command_rules import CommandKind, CommandState
from backend.control.supply_rules import Force, SupplyPolicy, Why
from backend.kernel.errors import Conflict, InvalidInput

TRIP, KEEP, RELEASE = CommandKind.TRIP, CommandKind.KEEP_POWER, CommandKind.RELEASE
CLOCK, PRICES, CLOSE = CommandKind.SYNC_CLOCK, CommandKind.PRICES, CommandKind.CLOSE
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
FINE = Candidate(
    in_service=True,
    emergency=False,
    protected=False,
    able=True,
    lost=False,
    sold=True,
    assigned=True,
    policy=SupplyPolicy.AUTO,
    until=None,
    force=None,
    relay=False,
    held={},
)
TRIPPED = FINE._replace(policy=SupplyPolicy.FORCED_OFF, force=Force(TRIP, Why.FORCED_OFF))


HOURS = {"zone1": 10101, "table1_1": 4}


def why(meter: Candidate, kind: CommandKind, until: datetime | None = None) -> LeftOut | None:
    """Why it takes no part."""
    settings = {PRICES: {"flat": 7000}, CommandKind.CALENDAR: HOURS}.get(kind, {})
    return left_out(meter, kind=kind, settings=settings, until=until)


@pytest.mark.parametrize("kind", CommandKind)
def test_a_meter_of_which_nothing_speaks_against_it_takes_part(kind: CommandKind) -> None:
    meter = TRIPPED if kind is RELEASE else FINE
    assert why(meter, kind) is None


@pytest.mark.parametrize("kind", CommandKind)
def test_what_is_out_of_service_in_an_emergency_unable_or_lost_is_in_no_batch(
    kind: CommandKind,
) -> None:
    assert why(FINE._replace(in_service=False), kind) is LeftOut.OUT_OF_SERVICE
    assert why(FINE._replace(emergency=True), kind) is LeftOut.EMERGENCY
    assert why(FINE._replace(able=False), kind) is LeftOut.NOT_ABLE
    assert why(FINE._replace(lost=True), kind) is LeftOut.LOST


def test_what_is_protected_is_never_tripped_and_may_be_all_else() -> None:
    meter = FINE._replace(protected=True)
    assert why(meter, TRIP) is LeftOut.PROTECTED
    for kind in set(CommandKind) - {TRIP, RELEASE}:
        assert why(meter, kind) is None


def test_what_serves_nobody_is_cut_or_set_right_but_given_nothing() -> None:
    meter = FINE._replace(assigned=False)
    for kind in CommandKind:
        expected = None if kind in (TRIP, CLOCK) else LeftOut.SERVES_NOBODY
        assert why(meter, kind) is expected
    assert why(meter._replace(sold=False), KEEP) is None


def test_what_is_so_already_is_not_asked_again() -> None:
    assert why(TRIPPED, TRIP) is LeftOut.ALREADY_SO
    assert why(TRIPPED, TRIP, until=MONDAY) is None
    assert why(TRIPPED._replace(until=MONDAY), TRIP, until=MONDAY) is LeftOut.ALREADY_SO
    assert why(FINE._replace(policy=SupplyPolicy.KEEP_ON), KEEP) is LeftOut.ALREADY_SO
    assert why(FINE, RELEASE) is LeftOut.ALREADY_SO
    assert why(FINE._replace(force=Force(TRIP, Why.ARREARS)), RELEASE) is None
    assert why(FINE._replace(relay=True), CLOSE) is LeftOut.ALREADY_SO
    assert why(TRIPPED._replace(relay=True), CLOSE) is None
    assert why(FINE._replace(relay=None), CLOSE) is None
    assert why(FINE._replace(held={"flat": 7000, "peak": 1}), PRICES) is LeftOut.ALREADY_SO
    assert why(FINE._replace(held={"flat": 7001}), PRICES) is None
    hours = CommandKind.CALENDAR
    assert why(FINE._replace(held=HOURS), hours) is LeftOut.ALREADY_SO
    assert why(FINE._replace(held=HOURS | {"table1_2": 80002}), hours) is None, "an hour more"
    two, half = {"flat": 7000, "peak": 9000}, FINE._replace(held={"flat": 7000, "peak": 1})
    assert left_out(half, kind=PRICES, settings=two, until=None) is None


@given(
    kind=st.sampled_from(CommandKind),
    count=st.integers(1, 300),
    given_=st.integers(0, 300),
    alone=st.integers(0, 300),
    meters=st.integers(1, 20_000),
)
def test_nobody_reaches_more_meters_alone_than_the_limit_nor_trips_more_than_the_blast_radius(
    kind: CommandKind, count: int, given_: int, alone: int, meters: int
) -> None:
    second = needs_second(kind=kind, count=count, given=given_, alone=alone, meters=meters)
    radius = max(5, meters * 2 // 100) if kind is TRIP else 10**9
    assert second is (count + given_ > alone or count + given_ > radius)


def test_just_the_limit_is_one_operators_and_one_meter_more_is_two() -> None:
    for count, second in ((12, False), (13, True)):
        asked = {"count": count, "given": 8, "alone": 20}
        assert needs_second(kind=PRICES, meters=100, **asked) is second
        assert needs_second(kind=TRIP, meters=1_000, **asked) is second
        assert needs_second(kind=TRIP, meters=999, **asked)


def test_a_list_is_read_as_offices_write_it() -> None:
    assert numbers_of("\ufeff表号,户名\r\nM-0001,Li\r\n\r\n M-0002 \nM-0001") == [
        "M-0001",
        "M-0002",
    ]
    assert numbers_of('="0012";x\n"0013";y') == ["0012", "0013"]
    assert numbers_of("M-0001\tShop, A\nM-0002\tB") == ["M-0001", "M-0002"]
    assert numbers_of("M-0001\n???\n" + "y" * 90) == ["M-0001", "???", "y" * 64]


def test_a_number_is_taken_as_it_is_printed_on_the_meter_whatever_its_letters() -> None:
    assert numbers_of("X0012X") == ["X0012X"]
    assert numbers_of("\ufeffX0012X,Li\nX0013,Xu") == ["X0012X", "X0013"]
    assert numbers_of('M-0001\n,,\n"\n;') == ["M-0001"]


def test_a_list_just_long_enough_is_read_be_it_one_line() -> None:
    assert numbers_of("M-0001," + "x" * 199_993) == ["M-0001"]
    assert numbers_of("M-0001\n" + "x" * 199_993) == ["M-0001", "x" * 64]


@pytest.mark.parametrize("text", ["", "\n \n", "表号", "x" * 200_001])
def test_a_list_that_names_nothing_or_is_endless_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        numbers_of(text)
    with pytest.raises(InvalidInput):
        numbers_of("\n".join(f"M-{number:05d}" for number in range(10_001)))


def test_what_became_of_a_command_is_told_of_each_end() -> None:
    assert set(BECAME) == set(CommandState) - {CommandState.QUEUED, CommandState.SENT}


def test_a_step_is_taken_from_where_it_leads_on_and_from_nowhere_else() -> None:
    legal = {
        ("confirmed", BatchState.DRAFT),
        ("ruled on", BatchState.WAITING),
        ("paused", BatchState.RUNNING),
        ("resumed", BatchState.PAUSED),
        ("cancelled", BatchState.DRAFT),
        ("cancelled", BatchState.WAITING),
        ("cancelled", BatchState.RUNNING),
        ("cancelled", BatchState.PAUSED),
        ("tried again", BatchState.RUNNING),
        ("tried again", BatchState.PAUSED),
        ("tried again", BatchState.DONE),
    }
    for step in {step for step, _ in legal}:
        for state in BatchState:
            if (step, state) in legal:
                check_step(state, step)
            else:
                with pytest.raises(Conflict):
                    check_step(state, step)
