"""Readings in any order, late, doubled, bad, of a register that begins anew, under prices that change: what
was charged by differences is what all that counts costs, worked out by hand (C13-C17)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import reduce
from itertools import pairwise
from operator import add
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backend.charges.rules import Amounts, Hold, Point, Ruling, Stop
from backend.journeys.charge_rating import (
    Part,
    Rated,
    Timeline,
    amounts_to_date,
    segments_to_date,
    spans,
)
from backend.kernel.clock import CHINA
from backend.metering.rules import MeterKind
from backend.tariffs.calendar import Held
from backend.tariffs.rules import (
    Fee,
    Season,
    Step,
    StepPeriod,
    TariffKind,
    Terms,
    compile_terms,
)

from .priced_by_hand import HOURS, OPENED, Price, Stretch, cost, true_meter

_WHOLE = 1_000_000_000  # where a register of six digits of kWh begins anew
_PLAIN = Terms(TariffKind.ELECTRICITY, (Season(1, 1, {"flat": 6_001}),))
_STEPPED = Terms(
    TariffKind.ELECTRICITY,
    (
        Season(1, 1, {"flat": 5_283, "peak": 8_999, "valley": 3_001}),
        Season(11, 25, {"flat": 6_007, "spike": 9_901, "deep": 1_003}),
    ),
    steps=(Step(40_000, 1_003), Step(170_000, 3_001)),
    loss=Fee(share=333),
    public=Fee(per_unit=123),
    service=Fee(per_unit=77, share=11),
    monthly=310_007,
)
_YEARLY = replace(_STEPPED, step_period=StepPeriod.YEAR, year_starts_in=7, monthly=99_991)
_NEW_YEAR = replace(_YEARLY, year_starts_in=1, seasons=_PLAIN.seasons)
_TERMS = st.sampled_from((_PLAIN, _STEPPED, _YEARLY, _NEW_YEAR))
_SOON = st.integers(1, 150)


class Supply(RuleBasedStateMachine):
    """One meter of an account as charging knows it: readings, rulings, prices, months to date."""

    @initialize(terms=_TERMS, seed=st.integers(0, 9), left=st.integers(0, 300_000))
    def opens(self, terms: Terms, seed: int, left: int) -> None:
        """A meter begins to serve `left` Wh before its register begins anew."""
        self.true = true_meter(seed)
        self.opening = _WHOLE - 1 - left
        self.prices = [Price(OPENED, terms)]
        self.wrong: dict[
            int, Ruling | None
        ] = {}  # readings that went back, and what was ruled of each
        self.resets: list[tuple[int, int]] = []  # from an hour on, so much less is shown
        self.points = {0: self._shown(0)}
        self.uses: dict[date, list[tuple[int, ...]]] = {}
        self.until: dict[date, datetime] = {}
        self.posted: dict[date, Amounts] = {}
        self.charged = [Amounts()]
        self.rated = 0
        self.held = False
        self._timeline()

    @rule(after=_SOON, bands=st.booleans())
    def is_read(self, after: int, bands: bool) -> None:
        """The next reading comes: it adds to its months."""
        hour = min(max(self.points) + after, HOURS)
        if hour in self.points:
            return
        last = self.points[self.rated]
        self.points[hour] = self._shown(hour, bands=bands)
        if not self.held:
            rated, stop = spans((last, self.points[hour]), MeterKind.ELECTRICITY, {})
            assert stop is None
            self._add(rated)
            self.rated = hour

    @rule(hour=st.integers(1, HOURS), bands=st.booleans())
    def is_read_late(self, hour: int, bands: bool) -> None:
        """A reading of the past comes, or one that came before."""
        if hour > max(self.points):
            return
        charged = list(self.charged)
        again = hour in self.points
        self.points.setdefault(hour, self._shown(hour, bands=bands))
        self._rate_anew()
        assert not again or self.charged == charged, "the same reading twice was charged twice"

    @precondition(lambda self: max(self.points) < HOURS and not self.held)
    @rule(after=_SOON, less=st.integers(1, 10**6))
    def goes_back(self, after: int, less: int) -> None:
        """A frame tells less than the meter showed: nothing is charged until a person rules."""
        hour = min(max(self.points) + after, HOURS)
        shown = self.points[max(self.points)].total - less
        if shown < 0 or self._begins_anew(hour):
            return
        self.points[hour] = Point(_at(hour), shown)
        self.wrong[hour] = None
        self._hold(hour)

    @precondition(lambda self: max(self.points) < HOURS and not self.held)
    @rule(after=_SOON)
    def is_reset(self, after: int) -> None:
        """Somebody sets the register back: it goes on from half of what it showed."""
        hour = min(max(self.points) + after, HOURS)
        if self._begins_anew(hour):
            return
        half = self.points[max(self.points)].total // 2
        self.resets.append((hour, self._register(hour) - half))
        self.points[hour] = self._shown(hour)
        self.wrong[hour] = None
        self._hold(hour)

    @precondition(lambda self: self.held)
    @rule()
    def is_ruled_on(self) -> None:
        """A person says what of the first reading that went back: charging goes on."""
        hour = min(hour for hour, ruling in self.wrong.items() if ruling is None)
        reset = any(since == hour for since, _ in self.resets)
        self.wrong[hour] = Ruling.REBASE if reset else Ruling.IGNORE
        self._rate_anew()

    @rule(after=st.integers(1, 700), terms=_TERMS)
    def price_changes(self, after: int, terms: Terms) -> None:
        """Another version holds from a quarter past an hour on, also one that is rated already."""
        since = self.prices[-1].since + timedelta(hours=after, minutes=15)
        if since < _at(HOURS):
            self.prices.append(Price(since, terms))
            self._timeline()
            self._rate_anew()

    @invariant()
    def what_was_charged_is_what_it_costs(self) -> None:
        """By line, and with the days of the fixed fee."""
        counts = [hour for hour in sorted(self.points) if self.wrong.get(hour) is not Ruling.IGNORE]
        waits = [hour for hour, ruling in self.wrong.items() if ruling is None]
        counts = [hour for hour in counts if hour < min(waits, default=HOURS + 1)]
        stretches = [self._stretch(*pair) for pair in pairwise(counts)]
        assert reduce(Amounts.plus, self.charged) == cost(stretches, self.prices)

    def _stretch(self, start: int, end: int) -> Stretch:
        if end in self.wrong:  # use counts anew from it
            return Stretch(start, end, (0,) * 6)
        use = [b - a for a, b in zip(self.true[start], self.true[end], strict=True)]
        if None in self.points[start].bands + self.points[end].bands:
            use = [0] * 5 + [sum(use)]
        return Stretch(start, end, tuple(use))

    def _register(self, hour: int) -> int:
        less = sum(each for since, each in self.resets if since <= hour)
        return self.opening + sum(self.true[hour]) - less

    def _begins_anew(self, hour: int) -> bool:
        """Whether the register passes its end since the last reading: then less may be more."""
        return self._register(max(self.points)) // _WHOLE < self._register(hour) // _WHOLE

    def _shown(self, hour: int, *, bands: bool = True) -> Point:
        known = tuple((self.opening + wh) % _WHOLE for wh in self.true[hour][:5])
        return Point(_at(hour), self._register(hour) % _WHOLE, known if bands else (None,) * 5)

    def _timeline(self) -> None:
        held = [
            Held(price.since, compile_terms(price.terms, version=str(UUID(int=number))))
            for number, price in enumerate(self.prices)
        ]
        self.timeline = Timeline(tuple(held), CHINA)

    def _hold(self, hour: int) -> None:
        pair = (self.points[self.rated], self.points[hour])
        stop = Stop(pair[1].at, Hold.NEGATIVE)
        assert spans(pair, MeterKind.ELECTRICITY, {}) == ([], stop)
        self.held = True

    def _add(self, rated: list[Rated]) -> None:
        for part in (part for span in rated for part in self.timeline.parts(span)):
            self._use(part)
            self._post(part.month)

    def _use(self, part: Part) -> None:
        uses = self.uses.setdefault(part.month, [])
        uses += [(0,) * 6] * (part.place + 1 - len(uses))
        uses[part.place] = tuple(map(add, uses[part.place], part.use))
        self.until[part.month] = part.end

    def _post(self, month: date) -> None:
        plans = self.timeline.month(month)
        years = {
            place: sum(
                sum(map(sum, uses))
                for when, uses in self.uses.items()
                if _year(plan.terms, month) <= when < month
            )
            for place, plan in enumerate(plans.plans)
            if plan.terms.step_period is StepPeriod.YEAR
        }
        segments = segments_to_date(plans, self.uses[month], OPENED, self.until[month], years)
        amounts = amounts_to_date(segments)
        added = amounts.less(self.posted.get(month, Amounts()))
        if any(added):
            self.charged.append(added)
        self.posted[month] = amounts

    def _rate_anew(self) -> None:
        ruled = {_at(hour): ruling for hour, ruling in self.wrong.items() if ruling is not None}
        points = [self.points[hour] for hour in sorted(self.points)]
        rated, stop = spans(points, MeterKind.ELECTRICITY, ruled)
        self.uses, self.held = {}, stop is not None
        for part in (part for span in rated for part in self.timeline.parts(span)):
            self._use(part)
        for month in sorted(self.uses):
            self._post(month)
        self.rated = (rated[-1].end.at - OPENED) // timedelta(hours=1) if rated else 0


def _at(hour: int) -> datetime:
    return OPENED + timedelta(hours=hour)


def _year(terms: Terms, month: date) -> date:
    starts = terms.year_starts_in
    return date(month.year - (month.month < starts), starts, 1)


TestSupply = Supply.TestCase
TestSupply.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
