"""What the next unit costs at an instant, and when that changes: what a tenant asks for. Pure.

Not what is charged: charging prices a month to date, with its own rounding (rules).
"""

from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from backend.kernel.band_calendar import BANDS
from backend.kernel.clock import CHINA

from .calendar import band_at, day_plan_on, season_on
from .rules import SHARE_UNIT, Plan, band_prices, step_of

_DAY = 1440  # minutes


class BandPrice(NamedTuple):
    """What a unit costs in a band, in hao per kWh (m3), and the spans of the day (minutes, from and to)."""

    band: str
    price: int
    spans: tuple[tuple[int, int], ...]


class Present(NamedTuple):
    """What holds at an instant: the band (empty when all cost the same) until a minute of the day (1440:
    midnight), what a unit costs all in all, the bands of the day; the step (from 1), how much more use
    (base units) leads into the next one (None: it is the last), and the monthly fee in hao."""

    band: str
    until: int
    price: int
    bands: tuple[BandPrice, ...]
    step: int
    steps: int
    left: int | None
    monthly: int


def present(plan: Plan, at: datetime, *, used: int | None, zone: ZoneInfo = CHINA) -> Present:
    """What a plan says at an instant, when `used` base units were used in the step period.

    `used` None: at a meter that holds its money, which knows the prices of bands and nothing else.
    """
    local = at.astimezone(zone)
    day, minute = local.date(), 60 * local.hour + local.minute
    season = plan.terms.seasons[season_on(plan, day)]
    price_of = dict(zip(BANDS, band_prices(season), strict=True))
    spans = _spans(plan, day)
    step = 1 if used is None else step_of(plan, used)
    adds = plan.terms.steps[step - 2].surcharge if step > 1 else 0
    above = [each.above for each in plan.terms.steps]
    left = None if used is None or step > len(above) else above[step - 1] - used

    def whole(price: int) -> int:
        return price if used is None else _with_fees(plan, price + adds)

    alike = len({price_of[band] for band, _, _ in spans}) == 1
    bands = tuple(
        BandPrice(
            band, whole(price_of[band]), tuple((a, b) for name, a, b in spans if name == band)
        )
        for band in BANDS
        if any(name == band for name, _, _ in spans)
    )
    band = band_at(plan, at, zone)
    return Present(
        band="" if alike else band,
        until=next(end for _, start, end in spans if start <= minute < end),
        price=whole(price_of[band]),
        bands=() if alike else bands,
        step=step,
        steps=1 if used is None else len(above) + 1,
        left=left,
        monthly=0 if used is None else plan.monthly,
    )


def _spans(plan: Plan, day: date) -> list[tuple[str, int, int]]:
    """A day as (band, from, to); slots of one band that meet are one."""
    slots = day_plan_on(plan, day)
    found: list[tuple[str, int, int]] = []
    for (start, band), (end, _) in pairwise([*((s.minute, s.band) for s in slots), (_DAY, "")]):
        if found and found[-1][0] == band:
            found[-1] = (band, found[-1][1], end)
        else:
            found.append((band, start, end))
    return found


def _with_fees(plan: Plan, price: int) -> int:
    """A unit with the fees beside it, half up to a whole hao."""
    parts = price * SHARE_UNIT
    for _, per_unit, share in plan.fees:
        parts += per_unit * SHARE_UNIT + price * share
    return (parts * 2 + SHARE_UNIT) // (2 * SHARE_UNIT)
