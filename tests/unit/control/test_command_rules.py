"""What may be done next with a command, from what the meter itself shows (C10, C19, C22)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.control.command_rules import (
    MOST_WRITES,
    CommandFacts,
    CommandKind,
    CommandStep,
    Family,
    Given,
    Sight,
    check_reason,
    compare_clock,
    compare_relay,
    compare_settings,
    decide_command,
    family_of,
    life_of,
    order_of,
    over_at,
    pause_of,
    settles_in,
    together,
)
from backend.kernel.band_calendar import BANDS, Calendar, DaySlot, YearZone
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money

AT = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
QUEUED = CommandFacts(
    kind=CommandKind.TRIP,
    writes=0,
    accepted=False,
    refusal=None,
    since_write=timedelta(0),
    overdue=False,
    sight=Sight.DIFFERS,
    shown="the relay is closed",
)
LOST = QUEUED._replace(writes=1, since_write=timedelta(seconds=2))
TAKEN = LOST._replace(accepted=True)
LATER = timedelta(minutes=6)

facts = st.builds(
    CommandFacts,
    kind=st.sampled_from(CommandKind),
    writes=st.integers(min_value=0, max_value=MOST_WRITES + 1),
    accepted=st.booleans(),
    refusal=st.none() | st.just("the meter refuses"),
    since_write=st.integers(min_value=0, max_value=1000).map(lambda s: timedelta(seconds=s)),
    overdue=st.booleans(),
    sight=st.sampled_from(Sight),
    shown=st.just("what it shows"),
)


@pytest.mark.parametrize(
    ("stand", "step"),
    [
        (QUEUED, CommandStep.SEND),
        # What the meter showed before anything was written is no success of this command.
        (QUEUED._replace(sight=Sight.FITS), CommandStep.SEND),
        (QUEUED._replace(sight=Sight.PROVES), CommandStep.SEND),
        (QUEUED._replace(overdue=True), CommandStep.EXPIRED),
        (LOST, CommandStep.SEND),
        (LOST._replace(sight=Sight.PROVES), CommandStep.VERIFIED),
        (LOST._replace(sight=Sight.FITS), CommandStep.SEND),
        (LOST._replace(overdue=True), CommandStep.EXPIRED),
        (LOST._replace(overdue=True, sight=Sight.PROVES), CommandStep.VERIFIED),
        (LOST._replace(writes=MOST_WRITES), CommandStep.FAILED),
        (LOST._replace(refusal="no"), CommandStep.FAILED),
        (TAKEN, CommandStep.WAIT),
        (TAKEN._replace(overdue=True), CommandStep.WAIT),
        (TAKEN._replace(since_write=LATER), CommandStep.FAILED),
        (TAKEN._replace(since_write=settles_in(CommandKind.TRIP)), CommandStep.FAILED),
        (TAKEN._replace(sight=Sight.UNTOLD), CommandStep.WAIT),
        (TAKEN._replace(sight=Sight.UNTOLD, since_write=LATER), CommandStep.FAILED),
        (TAKEN._replace(sight=Sight.FITS), CommandStep.VERIFIED),
        (TAKEN._replace(sight=Sight.PROVES), CommandStep.VERIFIED),
    ],
)
def test_the_read_back_decides(stand: CommandFacts, step: CommandStep) -> None:
    assert decide_command(stand)[0] is step
    assert decide_command(stand)[1]


def test_a_command_that_was_never_written_is_told_to_be_too_late() -> None:
    words = decide_command(QUEUED._replace(overdue=True))[1]
    assert words == "its time was over before it could be written"


@given(facts)
def test_no_success_without_a_write_and_a_read_back_that_fits(stand: CommandFacts) -> None:
    if decide_command(stand)[0] is CommandStep.VERIFIED:
        assert stand.writes > 0
        assert stand.sight in (Sight.PROVES, Sight.FITS)
        assert stand.sight is Sight.PROVES or stand.accepted


@given(facts)
def test_nothing_is_written_late_or_over_what_the_meter_took_or_refused(
    stand: CommandFacts,
) -> None:
    if decide_command(stand)[0] is CommandStep.SEND:
        assert not stand.overdue
        assert stand.writes < MOST_WRITES
        assert stand.writes == 0 or not (stand.accepted or stand.refusal)


@pytest.mark.parametrize(
    ("kind", "before", "after", "has_money", "sight"),
    [
        (CommandKind.TRIP, True, False, True, Sight.PROVES),
        (CommandKind.TRIP, False, False, False, Sight.FITS),  # open for want of money, not forced
        (CommandKind.TRIP, None, False, True, Sight.FITS),
        (CommandKind.TRIP, True, True, True, Sight.DIFFERS),
        (CommandKind.CLOSE, False, True, True, Sight.PROVES),
        (CommandKind.CLOSE, True, False, True, Sight.DIFFERS),
        (CommandKind.KEEP_POWER, True, True, True, Sight.FITS),
        (CommandKind.KEEP_POWER, False, True, False, Sight.PROVES),
        (CommandKind.RELEASE, False, True, True, Sight.PROVES),
        (CommandKind.RELEASE, False, False, True, Sight.DIFFERS),  # its money would let it flow
        (CommandKind.RELEASE, True, False, False, Sight.FITS),
        (CommandKind.ALLOW_CLOSE, False, False, True, Sight.FITS),  # until somebody presses the key
        *((kind, True, None, True, Sight.UNTOLD) for kind in CommandKind),
    ],
)
def test_what_a_relay_proves(
    kind: CommandKind, before: bool | None, after: bool | None, has_money: bool, sight: Sight
) -> None:
    assert compare_relay(kind=kind, before=before, after=after, has_money=has_money) is sight


def test_settings_hold_when_all_that_was_ordered_is_held() -> None:
    held = {"spike": 12_000, "peak": 10_000, "overload_w": 5000}
    assert compare_settings({"peak": 10_000}, held)[0] is Sight.PROVES
    assert compare_settings({"peak": 10_000, "overload_w": 5000}, held)[0] is Sight.PROVES
    sight, words = compare_settings({"peak": 10_100, "deep": 1, "overload_w": 1}, held)
    assert sight is Sight.DIFFERS
    assert "peak is 1.00, ordered was 1.01" in words
    assert "deep is not told" in words
    assert "; overload_w is 5000 W, ordered was 1 W" in words
    assert compare_settings({"peak": 10_000}, held)[1] == "the meter holds what was ordered"


def test_limits_that_are_held_otherwise_are_told_in_the_words_of_each() -> None:
    wanted = {"on": 1, "most_w": 3_000, "step_w": 800, "factor_permille": 950, "trips": 3}
    held = {"on": 0, "most_w": 2_500, "step_w": 801, "factor_permille": 951}
    assert compare_settings(wanted, held) == (
        Sight.DIFFERS,
        "on is 0, ordered was 1; most_w is 2500 W, ordered was 3000 W; step_w is 801 W, ordered was"
        " 800 W; factor_permille is 951, ordered was 950; trips is not told, ordered was 3",
    )
    other = compare_settings({"restore_minutes": 10}, {"restore_minutes": 11})
    assert other[1] == "restore_minutes is 11, ordered was 10"


@pytest.mark.parametrize(
    ("seconds", "sight"),
    [(0, Sight.PROVES), (30, Sight.PROVES), (-30, Sight.PROVES), (31, Sight.DIFFERS)],
)
def test_a_clock_is_right_within_half_a_minute(seconds: int, sight: Sight) -> None:
    assert compare_clock(timedelta(seconds=seconds))[0] is sight
    told = f"{-seconds} s behind" if seconds < 0 else f"{seconds} s ahead"
    assert compare_clock(timedelta(seconds=seconds))[1] == f"the meter's clock is {told}"
    assert compare_clock(None) == (Sight.UNTOLD, "the meter shows no clock")


def test_a_trip_lives_two_minutes_and_the_others_a_day() -> None:
    assert {life_of(kind) for kind in CommandKind if kind is not CommandKind.TRIP} == {
        timedelta(hours=24)
    }
    assert life_of(CommandKind.TRIP) == timedelta(seconds=120)


def test_a_meter_has_a_minute_to_move_its_relay_and_five_to_take_settings() -> None:
    slow = {kind for kind in CommandKind if settles_in(kind) == timedelta(minutes=5)}
    assert slow == {"PRICES", "CALENDAR", "THRESHOLDS", "LOAD_LIMITS"}
    for kind in CommandKind:
        assert pause_of(kind) == timedelta(seconds=25 if kind in slow else 5)
        assert kind in slow or settles_in(kind) == timedelta(minutes=1)


def test_why_is_kept_without_the_blanks_around_it() -> None:
    assert check_reason("  four ") == "four"
    assert check_reason("x" * 200) == "x" * 200


def test_all_that_moves_the_relay_is_one_family() -> None:
    relay = {kind for kind in CommandKind if family_of(kind) is Family.RELAY}
    assert relay == {"TRIP", "ALLOW_CLOSE", "CLOSE", "KEEP_POWER", "RELEASE"}


def test_what_was_written_at_the_last_moment_still_has_its_time_to_be_read_back() -> None:
    for kind in CommandKind:
        over = over_at(kind=kind, expires_at=AT, sent_at=AT - timedelta(seconds=1))
        assert over > AT + settles_in(kind)
        assert over_at(kind=kind, expires_at=AT, sent_at=None) == AT
        assert over_at(kind=kind, expires_at=AT, sent_at=AT - timedelta(hours=1)) == AT


def _order(kind: CommandKind, reason: str = "a test of it", **given: Any) -> dict[str, int]:
    return dict(order_of(kind=kind, reason=reason, given=Given(**given)).settings)


def test_an_order_keeps_what_was_asked_in_hao() -> None:
    prices = [("peak", Money.parse("1.2345")), ("valley", Money.parse("10"))]
    assert _order(CommandKind.PRICES, prices=prices) == {"peak": 12_345, "valley": 100_000}
    assert _order(CommandKind.PRICES, prices=[("peak", Money(1))]) == {"peak": 1}
    for limits in ({"alarm1": 100_000, "alarm2": 0, "overload_w": 55}, {"overload_w": 0}):
        assert _order(CommandKind.THRESHOLDS, thresholds=limits) == limits
    assert _order(CommandKind.TRIP) == {}


DAY = (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(480 + 60, "peak"))
HOURS = Calendar((YearZone(3, 1, 1), YearZone(5, 1, 1)), (DAY,))


def test_an_order_of_hours_says_them_plainly() -> None:
    plainly = {"zone1": 1_01_01, "table1_1": 4, "table1_2": 8_00_02}
    assert _order(CommandKind.CALENDAR, calendar=HOURS) == plainly


def test_a_meter_that_counts_an_hour_more_holds_another_calendar() -> None:
    wanted = {"zone1": 1_01_01, "table1_1": 4, "table1_2": 8_00_02}
    assert compare_settings(wanted, wanted, whole=True)[0] is Sight.PROVES
    sight, told = compare_settings(wanted, wanted | {"table1_3": 22_00_04}, whole=True)
    assert (sight, told) == (
        Sight.DIFFERS,
        "day table 1 slot 3 holds valley from 22:00, ordered was none",
    )
    sight, told = compare_settings(wanted, {"zone1": 2_01_01}, whole=True)
    assert sight is Sight.DIFFERS
    assert told == (
        "zone 1 holds day table 1 from 02-01, ordered was day table 1 from 01-01;"
        " day table 1 slot 1 holds none, ordered was valley from 00:00;"
        " day table 1 slot 2 holds none, ordered was peak from 08:00"
    )
    many = {f"table1_{at}": at * 1_00_00 + 3 for at in range(1, 10)}
    assert compare_settings(many, {}, whole=True)[1].endswith("; and 4 more")
    six = dict(list(many.items())[:6])
    assert compare_settings(six, {}, whole=True)[1].endswith("; and 1 more")
    assert "more" not in compare_settings(six, {"table1_1": six["table1_1"]}, whole=True)[1]


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [
        (CommandKind.TRIP, {"reason": "  no "}, "reason"),
        (CommandKind.TRIP, {"reason": "x" * 201}, "reason"),
        (CommandKind.LOAD_LIMITS, {}, "kind"),
        (CommandKind.TRIP, {"prices": [("peak", Money(1))]}, "prices"),
        (CommandKind.TRIP, {"thresholds": {"alarm1": 0}}, "thresholds"),
        (CommandKind.PRICES, {}, "prices"),
        (CommandKind.PRICES, {"prices": []}, "prices"),
        (CommandKind.PRICES, {"prices": [("night", Money(1))]}, "prices"),
        (CommandKind.PRICES, {"prices": [(BANDS[0], Money(1))] * 2}, "prices"),
        (CommandKind.PRICES, {"prices": [("peak", Money(0))]}, "prices"),
        (CommandKind.PRICES, {"prices": [("peak", Money(-1))]}, "prices"),
        (CommandKind.PRICES, {"prices": [("peak", Money.parse("10.0001"))]}, "prices"),
        (CommandKind.TRIP, {"calendar": HOURS}, "calendar"),
        (CommandKind.CALENDAR, {}, "calendar"),
        (CommandKind.CALENDAR, {"calendar": Calendar((), (DAY,))}, "zones"),
        (CommandKind.CALENDAR, {"calendar": Calendar((YearZone(1, 1, 1),), ())}, "tables"),
        (CommandKind.THRESHOLDS, {"thresholds": {}}, "thresholds"),
        (CommandKind.THRESHOLDS, {"thresholds": {"alarm3": 100}}, "thresholds"),
        (CommandKind.THRESHOLDS, {"thresholds": {"alarm1": 101}}, "thresholds"),
        (CommandKind.THRESHOLDS, {"thresholds": {"alarm1": -100}}, "thresholds"),
        (CommandKind.THRESHOLDS, {"thresholds": {"overdraft": 10**9 + 100}}, "thresholds"),
        (CommandKind.THRESHOLDS, {"thresholds": {"overload_w": 10**6 + 1}}, "thresholds"),
        (CommandKind.THRESHOLDS, {"thresholds": {"overload_w": -1}}, "thresholds"),
    ],
)
def test_an_order_nobody_can_mean_is_refused(
    kind: CommandKind, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        _order(kind, **given)
    assert refused.value.field == field


def test_relays_and_clocks_go_four_at_a_time_and_settings_alone() -> None:
    alone = {kind for kind in CommandKind if together(kind) == 1}
    assert alone == {"PRICES", "CALENDAR", "THRESHOLDS", "LOAD_LIMITS"}
    assert {together(kind) for kind in set(CommandKind) - alone} == {4}
