"""Tariff terms, use and spans as hypothesis draws them, and one tariff that an operator would know."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from backend.kernel.band_calendar import BANDS, DaySlot
from backend.tariffs.rules import (
    Days,
    Fee,
    Season,
    Step,
    StepPeriod,
    TariffKind,
    Terms,
    Use,
)

# How fast a busy machine draws and prices is no property of a tariff.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
prices = st.integers(0, 30_000)
quantities = st.integers(0, 10**9) | st.integers(0, 2**63)
uses = st.builds(Use, *[quantities] * 6)
fees = st.builds(Fee, st.integers(0, 5_000), st.integers(0, 10_000))


@st.composite
def day_plans(draw: st.DrawFn) -> tuple[DaySlot, ...]:
    """Rising slots from midnight, no equal neighbours."""
    minutes = sorted(draw(st.sets(st.integers(1, 1439), max_size=4)))
    slots = [DaySlot(0, draw(st.sampled_from(BANDS)))]
    for minute in minutes:
        others = [band for band in BANDS if band != slots[-1].band]
        slots.append(DaySlot(minute, draw(st.sampled_from(others))))
    return tuple(slots)


@st.composite
def seasons(draw: st.DrawFn, plans: int) -> tuple[Season, ...]:
    """Rising seasons; bands other than flat may be left out."""
    begins = sorted(
        draw(st.sets(st.tuples(st.integers(1, 12), st.integers(1, 28)), min_size=1, max_size=3))
    )
    index = st.integers(0, plans - 1)
    named = st.dictionaries(st.sampled_from(BANDS), prices)
    return tuple(
        Season(month, day, {"flat": draw(prices), **draw(named)}, draw(index), draw(index))
        for month, day in begins
    )


@st.composite
def terms(draw: st.DrawFn, *, calendar: bool = True) -> Terms:
    """Any terms that the check lets pass; without a `calendar` no day plan but the flat one, for what
    only prices: drawing is what takes the time."""
    plans: tuple[tuple[DaySlot, ...], ...] = ((DaySlot(0, "flat"),),)
    days: dict[date, int] = {}
    if calendar:
        plans = tuple(draw(st.lists(day_plans(), min_size=1, max_size=2)))
        days = draw(st.dictionaries(st.dates(), st.integers(0, len(plans) - 1), max_size=2))
    limits = sorted(draw(st.sets(st.integers(1, 10**7), max_size=3)))
    period = draw(st.sampled_from(list(StepPeriod)))
    return Terms(
        kind=draw(st.sampled_from(list(TariffKind))),
        seasons=draw(seasons(len(plans))),
        day_plans=plans,
        days=days,
        step_period=period,
        year_starts_in=draw(st.integers(1, 12)) if period is StepPeriod.YEAR else 1,
        steps=tuple(Step(limit, draw(prices)) for limit in limits),
        loss=draw(fees),
        public=draw(fees),
        service=draw(fees),
        monthly=draw(st.integers(0, 10**6)),
    )


@st.composite
def month_days(draw: st.DrawFn) -> Days:
    """Some days of a month."""
    length = draw(st.integers(28, 31))
    first = draw(st.integers(0, length))
    return Days(first, draw(st.integers(first, length)), length)


@st.composite
def spans(draw: st.DrawFn, longest: timedelta = timedelta(days=800)) -> tuple[datetime, datetime]:
    """A start and a later end, UTC."""
    start = datetime(2023, 1, 1, tzinfo=UTC) + draw(
        st.timedeltas(timedelta(0), timedelta(days=2200))
    )
    micros = draw(st.integers(1, longest // timedelta(microseconds=1)))
    return start, start + timedelta(microseconds=micros)


# A household's tariff in the form of Chinese residential prices: three yearly steps on a peak-valley price.
HOUSEHOLD = Terms(
    kind=TariffKind.ELECTRICITY,
    seasons=(
        Season(1, 1, {"flat": 5_283, "peak": 5_583, "valley": 3_583}),
        Season(7, 1, {"flat": 5_283, "spike": 8_000, "peak": 5_583, "valley": 3_583}, workday=1),
        Season(9, 1, {"flat": 5_283, "peak": 5_583, "valley": 3_583}),
    ),
    day_plans=(
        (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(1320, "valley")),
        (DaySlot(0, "valley"), DaySlot(480, "peak"), DaySlot(840, "spike"), DaySlot(1020, "peak"),
         DaySlot(1320, "valley")),
    ),
    step_period=StepPeriod.YEAR,
    steps=(Step(2_760_000, 500), Step(4_800_000, 3_000)),
)  # fmt: skip
