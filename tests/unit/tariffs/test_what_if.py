"""A draft run over a month that was: the same price changes nothing, days fall to the plan that held."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.clock import CHINA
from backend.tariffs.calendar import Held, midnight, next_month
from backend.tariffs.rules import Season, Step, StepPeriod, TariffKind, Terms, Use, compile_terms
from backend.tariffs.what_if import Compared, MonthUse, compare

from .drawn import HOUSEHOLD, terms, unhurried

FLAT = Terms(TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 6_000}),))
MARCH = date(2026, 3, 1)
kwh = st.integers(0, 100_000)
month_uses = st.dictionaries(
    st.integers(0, 30).map(lambda n: MARCH + timedelta(days=n)),
    st.builds(Use, *[kwh] * 6),
    max_size=5,
)


def since(day: date, terms_: Terms) -> Held:
    return Held(midnight(day), compile_terms(terms_))


@unhurried
@given(terms(calendar=False), month_uses, kwh)
def test_a_draft_that_says_the_same_costs_the_same(
    drawn: Terms, days: dict[date, Use], february: int
) -> None:
    use = MonthUse(days, {date(2026, 2, 1): february})
    compared = compare([since(date(2025, 1, 1), drawn)], compile_terms(drawn), use, MARCH)
    assert compared is not None
    assert (compared.more, compared.before) == (0, compared.after)


def test_each_day_is_priced_by_the_version_that_held_on_it() -> None:
    timeline = [since(date(2026, 1, 1), FLAT), since(date(2026, 3, 11), flat(8_000))]
    use = MonthUse({MARCH + timedelta(days=n): Use(flat=1_000) for n in range(31)})
    compared = compare(timeline, compile_terms(flat(7_000)), use, MARCH)
    assert compared == Compared(before=10 * 6_000 + 21 * 8_000, after=31 * 7_000)
    assert compared.more == -11_000


def test_a_day_in_which_the_price_changes_is_shared_by_time() -> None:
    noon = datetime(2026, 3, 11, 12, tzinfo=CHINA)
    timeline = [since(MARCH, FLAT), Held(noon, compile_terms(flat(8_000)))]
    use = MonthUse({date(2026, 3, 11): Use(flat=1_000)})
    compared = compare(timeline, compile_terms(FLAT), use, MARCH)
    assert compared == Compared(before=3_000 + 4_000, after=6_000)


def test_only_the_days_with_a_price_are_compared() -> None:
    before, held = Use(flat=9_000), Use(flat=1_000)  # the last day without, a day with a price
    use = MonthUse({MARCH: before, date(2026, 3, 14): before, date(2026, 3, 20): held})
    timeline = [since(date(2026, 3, 15), FLAT)]
    assert compare(timeline, compile_terms(flat(7_000)), use, MARCH) == Compared(6_000, 7_000)
    assert compare([since(next_month(MARCH), FLAT)], compile_terms(FLAT), use, MARCH) is None
    assert compare([], compile_terms(FLAT), use, MARCH) is None


def test_the_months_before_count_for_steps_of_the_year_that_the_plan_knows() -> None:
    use = MonthUse(
        {date(2026, 3, 5): Use(unbanded=100_000)},
        {date(2025, 7, 1): 2_000_000, date(2026, 2, 1): 2_700_000},
    )
    timeline = [since(date(2025, 1, 1), HOUSEHOLD)]
    july = replace(HOUSEHOLD, year_starts_in=7)
    monthly = replace(HOUSEHOLD, step_period=StepPeriod.MONTH)
    base = 100 * 5_283
    compared = compare(timeline, compile_terms(july), use, MARCH)
    assert compared == Compared(before=base + 40 * 500, after=base + 100 * 500)
    assert compare(timeline, compile_terms(monthly), use, MARCH) == Compared(base + 20_000, base)


def test_a_months_steps_begin_with_its_first_unit() -> None:
    stepped = replace(FLAT, steps=(Step(1_000, 500),))
    use = MonthUse({MARCH: Use(flat=1_000)}, {date(2026, 2, 1): 1})
    compared = compare([since(MARCH, FLAT)], compile_terms(stepped), use, MARCH)
    assert compared == Compared(before=6_000, after=6_000)


def flat(price: int) -> Terms:
    return replace(FLAT, seasons=(Season(1, 1, {"flat": price}),))
