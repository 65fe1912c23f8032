"""A rule replayed says who would have been cut, when, and until when; counted by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.control.calendar_rules import CutCalendar, CutWindow, DayKind, Mark, may_cut
from backend.control.dry_run_rules import (
    CutRule,
    Move,
    OffUse,
    WouldBeCut,
    check_rule,
    is_night,
    replay,
    replay_timetable,
)
from backend.control.timetable_rules import Slot, timetable_of
from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput

MONDAY = datetime(2026, 11, 23, tzinfo=CHINA).astimezone(UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
END = MONDAY + 14 * DAY
YUAN = 10_000
RULE = CutRule(CutCalendar(), level=5 * YUAN, armed_above=YUAN, overdraft=0)


def at(day: int, hour: int) -> datetime:
    """An instant by the clock of China, days after that Monday."""
    return MONDAY + day * DAY + hour * HOUR


def used(*, yuan_a_day: int, days: int) -> list[Move]:
    """So much is charged each noon."""
    return [Move(at(day, 12), -yuan_a_day * YUAN) for day in range(days)]


def run(moves: list[Move], *, opening: int = 20, rule: CutRule = RULE) -> list[WouldBeCut]:
    """A replay of two weeks that began with so many yuan."""
    ordered = sorted(moves)
    return replay(opening=opening * YUAN, moves=ordered, rule=rule, start=MONDAY, end=END)


def test_who_runs_out_is_cut_when_it_was_warned_long_enough_and_offices_are_open() -> None:
    # 20 yuan, 5 a day: 5 left on Wednesday noon (warned), nothing on Thursday noon.
    cuts = run(used(yuan_a_day=5, days=5))
    assert [(cut.warned_at, cut.at, cut.restored_at) for cut in cuts] == [
        (at(2, 12), at(3, 12), None)
    ]
    assert (cuts[0].owed, cuts[0].nights) == (0, 11)
    assert not cuts[0].at_night
    assert not cuts[0].on_holiday


def test_money_in_time_keeps_it_on_and_money_later_ends_the_cut() -> None:
    assert run([*used(yuan_a_day=5, days=5), Move(at(3, 11), 30 * YUAN)]) == []
    (cut,) = run([*used(yuan_a_day=5, days=4), Move(at(4, 20), 30 * YUAN)])
    assert (cut.at, cut.restored_at, cut.nights) == (at(3, 12), at(4, 20), 1)


def test_nothing_is_used_in_the_dark() -> None:
    (cut,) = run([*used(yuan_a_day=5, days=14), Move(at(6, 9), 1 * YUAN)], opening=19)
    assert cut.at == at(3, 12)
    assert cut.owed == YUAN
    assert cut.restored_at is None  # one yuan brings it to zero, and zero is not money
    first, second = run([*used(yuan_a_day=5, days=14), Move(at(6, 9), 2 * YUAN)], opening=19)
    assert first.restored_at == at(6, 9)
    assert second.at == at(7, 9)  # Sunday's use makes it owe again, on Monday offices open


def test_a_weekend_and_a_marked_day_are_waited_for() -> None:
    late = [Move(at(4, 12), -10 * YUAN), Move(at(4, 18), -10 * YUAN)]
    assert [cut.at for cut in run(late, opening=14)] == [at(7, 9)]
    marked = CutCalendar(marks={date(2026, 11, 30): frozenset({Mark.NO_CUT})})
    rule = CutRule(marked, level=5 * YUAN, armed_above=YUAN, overdraft=0)
    assert [cut.at for cut in run(late, opening=14, rule=rule)] == [at(8, 9)]


def test_a_draft_of_all_days_until_late_cuts_at_night_and_on_sundays_and_says_so() -> None:
    window = CutWindow(6 * 60, 23 * 60, (1, 2, 3, 4, 5, 6, 7), HOUR)
    rule = CutRule(CutCalendar(window), level=5 * YUAN, armed_above=YUAN, overdraft=0)
    (cut,) = run([Move(at(6, 20), -20 * YUAN)], rule=rule)
    assert cut.at == at(6, 21)
    assert cut.at_night
    assert cut.on_holiday


def test_an_overdraft_and_a_higher_level_change_who_is_cut_and_when() -> None:
    moves = used(yuan_a_day=5, days=5)
    allowed = CutRule(CutCalendar(), level=5 * YUAN, armed_above=YUAN, overdraft=6 * YUAN)
    assert run(moves, rule=allowed) == []
    unwarned = CutRule(CutCalendar(), level=0, armed_above=YUAN, overdraft=0)
    assert [cut.at for cut in run(moves, rule=unwarned)] == [at(4, 12)]


def test_who_was_low_before_the_days_began_was_warned_before_them() -> None:
    (cut,) = run([Move(at(0, 10), -5 * YUAN)], opening=4)
    assert cut.at == at(0, 10)
    assert cut.warned_at == MONDAY - DAY


@pytest.mark.parametrize("wrong", [{"level": -1}, {"overdraft": 10**9 + 1}])
def test_what_nobody_can_mean_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        check_rule(**({"level": 0, "overdraft": 0} | wrong))


def test_the_least_and_the_most_of_a_rule_are_taken() -> None:
    check_rule(level=0, overdraft=0)
    check_rule(level=100_000 * YUAN, overdraft=100_000 * YUAN)


def test_who_begins_at_the_very_level_was_warned_before() -> None:
    (cut,) = run([Move(at(0, 12), -5 * YUAN)], opening=5)
    assert cut.at == at(0, 12)
    (cut,) = run([Move(at(0, 12), -6 * YUAN)], opening=6)
    assert cut.at == at(1, 12)


def test_the_last_hao_keeps_power_and_the_first_one_brings_it_back() -> None:
    assert run([Move(at(2, 12), -20 * YUAN + 1)]) == []
    (cut,) = run([Move(at(2, 12), -20 * YUAN), Move(at(3, 14), 1)])
    assert (cut.at, cut.restored_at) == (at(3, 12), at(3, 14))
    owing = CutRule(CutCalendar(), level=5 * YUAN, armed_above=YUAN, overdraft=10 * YUAN)
    (cut,) = run([Move(at(2, 12), -40 * YUAN), Move(at(3, 14), 10 * YUAN + 1)], rule=owing)
    assert (cut.at, cut.restored_at) == (at(3, 12), at(3, 14))


def test_money_at_the_very_instant_of_a_cut_keeps_it_on() -> None:
    assert run([Move(at(2, 12), -20 * YUAN), Move(at(3, 12), 30 * YUAN)]) == []
    # Due on Saturday, when nobody is cut: paid as offices open on Monday.
    assert run([Move(at(4, 12), -20 * YUAN), Move(at(7, 9), 30 * YUAN)]) == []


def test_a_warning_stands_until_there_is_clearly_more_than_its_level() -> None:
    moves = [Move(at(0, 12), -15 * YUAN), Move(at(1, 12), YUAN), Move(at(2, 12), -6 * YUAN)]
    (cut,) = run(moves)  # 5 yuan, 6, nothing
    assert (cut.warned_at, cut.at) == (at(0, 12), at(2, 12))
    moves[1] = Move(at(1, 12), YUAN + 1)
    (cut,) = run([*moves[:2], Move(at(2, 12), -6 * YUAN - 1)])
    assert (cut.warned_at, cut.at) == (at(2, 12), at(3, 12))


@pytest.mark.parametrize(("day", "off"), [(4, False), (5, True), (6, True)])
def test_a_cut_on_a_weekend_is_told_where_a_draft_allows_it(day: int, off: bool) -> None:
    window = CutWindow(9 * 60, 17 * 60, (1, 2, 3, 4, 5, 6, 7), HOUR)
    rule = CutRule(CutCalendar(window), level=5 * YUAN, armed_above=YUAN, overdraft=0)
    (cut,) = run([Move(at(day, 10), -20 * YUAN)], rule=rule)
    assert (cut.at, cut.on_holiday) == (at(day, 11), off)


def test_the_night_is_from_eight_to_eight() -> None:
    assert [is_night(at(0, hour), CHINA) for hour in (7, 8, 19, 20)] == [True, False, False, True]


@given(st.lists(st.tuples(st.integers(0, 335), st.integers(-10, 12)), max_size=40))
def test_every_cut_is_inside_the_window_after_its_notice_and_they_follow_each_other(
    drawn: list[tuple[int, int]],
) -> None:
    moves = [Move(MONDAY + hour * HOUR, yuan * YUAN) for hour, yuan in drawn if yuan]
    ends = MONDAY
    for cut in run(moves):
        assert may_cut(RULE.calendar, cut.at)
        assert cut.at - cut.warned_at >= RULE.calendar.window.notice
        assert cut.owed >= 0
        assert ends <= cut.at < END
        ends = cut.restored_at or END
        assert ends > cut.at


def test_a_timetable_tells_what_would_not_have_been_used_hour_by_hour_and_how_much_of_it_at_night() -> (
    None
):
    off_at_night = (Slot(0, False), Slot(6 * 60 + 30, True), Slot(19 * 60 + 15, False))
    off_at_noon = (Slot(0, True), Slot(12 * 60, False), Slot(12 * 60 + 20, True))
    timetable = timetable_of({DayKind.WORKDAY: off_at_night, DayKind.HOLIDAY: off_at_noon})
    monday, holiday = date(2026, 11, 23), date(2026, 11, 24)
    uses = [(monday, [120] * 24), (holiday, [0] * 12 + [300] + [0] * 11)]
    found = replay_timetable(timetable, {holiday: frozenset({Mark.HOLIDAY})}, uses)
    # Monday: 390 minutes before 06:30 and 285 after 19:15, of which 45 are before 20:00; 2 a minute.
    assert found == OffUse(2, 390 + 285 + 20, 390 + 240, 2 * (390 + 285) + 100)
    assert replay_timetable(timetable, {}, []) == OffUse(0, 0, 0, 0)


def test_night_ends_at_eight_and_begins_at_twenty_for_a_timetable_too() -> None:
    def off(hour: int) -> OffUse:
        slots = [Slot(0, True), Slot(hour * 60, False), Slot((hour + 1) * 60, True)]
        timetable = timetable_of({DayKind.WORKDAY: slots})
        return replay_timetable(timetable, {}, [(date(2026, 11, 23), range(24))])

    assert [off(hour).at_night for hour in (7, 8, 19, 20)] == [60, 0, 0, 60]
    assert [off(hour).used for hour in (7, 8, 19, 20)] == [7, 8, 19, 20]
