"""Use between two readings, where it falls, what it costs by line: each by an example that a person checks
(C3, C14-C17)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from backend.charges.rules import Amounts, Figures, Hold, Point, Position, Ruling, Stop, Supply
from backend.journeys.charge_rating import (
    BANDS_AGREE,
    Part,
    Rated,
    Timeline,
    amounts_of,
    amounts_to_date,
    kept,
    segments_to_date,
    spans,
    use_between,
)
from backend.kernel.clock import CHINA
from backend.kernel.money import Money
from backend.metering.rules import MeterKind
from backend.tariffs.calendar import Held
from backend.tariffs.rules import (
    NO_USE,
    Days,
    Fee,
    Line,
    LineKind,
    Season,
    StepPeriod,
    TariffKind,
    Terms,
    Use,
    compile_terms,
)

NOON = datetime(2026, 11, 29, 4, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINTER = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": 6_000}), Season(12, 1, {"flat": 9_000})),
    service=Fee(per_unit=500),
    monthly=310_000,
)
OLD, NEW = UUID(int=1), UUID(int=2)


def shown(total: int, *bands: int | None, hours: int = 0) -> Point:
    """Registers so many hours after NOON."""
    return Point(NOON + hours * HOUR, total, bands or (None,) * 5)


def timeline(*terms: tuple[datetime, Terms]) -> Timeline:
    """Plans that hold from instants on, versions numbered from 1."""
    held = [
        Held(since, compile_terms(each, version=str(UUID(int=number))))
        for number, (since, each) in enumerate(terms, 1)
    ]
    return Timeline(tuple(held), CHINA)


@pytest.mark.parametrize(
    ("start", "end", "use"),
    [
        (shown(100), shown(160), Use(unbanded=60)),
        (shown(100, 1, 2, 3, 4, 5), shown(160), Use(unbanded=60)),
        (shown(100), shown(160, 1, 2, 3, 4, 5), Use(unbanded=60)),
        (shown(100, 1, 2, 3, 4, 5), shown(115, 6, 5, 6, 6, 7), Use(5, 3, 3, 2, 2)),
        (shown(100, 0, 0, 0, 0, 0), shown(130, 5, 0, 10, 0, 0), Use(flat=10, spike=5, unbanded=15)),
        (
            shown(100, 0, None, 0, None, 0),
            shown(130, 5, 9, 10, None, 0),
            Use(5, 0, 10, unbanded=15),
        ),
        (shown(100, 0, 0, 0, 0, 0), shown(116, 5, 0, 10, 0, 0), Use(flat=10, spike=5, unbanded=1)),
        # Bands that say more than the total: a few Wh of truncation are taken off the largest.
        (shown(0, 0, 0, 0, 0, 0), shown(90, 10, 30, 60, 20, 20), Use(10, 30, 10, 20, 20)),
        (shown(0, 0, 0, 0, 0, 0), shown(89, 10, 30, 60, 20, 20), Use(unbanded=89)),
        (shown(0, 0, 0, 0, 0, 0), shown(50, 60, 0, 0, 0, 0), Use(50)),
        (shown(0, 0, 0, 0, 0, 0), shown(0, 9, 9, 9, 9, 9), Use()),
        (shown(0, 0, 0, 0, 0, 0), shown(2, 9, 9, 0, 0, 9), Use(unbanded=2)),
        (shown(100), shown(99), None),
        (shown(100, 0, 0, 9, 0, 0), shown(130, 5, 9, 8, 0, 0), None),
    ],
)
def test_use_adds_up_to_what_the_total_gained_and_bands_tell_as_much_as_they_can(
    start: Point, end: Point, use: Use | None
) -> None:
    assert BANDS_AGREE == 50
    assert use_between(start, end, MeterKind.ELECTRICITY) == use


@pytest.mark.parametrize(("hours", "use"), [(1, 1_000_000), (0, None)])
def test_a_register_begins_anew_only_when_so_much_can_have_passed(
    hours: int, use: int | None
) -> None:
    """999.5 MWh, and 1,000 kWh more: an hour of the largest meter, and no less."""
    start, end = shown(999_500_000), shown(500_000, hours=hours)
    found = use_between(start, end, MeterKind.ELECTRICITY)
    assert (found and found.unbanded) == use


def test_a_reading_that_went_back_stops_what_follows_until_it_is_ruled_on() -> None:
    one, bad, two = shown(100), shown(40, hours=1), shown(130, hours=2)
    assert spans([], MeterKind.WATER, {}) == ([], None)
    assert spans([one, bad, two], MeterKind.WATER, {}) == ([], Stop(bad.at, Hold.NEGATIVE))
    ignored = spans([one, bad, two], MeterKind.WATER, {bad.at: Ruling.IGNORE})
    assert ignored == ([Rated(one, two, Use(unbanded=30))], None)
    anew = spans([one, bad, two], MeterKind.WATER, {bad.at: Ruling.REBASE})
    assert anew == ([Rated(one, bad, NO_USE), Rated(bad, two, Use(unbanded=90))], None)
    first = spans([bad, two], MeterKind.WATER, {bad.at: Ruling.REBASE})
    assert first == ([Rated(bad, two, Use(unbanded=90))], None)


@pytest.mark.parametrize(
    ("kind", "hours", "most"),
    [
        (MeterKind.ELECTRICITY, 1, 2_000_000),
        (MeterKind.ELECTRICITY, 3, 4_000_000),
        (MeterKind.WATER, 1, 600_000),
        (MeterKind.HEAT, 24, 125_000_000),
    ],
)
def test_more_than_the_largest_meter_can_measure_stops_what_follows_until_it_is_ruled_on(
    kind: MeterKind, hours: int, most: int
) -> None:
    """1,000 kW, 300 m³ an hour, 5,000 kW of heat, and an hour more than the time between."""
    one, two, odd = shown(100), shown(100 + most, hours=hours), shown(101 + most, hours=hours)
    after = shown(102 + most, hours=hours + 1)
    assert spans([one, two], kind, {}) == ([Rated(one, two, Use(unbanded=most))], None)
    assert spans([one, odd, after], kind, {}) == ([], Stop(odd.at, Hold.TOO_FAST))
    rest = Rated(odd, after, Use(unbanded=1))
    counted = spans([one, odd, after], kind, {odd.at: Ruling.COUNT})
    assert counted == ([Rated(one, odd, Use(unbanded=most + 1)), rest], None)
    ignored = spans([one, odd, two._replace(at=after.at)], kind, {odd.at: Ruling.IGNORE})
    assert ignored == ([Rated(one, two._replace(at=after.at), Use(unbanded=most))], None)
    assert spans([one, odd, after], kind, {odd.at: Ruling.REBASE}) == (
        [Rated(one, odd, NO_USE), rest],
        None,
    )


def test_a_span_within_a_day_is_one_part_and_no_estimate() -> None:
    line = timeline((NOON, WINTER))
    rated = Rated(shown(0), shown(7, hours=12), Use(unbanded=7))  # until midnight in China
    (found,) = line.parts(rated)
    assert found == Part(
        NOON, NOON + 12 * HOUR, date(2026, 11, 1), date(2026, 11, 29), 0, rated.use, False
    )


def test_a_longer_span_is_shared_by_time_over_days_months_and_versions() -> None:
    """36 hours from Sunday noon, 36 Wh: to midnight, to the new month, and to a new price in between."""
    new = NOON + 20 * HOUR
    line = timeline((NOON, WINTER), (new, replace(WINTER, monthly=0)))
    found = line.parts(Rated(shown(0), shown(48, hours=48), Use(unbanded=48)))
    assert [(each.day.day, each.month.month, each.place, each.use.unbanded) for each in found] == [
        (29, 11, 0, 12),
        (30, 11, 0, 8),
        (30, 11, 1, 16),
        (1, 12, 0, 12),
    ]
    assert all(each.shared for each in found)
    assert [each.start for each in found[1:]] == [each.end for each in found[:-1]]
    idle = line.parts(Rated(shown(0), shown(0, hours=48), NO_USE))
    assert [each.shared for each in idle] == [False] * 4


def test_a_span_that_ends_where_a_price_begins_is_all_of_the_old_price() -> None:
    line = timeline((NOON, WINTER), (NOON + HOUR, WINTER))
    whole = line.parts(Rated(shown(0), shown(5, hours=1), Use(5)))
    assert [(each.place, each.shared) for each in whole] == [(0, False)]
    halves = line.parts(Rated(shown(0), shown(6, hours=2), Use(6)))
    assert [(each.place, each.use.spike) for each in halves] == [(0, 3), (1, 3)]


def test_nothing_holds_before_the_first_version() -> None:
    line = timeline((NOON, WINTER))
    assert (line.holds(NOON), line.holds(NOON - HOUR)) == (True, False)
    assert not Timeline((), CHINA).holds(NOON)
    month = line.month(date(2026, 11, 1))
    assert month.place(NOON) == 0
    with pytest.raises(ValueError, match="no tariff"):
        month.place(NOON - timedelta(microseconds=1))


def test_a_month_knows_its_seasons_and_whether_steps_run_over_the_year() -> None:
    yearly = replace(WINTER, step_period=StepPeriod.YEAR)
    assert [timeline((NOON, each)).yearly for each in (WINTER, yearly)] == [False, True]
    line = timeline((NOON, WINTER), (NOON + 48 * HOUR, yearly))
    november, december = line.month(date(2026, 11, 1)), line.month(date(2026, 12, 1))
    assert line.yearly
    assert (november.yearly, december.yearly) == (False, True)
    assert (november.seasons, december.seasons) == ([0], [1, 1])
    assert line.month(date(2026, 11, 1)) is november


def test_what_a_month_costs_to_date_by_line_with_the_days_that_ended_since_the_opening() -> None:
    line = timeline((NOON, WINTER), (NOON + 20 * HOUR, replace(WINTER, monthly=0)))
    month = line.month(date(2026, 11, 1))
    until = NOON + 36 * HOUR  # the end of the month
    segments = segments_to_date(month, [[0, 0, 0, 0, 0, 1_000]], NOON, until, {0: 5})
    assert [(each.use.total, each.days, each.year_before) for each in segments] == [
        (1_000, Days(28, 29, 30), 5),
        (0, Days(29, 30, 30), 0),
    ]
    assert amounts_to_date(segments) == Amounts(energy=6_000, fixed=10_334, service=500)
    early = segments_to_date(month, [], NOON, NOON + 20 * HOUR, {})
    assert [each.days for each in early] == [Days(28, 29, 30)]
    late = segments_to_date(month, [[0] * 6, [0] * 6], NOON + 30 * HOUR, NOON + HOUR, {})
    assert [each.days for each in late] == [Days(), Days()]
    first = segments_to_date(month, [[0] * 6], NOON, NOON + 20 * HOUR, {})
    assert [each.days for each in first] == [Days(28, 29, 30)]
    given = segments_to_date(month, [[0] * 6, [0] * 6], NOON, NOON + 20 * HOUR, {})
    assert [each.days for each in given] == [Days(28, 29, 30), Days()]
    assert month.versions == [OLD, NEW]
    assert len(kept(first, month)) == 1
    assert kept(segments, month) == [
        [NOON.isoformat(), str(OLD), 0, [0, 0, 0, 0, 0, 1_000], [28, 29, 30], 5],
        [(NOON + 20 * HOUR).isoformat(), str(NEW), 0, [0] * 6, [29, 30, 30], 0],
    ]


def test_steps_are_energy_and_each_fee_is_a_line_of_its_own() -> None:
    lines = [Line(kind, "", 1, 1, 0, 10**place) for place, kind in enumerate(LineKind)]
    assert amounts_of(lines) == Amounts(
        energy=11, fixed=100_000, loss=100, public=1_000, service=10_000
    )


def test_amounts_are_added_and_taken_away_line_by_line() -> None:
    one, two = Amounts(1, 2, 3, 4, 5), Amounts(50, 40, 30, 20, 10)
    assert two.less(one) == Amounts(49, 38, 27, 16, 5)
    assert two.plus(one) == Amounts(51, 42, 33, 24, 15)
    assert (one.total, Amounts().total) == (15, 0)


def test_what_is_available_is_the_balance_less_use_not_charged_and_with_the_overdraft() -> None:
    assert Figures(Money(100), Money(30), Money(5)).available == Money(75)


def test_a_position_is_part_of_what_its_account_uses_of_its_kind() -> None:
    last = shown(0)
    position = Position(OLD, OLD, NEW, "WATER", OLD, last, last, 0, 0, False, NOON, Hold.NEGATIVE)
    assert position.supply == Supply(NEW, "WATER")
