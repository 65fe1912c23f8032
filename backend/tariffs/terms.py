"""Terms of a tariff version: what they may be, and how they are kept as JSON.

Pure. Limits are beyond what anybody means, so that a slip of the comma is refused here; a price that is
possible but many times the former one is asked about (`jumps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any

from backend.kernel.band_calendar import BANDS, DaySlot
from backend.kernel.errors import InvalidInput
from backend.kernel.money import HAO_PER_YUAN

from .rules import (
    SHARE_UNIT,
    Fee,
    Season,
    Step,
    StepPeriod,
    TariffKind,
    Terms,
    band_prices,
)

JUMP = 10  # a price more than so many times the former one (or less than that part) wants a second look
MOST_PRICE = 1_000 * HAO_PER_YUAN  # a kWh or m3
MOST_MONTHLY = 100_000 * HAO_PER_YUAN
MOST_USE = 10**15  # base units of a step limit
# A meter's own table holds 14 slots a day, 12 or 14 seasons (meter-protocols.md); the cloud no more.
_MOST_SLOTS, _MOST_SEASONS, _MOST_PLANS, _MOST_STEPS, _MOST_DATES = 14, 14, 8, 8, 400
_LEAP_DAY = (2, 29)
_DAY_MINUTES = 24 * 60
FEES = ("loss", "public", "service")


def check_terms(terms: Terms) -> Terms:
    """The terms, when they can be priced whatever is used and whenever. Raises InvalidInput."""
    _check_day_plans(terms)
    _check_seasons(terms)
    _check_steps(terms)
    for name in FEES:
        fee: Fee = getattr(terms, name)
        _within(fee.per_unit, MOST_PRICE, f"{name}.perUnit")
        _within(fee.share, SHARE_UNIT, f"{name}.share")
    _within(terms.monthly, MOST_MONTHLY, "monthly")
    if len(terms.days) > _MOST_DATES:
        raise InvalidInput(f"a version names at most {_MOST_DATES} dates", field="days")
    for index in terms.days.values():
        _check_index(terms, index, "days")
    return terms


def _check_day_plans(terms: Terms) -> None:
    if not 1 <= len(terms.day_plans) <= _MOST_PLANS:
        raise InvalidInput(f"there are 1 to {_MOST_PLANS} day plans", field="dayPlans")
    for slots in terms.day_plans:
        if not 1 <= len(slots) <= _MOST_SLOTS or slots[0].minute != 0:
            raise InvalidInput(
                f"a day has 1 to {_MOST_SLOTS} slots, the first from 00:00", field="dayPlans"
            )
        for before, after in pairwise(slots):
            if not before.minute < after.minute < _DAY_MINUTES or before.band == after.band:
                raise InvalidInput(
                    "slots rise within the day, and neighbours differ", field="dayPlans"
                )
        if any(slot.band not in BANDS for slot in slots):
            raise InvalidInput(f"bands are {', '.join(BANDS)}", field="dayPlans")


def _check_seasons(terms: Terms) -> None:
    if not 1 <= len(terms.seasons) <= _MOST_SEASONS:
        raise InvalidInput(f"there are 1 to {_MOST_SEASONS} seasons", field="seasons")
    begins = [(season.month, season.day) for season in terms.seasons]
    if any(before >= after for before, after in pairwise(begins)):
        raise InvalidInput("seasons rise within the year", field="seasons")
    for season in terms.seasons:
        if (season.month, season.day) == _LEAP_DAY or not _is_day(season.month, season.day):
            raise InvalidInput("a season begins on a day that every year has", field="seasons")
        if "flat" not in season.prices or any(band not in BANDS for band in season.prices):
            raise InvalidInput("a season has a flat price, and only bands' prices", field="prices")
        for price in season.prices.values():
            _within(price, MOST_PRICE, "prices")
        _check_index(terms, season.workday, "seasons")
        _check_index(terms, season.weekend, "seasons")


def _check_steps(terms: Terms) -> None:
    if len(terms.steps) > _MOST_STEPS:
        raise InvalidInput(f"there are at most {_MOST_STEPS} steps", field="steps")
    limits = [0, *(step.above for step in terms.steps)]
    if any(before >= after for before, after in pairwise(limits)) or limits[-1] > MOST_USE:
        raise InvalidInput("the limits of steps rise, from above 0", field="steps")
    for step in terms.steps:
        _within(step.surcharge, MOST_PRICE, "steps")
    if not 1 <= terms.year_starts_in <= 12:
        raise InvalidInput("a step year begins in a month, 1 to 12", field="yearStartsIn")
    if terms.step_period is StepPeriod.MONTH and terms.year_starts_in != 1:
        raise InvalidInput("only a step year begins in a month of its own", field="yearStartsIn")


def _check_index(terms: Terms, index: int, name: str) -> None:
    if not 0 <= index < len(terms.day_plans):
        raise InvalidInput("no day plan has that number", field=name)


def _within(value: int, most: int, name: str) -> None:
    if not 0 <= value <= most:
        raise InvalidInput(f"{name} is 0 to {most}", field=name)


def _is_day(month: int, day: int) -> bool:
    try:
        date(2000, month, day)
    except ValueError:
        return False
    return True


def as_json(terms: Terms) -> dict[str, Any]:
    """The terms as they are kept; `terms_of` turns it back."""
    return {
        "kind": terms.kind.value,
        "seasons": [
            {
                "month": season.month,
                "day": season.day,
                "prices": {band: season.prices[band] for band in BANDS if band in season.prices},
                "workday": season.workday,
                "weekend": season.weekend,
            }
            for season in terms.seasons
        ],
        "day_plans": [[[slot.minute, slot.band] for slot in slots] for slots in terms.day_plans],
        "days": {day.isoformat(): index for day, index in sorted(terms.days.items())},
        "step_period": terms.step_period.value,
        "year_starts_in": terms.year_starts_in,
        "steps": [[step.above, step.surcharge] for step in terms.steps],
        **{name: _fee_json(getattr(terms, name)) for name in FEES},
        "monthly": terms.monthly,
    }


def _fee_json(fee: Fee) -> list[int]:
    return [fee.per_unit, fee.share]


def terms_of(kept: Mapping[str, Any]) -> Terms:
    """The terms out of what `as_json` made of them."""
    return Terms(
        kind=TariffKind(kept["kind"]),
        seasons=tuple(Season(**season) for season in kept["seasons"]),
        day_plans=tuple(
            tuple(DaySlot(minute, band) for minute, band in slots) for slots in kept["day_plans"]
        ),
        days={date.fromisoformat(day): index for day, index in kept["days"].items()},
        step_period=StepPeriod(kept["step_period"]),
        year_starts_in=kept["year_starts_in"],
        steps=tuple(Step(above, surcharge) for above, surcharge in kept["steps"]),
        loss=Fee(*kept["loss"]),
        public=Fee(*kept["public"]),
        service=Fee(*kept["service"]),
        monthly=kept["monthly"],
    )


def jumps(before: Terms | None, after: Terms) -> list[str]:
    """What of `after` is more than JUMP times what it was, or less than that part of it, in words for
    the review: a price typed a hundred times too high (or low) is seen before anybody pays it.

    Without a former version nothing can be compared; a price that came or went altogether is told too.
    """
    if before is None:
        return []
    old, new = _figures(before), _figures(after)
    told = []
    for name in old.keys() | new.keys():
        was, now = old.get(name, ()), new.get(name, ())
        if _jumped(was, now):
            told.append(f"{name}: {_worded(was)} -> {_worded(now)}")
    return sorted(told)


def _jumped(was: Sequence[int], now: Sequence[int]) -> bool:
    highest = (max(was, default=0), max(now, default=0))
    lowest = (min(was, default=0), min(now, default=0))
    return any(
        max(pair) > JUMP * min(pair)
        for pair in (highest, lowest)
        if max(pair) >= HAO_PER_YUAN // 100
    )


def _figures(terms: Terms) -> dict[str, tuple[int, ...]]:
    """The figures in hao (shares in 1/10,000) of each name, over all seasons."""
    bands = zip(*(band_prices(season) for season in terms.seasons), strict=True)
    found = dict(zip(BANDS, bands, strict=True))
    found["steps"] = tuple(step.surcharge for step in terms.steps)
    for name in FEES:
        fee: Fee = getattr(terms, name)
        found[f"{name} a unit"], found[f"{name} share"] = (fee.per_unit,), (fee.share,)
    found["monthly"] = (terms.monthly,)
    return found


def _worded(figures: Sequence[int]) -> str:
    return ", ".join(str(figure) for figure in sorted(set(figures))) or "none"
