"""Rate readings to what a month of a supply costs to date. Pure: tariffs' rules applied to charges' words.

A month to date is a function of its readings, its versions and its opening alone, whatever the order in
which readings came: use between neighbours is shared by time over the spans that versions, seasons and
months cut (C15), summed over the meters of the supply (C16), priced to date and rounded once a line (C2).
What is charged is the difference to what is posted (C13).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.charges.rules import Amounts, Hold, Point, Ruling, Stop
from backend.metering.rules import MeterKind, may_pass, register_gain
from backend.tariffs import calendar, rules
from backend.tariffs.calendar import Held
from backend.tariffs.rules import (
    NO_DAYS,
    NO_USE,
    Days,
    Line,
    LineKind,
    Plan,
    Segment,
    StepPeriod,
    Use,
    cost_to_date,
)

# Band registers are truncated to 10 Wh each, so five of them may be off by so much.
BANDS_AGREE = 50
_DAY = timedelta(days=1)
# A step is dearer energy: it stands in the line of energy.
_ENERGY, _STEP, _FIXED = LineKind.ENERGY, LineKind.STEP, LineKind.FIXED
_LOSS, _PUBLIC, _SERVICE = LineKind.LOSS, LineKind.PUBLIC, LineKind.SERVICE
NO_YEARS: Mapping[int, int] = {}
_NO_DAY = (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), date.max)


class Rated(NamedTuple):
    """Use between two readings, and how much of it no band register told."""

    start: Point
    end: Point
    use: Use


class Part(NamedTuple):
    """The share of a span that falls into one day, version and season. `place`: of its segment in the
    month; `shared`: the use is shared by time (an estimate of where it falls, C15)."""

    start: datetime
    end: datetime
    month: date
    day: date
    place: int
    use: Use
    shared: bool


def use_between(start: Point, end: Point, kind: MeterKind) -> Use | None:
    """Use between two readings of one assignment, by band as far as band registers tell it; None when a
    register went back (C14). It always adds up to what the total gained.

    What the bands do not tell is `unbanded` and costs the flat price (C17).
    """
    elapsed = end.at - start.at
    total = register_gain(start.total, end.total, kind=kind, elapsed=elapsed)
    if total is None:
        return None
    gains = [0] * 5
    known = False
    for place, before, after in zip(range(5), start.bands, end.bands, strict=True):
        if before is None or after is None:
            continue
        known = True
        if after >= before:  # mostly; what else it may be is register_gain's to say
            gains[place] = after - before
            continue
        gain = register_gain(before, after, kind=kind, elapsed=elapsed)
        if gain is None:
            return None
        gains[place] = gain
    if not known:
        return Use(unbanded=total)
    rest = total - sum(gains)
    if rest > 0:
        return Use(*(*gains, rest))
    if rest < -BANDS_AGREE:
        return Use(unbanded=total)
    if rest:
        gains[gains.index(max(gains))] += rest
        if min(gains) < 0:
            return Use(unbanded=total)
    return Use(*gains)


def spans(
    points: Iterable[Point], kind: MeterKind, rulings: Mapping[datetime, Ruling]
) -> tuple[list[Rated], Stop | None]:
    """Use between neighbours of rising readings, by what was ruled of those that went back or gained too
    much; and the first one of which nothing was ruled, where the rest has to wait (C14)."""
    found: list[Rated] = []
    last: Point | None = None
    for point in points:
        ruling = rulings.get(point.at) if rulings else None
        if ruling and ruling is Ruling.IGNORE:
            continue
        if last is not None:
            rebased = ruling and ruling is Ruling.REBASE
            use = NO_USE if rebased else use_between(last, point, kind)
            if use is None:
                return found, Stop(point.at, Hold.NEGATIVE)
            if ruling is not Ruling.COUNT and not may_pass(sum(use), kind, point.at - last.at):
                return found, Stop(point.at, Hold.TOO_FAST)
            found.append(Rated(last, point, use))
        last = point
    return found, None


class MonthPlan:
    """A month of a timeline as spans of one version and season; made once, for it is asked all the time.

    `midnights`: when each of its days begins, and the next month; `texts` and `versions`: how a segment's
    start and version are kept.
    """

    __slots__ = (
        "end",
        "ends",
        "midnights",
        "month",
        "plans",
        "seasons",
        "start",
        "starts",
        "texts",
        "versions",
        "yearly",
    )

    def __init__(self, timeline: Sequence[Held], month: date, zone: ZoneInfo) -> None:
        self.month = month
        length = (calendar.next_month(month) - month).days
        self.midnights = [
            calendar.midnight(month + timedelta(days=n), zone) for n in range(length + 1)
        ]
        self.start, self.end = self.midnights[0], self.midnights[-1]
        first = max(self.start, timeline[0].effective_at)
        self.starts = [first, *calendar.cuts(timeline, first, self.end, zone)]
        plans = [calendar.plan_at(timeline, start) for start in self.starts]
        self.plans: list[Plan] = [plan for plan in plans if plan is not None]
        self.seasons = [
            calendar.season_on(plan, start.astimezone(zone).date())
            for plan, start in zip(self.plans, self.starts, strict=True)
        ]
        self.yearly = any(plan.terms.step_period is StepPeriod.YEAR for plan in self.plans)
        self.ends = [*self.starts[1:], self.end]
        self.texts = [start.isoformat() for start in self.starts]
        self.versions = [UUID(plan.version) for plan in self.plans]

    def days_ended(self, start: datetime, end: datetime) -> Days:
        """`calendar.days_ended` of a span of this month, from midnights that are known already."""
        length = len(self.midnights) - 1
        before = bisect_right(self.midnights, start) - 1
        return Days(before, min(bisect_right(self.midnights, end) - 1, length), length)

    def place(self, at: datetime) -> int:
        """Which span an instant is in. Raises ValueError before the first one."""
        if at < self.starts[0]:
            raise ValueError("no tariff holds then")
        place = len(self.starts) - 1
        while self.starts[place] > at:
            place -= 1
        return place


class Timeline:
    """The plans that hold for a supply, in a zone, with its months made ready."""

    def __init__(self, held: tuple[Held, ...], zone: ZoneInfo) -> None:
        self.held = held
        self.zone = zone
        self.yearly = any(each.plan.terms.step_period is StepPeriod.YEAR for each in held)
        self._months: dict[date, MonthPlan] = {}
        self._day = _NO_DAY

    def month(self, month: date) -> MonthPlan:
        """A month as spans."""
        found = self._months.get(month)
        if found is None:
            found = self._months[month] = MonthPlan(self.held, month, self.zone)
        return found

    def holds(self, at: datetime) -> bool:
        """Whether any plan holds at an instant."""
        return bool(self.held) and self.held[0].effective_at <= at

    def parts(self, rated: Rated) -> list[Part]:
        """A span by days, versions and seasons; the use shared by time over them."""
        start, end, use = rated[0].at, rated[1].at, rated[2]
        day, day_end, month = self._day_of(start)
        place = month.place(start)
        if end <= day_end and end <= month.ends[place]:
            return [Part(start, end, month.month, day, place, use, False)]
        borders = {*calendar.day_borders(start, end, self.zone)}
        borders.update(calendar.cuts(self.held, start, end, self.zone))
        cuts = sorted(borders)
        uses = calendar.split_use(use, start, end, cuts)
        found = []
        for (begins, ends), share in zip(pairwise((start, *cuts, end)), uses, strict=True):
            day, _, month = self._day_of(begins)
            shared = share != NO_USE
            found.append(Part(begins, ends, month.month, day, month.place(begins), share, shared))
        return found

    def _day_of(self, at: datetime) -> tuple[date, datetime, MonthPlan]:
        """The business day of an instant, when it ends, and its month. Mostly it is the day asked before."""
        begins, ends, day = self._day
        if not begins <= at < ends:
            day = at.astimezone(self.zone).date()
            begins = calendar.midnight(day, self.zone)
            ends = calendar.midnight(day + _DAY, self.zone)
            self._day = begins, ends, day
        return day, ends, self.month(day.replace(day=1))


def segments_to_date(
    month: MonthPlan,
    uses: Sequence[Sequence[int]],
    opening: datetime,
    until: datetime,
    year_before: Mapping[int, int],
) -> list[Segment]:
    """The spans of a month that began before `until`, with their use (of as many as are given) and the days
    that ended in them since the supply's opening. `year_before`: use of the step year by place."""
    found = []
    given = len(uses)
    for place, start in enumerate(month.starts):
        if start >= until and place >= given:
            break
        begins, last = max(start, opening), min(month.ends[place], until)
        found.append(
            Segment(
                month.plans[place],
                month.seasons[place],
                Use._make(uses[place]) if place < given else NO_USE,
                month.days_ended(begins, last) if begins < last else NO_DAYS,
                year_before.get(place, 0),
            )
        )
    return found


def amounts_to_date(segments: Sequence[Segment]) -> Amounts:
    """What segments of a month cost to date, by line."""
    return _by_line(cost_to_date(segments))


def amounts_of(lines: Sequence[Line]) -> Amounts:
    """Lines of a price, by line of charges."""
    return _by_line(rules.amounts_of(lines))


def _by_line(of_kind: Mapping[LineKind, int]) -> Amounts:
    cost = of_kind.get
    return Amounts(
        cost(_ENERGY, 0) + cost(_STEP, 0),
        cost(_FIXED, 0),
        cost(_LOSS, 0),
        cost(_PUBLIC, 0),
        cost(_SERVICE, 0),
    )


def kept(segments: Sequence[Segment], month: MonthPlan) -> list[list[Any]]:
    """Segments as a month's row keeps them."""
    return [
        [text, plan.version, season, [*use], [*days], year_before]
        for text, (plan, season, use, days, year_before) in zip(month.texts, segments, strict=False)
    ]
