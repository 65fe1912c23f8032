"""What a month costs, worked out from a true meter and a calendar in fractions: nothing of ours is called.

The meter is read on whole hours. Its use runs on by the hour, by band and partly outside every band.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import cache
from itertools import pairwise, zip_longest
from typing import NamedTuple

from backend.charges.rules import Amounts
from backend.kernel.band_calendar import BANDS
from backend.tariffs.rules import StepPeriod, Terms

OPENED = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
HOURS = 24 * 55  # to the middle of January
_CHINA = timedelta(hours=8)
_HOUR = timedelta(hours=1)
_STAND_IN = {"spike": "peak", "peak": "flat", "valley": "flat", "deep": "valley"}


class Price(NamedTuple):
    """From an instant on, these terms hold."""

    since: datetime
    terms: Terms


class Stretch(NamedTuple):
    """Use between two readings that count; `banded`: its bands are known."""

    start: int  # hours since OPENED
    end: int
    use: tuple[int, ...]


@cache
def true_meter(seed: int) -> list[tuple[int, ...]]:
    """What was used by each hour since OPENED: Wh by band, and outside bands."""
    chance = random.Random(seed)
    found: list[tuple[int, ...]] = [(0,) * 6]
    for _ in range(HOURS):
        found.append(tuple(wh + chance.choice((0, 0, 7, 120, 431)) for wh in found[-1]))
    return found


def cost(stretches: Sequence[Stretch], prices: Sequence[Price]) -> Amounts:
    """All that use costs, by line."""
    total = Amounts()
    if stretches:
        last = _at(stretches[-1].end)
        used: dict[date, int] = {}
        month = _local(OPENED).replace(day=1)
        while _midnight(month) < last:
            following = _next_month(month)
            end = min(last, _midnight(following))
            total = total.plus(_month(stretches, prices, month, end, used))
            month = following
    return total


def _month(
    stretches: Sequence[Stretch],
    prices: Sequence[Price],
    month: date,
    end: datetime,
    used: dict[date, int],
) -> Amounts:
    start = max(_midnight(month), OPENED)
    length = (_next_month(month) - month).days
    borders = sorted(
        {start, end, *(each for each in _borders(prices, month) if start < each < end)}
    )
    amounts = [0] * 5
    in_month = 0
    for begins, ends in pairwise(borders):
        terms = [price.terms for price in prices if price.since <= begins][-1]
        use = [
            b - a
            for a, b in zip(_used_by(stretches, begins), _used_by(stretches, ends), strict=True)
        ]
        before = in_month + (
            _used_in_year(used, terms, month) if terms.step_period is StepPeriod.YEAR else 0
        )
        in_month += sum(use)
        first = _local(begins).day - 1
        ended = _local(ends).day - 1 if _local(ends).month == month.month else length
        for line, amount in enumerate(_lines(terms, begins, use, before)):
            amounts[line] += amount
        amounts[1] += _half_up(Fraction(terms.monthly * ended, length))
        amounts[1] -= _half_up(Fraction(terms.monthly * first, length))
    used[month] = in_month
    return Amounts(*amounts)


def _lines(terms: Terms, at: datetime, use: list[int], before: int) -> tuple[int, ...]:
    begun = [
        each
        for each in terms.seasons
        if (each.month, each.day) <= (_local(at).month, _local(at).day)
    ]
    season = (begun or terms.seasons)[-1]

    def price(band: str) -> int:
        return season.prices[band] if band in season.prices else price(_STAND_IN[band])

    named = [price(band) for band in BANDS] + [price("flat")]
    total = sum(use)
    if len(set(named)) == 1:
        energy = _half_up(Fraction(total * named[0], 1000))
    else:
        energy = sum(_half_up(Fraction(u * p, 1000)) for u, p in zip(use, named, strict=True))
    tops = [step.above for step in terms.steps[1:]] + [before + total]
    for step, top in zip(terms.steps, tops, strict=False):
        inside = min(before + total, top) - max(before, step.above)
        energy += _half_up(Fraction(max(0, inside) * step.surcharge, 1000))
    fees = [
        _half_up(Fraction(total * fee.per_unit, 1000) + Fraction(energy * fee.share, 10_000))
        for fee in (terms.loss, terms.public, terms.service)
    ]
    return energy, 0, *fees


def _used_in_year(used: dict[date, int], terms: Terms, month: date) -> int:
    year = month.year if month.month >= terms.year_starts_in else month.year - 1
    return sum(
        wh for each, wh in used.items() if date(year, terms.year_starts_in, 1) <= each < month
    )


def _used_by(stretches: Sequence[Stretch], at: datetime) -> list[int]:
    """Use until an instant: that of the stretch it lies in is shared by time, whole Wh rounded down."""
    found = [0] * 6
    seconds = (at - OPENED) // timedelta(seconds=1)
    for stretch in stretches:
        length = 3600 * (stretch.end - stretch.start)
        passed = min(length, seconds - 3600 * stretch.start)
        if passed > 0:
            found = [
                a + each * passed // length for a, each in zip(found, stretch.use, strict=True)
            ]
    return found


def _borders(prices: Sequence[Price], month: date) -> list[datetime]:
    """Where versions, and the seasons of the version that holds then, begin in a month."""
    found = [price.since for price in prices]
    for price, after in zip_longest(prices, prices[1:]):
        begin = [_midnight(date(month.year, each.month, each.day)) for each in price.terms.seasons]
        found += [at for at in begin if price.since <= at and (after is None or at < after.since)]
    return found


def _half_up(amount: Fraction) -> int:
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def _at(hour: int) -> datetime:
    return OPENED + hour * _HOUR


def _local(at: datetime) -> date:
    return (at + _CHINA).date()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) - _CHINA


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
