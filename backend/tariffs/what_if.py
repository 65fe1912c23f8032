"""What a month would have cost by a draft, beside what it costs by the versions that held. Pure.

An estimate for a decision, from daily use: no charge is made of it. A day that a version change cuts is
shared by time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from backend.kernel.clock import CHINA

from .calendar import Held, Piece, midnight, next_month, pieces, split_use, step_period_start
from .rules import NO_USE, Line, Plan, Segment, StepPeriod, Use, price_to_date, total_of


@dataclass(frozen=True, slots=True)
class MonthUse:
    """What an account used: `days` of the month by band, and the totals of `months` before it by their
    first day (base units)."""

    days: Mapping[date, Use]
    months: Mapping[date, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compared:
    """What the month costs by the versions that held, and by the draft, over the same span of it; hao."""

    before: int
    after: int

    @property
    def more(self) -> int:
        """How much more the draft costs; negative when less."""
        return self.after - self.before


def compare(
    timeline: Sequence[Held], draft: Plan, use: MonthUse, month: date, zone: ZoneInfo = CHINA
) -> Compared | None:
    """The month by what held and by the draft, from when on a price held; None when none did.

    `month`: its first day.
    """
    start, end = midnight(month, zone), midnight(next_month(month), zone)
    held = [each for each in timeline if each.effective_at < end]
    if not held:
        return None
    start = max(start, held[0].effective_at)
    before = price_span(held, use, start, end, zone)
    after = price_span([Held(start, draft)], use, start, end, zone)
    return Compared(total_of(before), total_of(after))


def price_span(
    timeline: Sequence[Held], use: MonthUse, start: datetime, end: datetime, zone: ZoneInfo = CHINA
) -> tuple[Line, ...]:
    """The lines of a span of one month by the plans that hold in it."""
    parts = pieces(timeline, start, end, zone)
    found = [NO_USE] * len(parts)
    begins = [part.start for part in parts]
    for day, used in use.days.items():
        first, last = max(midnight(day, zone), start), midnight(day + timedelta(days=1), zone)
        if first >= last:
            continue  # the day ended before any price held
        inside = [cut for cut in begins if first < cut < last]
        shared = split_use(used, first, last, inside)
        for at, share in zip((first, *inside), shared, strict=True):
            place = bisect_right(begins, at) - 1
            found[place] = found[place].plus(share)
    segments = [_segment(part, used, use) for part, used in zip(parts, found, strict=True)]
    return tuple(line for lines in price_to_date(segments) for line in lines)


def _segment(part: Piece, used: Use, use: MonthUse) -> Segment:
    before = 0
    if part.plan.terms.step_period is StepPeriod.YEAR:
        since = step_period_start(part.plan, part.month)
        before = sum(total for month, total in use.months.items() if since <= month < part.month)
    return Segment(part.plan, part.season, used, part.days, before)
