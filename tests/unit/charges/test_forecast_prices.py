"""An hour costs what its bands cost; a customer is warned while the office is still open."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from backend.charges.forecast_rules import Basis, Forecast
from backend.control.calendar_rules import CutCalendar, CutWindow, Mark
from backend.journeys.forecast_prices import prices_of
from backend.journeys.forecast_warning import is_due, opens_again
from backend.kernel.band_calendar import DaySlot
from backend.tariffs.present import present
from backend.tariffs.rules import Season, Step, TariffKind, Terms, compile_terms

WINTER = datetime(2026, 12, 4, 4, tzinfo=UTC)  # a Friday, noon in China
BANDS = Terms(
    TariffKind.ELECTRICITY,
    (Season(1, 1, {"flat": 6_000, "peak": 9_000, "valley": 3_000}),),
    day_plans=((DaySlot(0, "valley"), DaySlot(8 * 60 + 30, "peak"), DaySlot(21 * 60, "flat")),),
)
HOUR = timedelta(hours=1)


def china(day: int, hour: int, minute: int = 0) -> datetime:
    """An instant of December 2026 by the clock of China, UTC."""
    return datetime(2026, 12, day, hour, minute, tzinfo=UTC) - 8 * HOUR


def test_an_hour_costs_what_its_band_costs_and_a_split_one_the_mean_of_its_minutes() -> None:
    prices = prices_of(present(compile_terms(BANDS), WINTER, used=0))
    assert prices.hours == (3_000,) * 8 + (6_000,) + (9_000,) * 12 + (6_000,) * 3
    assert prices.cost(9, 1_500) == 13_500
    assert prices.cost(0, 1) == 3


def test_the_step_and_the_fee_of_a_day_are_part_of_it() -> None:
    terms = replace(BANDS, steps=(Step(10_000, 500),), monthly=365_000)
    prices = prices_of(present(compile_terms(terms), WINTER, used=10_000))
    assert prices.hours[0] == 3_500
    assert prices.daily == 12_000


def test_a_meter_that_holds_its_money_knows_its_bands_alone() -> None:
    terms = replace(BANDS, steps=(Step(10_000, 500),), monthly=365_000)
    prices = prices_of(present(compile_terms(terms), WINTER, used=None))
    assert (prices.hours[0], prices.daily) == (3_000, 0)


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        (china(3, 10), china(4, 9)),  # Thursday at ten: Friday at nine
        (china(3, 16, 59), china(4, 9)),
        (china(3, 17), china(7, 9)),  # closed: it closes next on Friday, and opens on Monday
        (china(4, 10), china(7, 9)),
        (china(5, 12), china(8, 9)),  # Saturday: Monday's evening comes first
    ],
)
def test_an_office_opens_again_after_it_closes_next(at: datetime, opens: datetime) -> None:
    assert opens_again(CutCalendar(), at) == opens


def test_a_holiday_and_own_hours_of_a_project_count() -> None:
    holiday = {date(2026, 12, day): frozenset({Mark.HOLIDAY}) for day in (7, 8)}
    assert opens_again(CutCalendar(marks=holiday), china(4, 10)) == china(9, 9)
    saturdays = CutCalendar(CutWindow(8 * 60, 12 * 60, (1, 2, 3, 4, 5, 6)))
    assert opens_again(saturdays, china(4, 10)) == china(5, 8)
    assert opens_again(saturdays, china(5, 11)) == china(7, 8)
    # New Year: the last office hour is on Thursday, the next one on Monday.
    assert opens_again(CutCalendar(), china(31, 10)) == datetime(2027, 1, 4, 1, tzinfo=UTC)


def ends(zero: datetime | None) -> Forecast:
    """A forecast that money ends then."""
    return Forecast(Basis.OWN_USE, 0, zero)


def test_warned_of_is_what_ends_within_days_or_before_the_office_opens_again() -> None:
    friday, monday = china(4, 10), china(7, 9)
    assert is_due(ends(friday + 72 * HOUR), days=3, opens=None, at=friday)
    assert not is_due(ends(friday + 73 * HOUR), days=3, opens=None, at=friday)
    assert is_due(ends(monday - HOUR), days=1, opens=monday, at=friday)
    assert is_due(ends(monday - HOUR), days=0, opens=monday, at=friday)
    assert not is_due(ends(monday), days=1, opens=monday, at=friday)
    assert not is_due(ends(None), days=30, opens=monday, at=friday)
