"""What use costs: a tariff's terms compiled to a plan, and the plan applied to a period to date.

Amounts are integers of hao (1/10,000 yuan), prices integers of hao per kWh (m3), use integers of the
meter's base unit (Wh, litres, Wh of heat), shares integers of 1/10,000. Nothing is a float.

Rounding (C2): each line of a period to date is rounded once, half up, to a whole hao. What is charged
later is the difference of two such lines, so fractions never add up and pricing a then b is pricing a+b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from operator import add
from typing import NamedTuple

from backend.kernel.band_calendar import BANDS, DaySlot

BASE_UNITS = 1000  # Wh in a kWh, litres in a m3: prices are per so many base units
SHARE_UNIT = 10_000  # shares are in 1/10,000
UNBANDED = "unbanded"


class TariffKind(StrEnum):
    """What is sold (A13: a household has one tariff of each)."""

    ELECTRICITY = "ELECTRICITY"
    WATER = "WATER"
    HEAT = "HEAT"


class StepPeriod(StrEnum):
    """After what the step counter begins anew: the calendar month, or twelve of them."""

    MONTH = "MONTH"
    YEAR = "YEAR"


class LineKind(StrEnum):
    """Lines in the order in which they are printed. ENERGY by band; STEP what a step adds to it; LOSS,
    PUBLIC and SERVICE the fees beside it, never hidden inside the price; FIXED the monthly fee."""

    ENERGY = "ENERGY"
    STEP = "STEP"
    LOSS = "LOSS"
    PUBLIC = "PUBLIC"
    SERVICE = "SERVICE"
    FIXED = "FIXED"


@dataclass(frozen=True, slots=True)
class Season:
    """From `month`/`day` of each year on: the price of each band, and the day plans (index) of working
    days (Monday to Friday) and of weekends.

    `prices` has flat at least. A band that is not named costs: peak and valley as flat, spike as peak,
    deep as valley; so use in a band that the tariff does not know has a price that was meant.
    """

    month: int
    day: int
    prices: Mapping[str, int]
    workday: int = 0
    weekend: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Use above `above` base units in a step period costs `surcharge` hao per kWh (m3) more than the
    band's price. The surcharge is the whole addition, not that to the step before."""

    above: int
    surcharge: int


@dataclass(frozen=True, slots=True)
class Fee:
    """A fee beside the energy price: `per_unit` hao per kWh (m3) of use, and `share` in 1/10,000 of the
    amount of its ENERGY and STEP lines."""

    per_unit: int = 0
    share: int = 0


NO_FEE = Fee()


@dataclass(frozen=True, slots=True)
class Terms:
    """All that a tariff version says. Checked by `terms.check_terms`; compiled by `compile_terms`.

    `seasons` rise within the year, the last one holds until the first begins. `day_plans`: rising slots
    from midnight. `days`: which day plan holds on a date, whatever the weekday (holidays, and working
    days moved to a weekend). `year_starts_in`: the month in which a step YEAR begins.
    """

    kind: TariffKind
    seasons: tuple[Season, ...]
    day_plans: tuple[tuple[DaySlot, ...], ...] = ((DaySlot(0, "flat"),),)
    days: Mapping[date, int] = field(default_factory=dict)
    step_period: StepPeriod = StepPeriod.MONTH
    year_starts_in: int = 1
    steps: tuple[Step, ...] = ()
    loss: Fee = NO_FEE
    public: Fee = NO_FEE
    service: Fee = NO_FEE
    monthly: int = 0


class Use(NamedTuple):
    """Use in base units by band. `unbanded`: no band register told its band; it costs the flat price
    and its line says so (C17)."""

    spike: int = 0
    peak: int = 0
    flat: int = 0
    valley: int = 0
    deep: int = 0
    unbanded: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)

    def plus(self, other: Use) -> Use:
        """Both together."""
        return Use(*map(add, self, other))


NO_USE = Use()


class Days(NamedTuple):
    """Days of one calendar month that ended: from `first` (days ended before) to `last`, of `length`."""

    first: int = 0
    last: int = 0
    length: int = 30


NO_DAYS = Days()


class Line(NamedTuple):
    """One line of a price. `detail`: the band of ENERGY (empty when all bands cost the same), the step
    of STEP (from 2), else empty. `quantity` in base units, days for FIXED. `price` in hao per kWh (m3),
    per month for FIXED. `share` in 1/10,000 of the energy amount. `amount` in hao."""

    kind: LineKind
    detail: str
    quantity: int
    price: int
    share: int
    amount: int


_Priced = tuple[LineKind, str, int, int, int, int]  # a Line in the making


@dataclass(frozen=True, slots=True)
class Plan:
    """Terms made ready to price fast. `version`: the caller's name of it, kept with what it priced."""

    version: str
    terms: Terms
    # A season: one price for all bands as ((("", price, None)),), else (name, price, place in Use).
    prices: tuple[tuple[tuple[str, int, int | None], ...], ...]
    # A step: (its number, where it begins, where it ends or None, its surcharge).
    steps: tuple[tuple[str, int, int | None, int], ...]
    fees: tuple[tuple[LineKind, int, int], ...]
    monthly: int


class Segment(NamedTuple):
    """A part of a month in which one plan and season hold: the use in it and the days that ended in it.

    `year_before`: base units used from the start of the plan's step year to the start of the month
    (0 for a plan without yearly steps).
    """

    plan: Plan
    season: int
    use: Use
    days: Days = NO_DAYS
    year_before: int = 0


class Position(NamedTuple):
    """Where a usage starts from: `step_before` base units used in the step period before the segment,
    `use_before` already used in it."""

    season: int = 0
    step_before: int = 0
    use_before: Use = NO_USE


START = Position()


def compile_terms(terms: Terms, *, version: str = "") -> Plan:
    """Make terms ready to price; do it once a version. The terms must have been checked."""
    steps = [
        (
            str(number),
            step.above,
            terms.steps[number - 1].above if number - 1 < len(terms.steps) else None,
            step.surcharge,
        )
        for number, step in enumerate(terms.steps, start=2)
    ]
    fees = (
        (LineKind.LOSS, terms.loss),
        (LineKind.PUBLIC, terms.public),
        (LineKind.SERVICE, terms.service),
    )
    return Plan(
        version=version,
        terms=terms,
        prices=tuple(_priced_bands(season) for season in terms.seasons),
        steps=tuple(step for step in steps if step[3]),
        fees=tuple((kind, fee.per_unit, fee.share) for kind, fee in fees if fee != NO_FEE),
        monthly=terms.monthly,
    )


def band_prices(season: Season) -> tuple[int, int, int, int, int]:
    """The price of each of BANDS in hao per kWh, those included that the season does not name."""
    flat = season.prices["flat"]
    peak, valley = season.prices.get("peak", flat), season.prices.get("valley", flat)
    spike, deep = season.prices.get("spike", peak), season.prices.get("deep", valley)
    return spike, peak, flat, valley, deep


def _priced_bands(season: Season) -> tuple[tuple[str, int, int | None], ...]:
    prices = band_prices(season)
    if len(set(prices)) == 1:
        return (("", prices[0], None),)
    named = zip((*BANDS, UNBANDED), (*prices, season.prices["flat"]), strict=True)
    return tuple((name, price, place) for place, (name, price) in enumerate(named))


# By names of their own: an enum's attribute costs Python 3.11 as much as a call.
_ENERGY, _STEP, _FIXED = LineKind.ENERGY, LineKind.STEP, LineKind.FIXED


def price_segment(segment: Segment, step_before: int) -> tuple[Line, ...]:
    """The lines of a segment to date; `step_before`: base units of its step period before it began.

    A line whose amount is nothing because nothing was used is left out. Raises ValueError for negative
    use: that is a hold, never a charge (C14).
    """
    return tuple(map(Line._make, _priced(segment, step_before)))


def _priced(segment: Segment, step_before: int) -> list[_Priced]:
    """The lines as plain tuples: charging wants their amounts alone, a hundred thousand times."""
    plan, season, use, days, _ = segment
    if min(use) < 0 or step_before < 0:
        raise ValueError("use is never negative")
    total = sum(use)
    lines: list[_Priced] = []
    energy = 0
    if total:
        for name, price, place in plan.prices[season]:
            quantity = total if place is None else use[place]
            if quantity:
                amount = (quantity * price * 2 + BASE_UNITS) // (2 * BASE_UNITS)
                energy += amount
                lines.append((_ENERGY, name, quantity, price, 0, amount))
        after = step_before + total
        for number, begins, ends, surcharge in plan.steps:
            top = after if ends is None or after < ends else ends
            quantity = top - (begins if begins > step_before else step_before)
            if quantity > 0:
                amount = (quantity * surcharge * 2 + BASE_UNITS) // (2 * BASE_UNITS)
                energy += amount
                lines.append((_STEP, number, quantity, surcharge, 0, amount))
        for kind, per_unit, share in plan.fees:
            parts = total * per_unit * (SHARE_UNIT // BASE_UNITS) + energy * share
            amount = (parts * 2 + SHARE_UNIT) // (2 * SHARE_UNIT)
            lines.append((kind, "", total, per_unit, share, amount))
    if plan.monthly and days.last > days.first:
        amount = _prorated(plan.monthly, days.last, days) - _prorated(
            plan.monthly, days.first, days
        )
        lines.append((_FIXED, "", days.last - days.first, plan.monthly, 0, amount))
    return lines


def _prorated(monthly: int, ended: int, days: Days) -> int:
    """The fee of the first `ended` days of the month. Differences of it, so that the days of a month
    make up its whole fee, whoever bears which of them."""
    return (monthly * ended * 2 + days.length) // (2 * days.length)


def price_to_date(segments: Sequence[Segment]) -> tuple[tuple[Line, ...], ...]:
    """The lines of each segment of one month to date, in order of time, each with its step position
    behind those before it (C13, C16)."""
    found = []
    used = 0
    for segment in segments:
        found.append(price_segment(segment, segment.year_before + used))
        used += sum(segment.use)
    return tuple(found)


def cost_to_date(segments: Sequence[Segment]) -> dict[LineKind, int]:
    """What the lines of `price_to_date` come to, in hao by kind of line; kinds without a line are absent."""
    found: dict[LineKind, int] = {}
    used = 0
    for segment in segments:
        for kind, _, _, _, _, amount in _priced(segment, segment.year_before + used):
            found[kind] = found.get(kind, 0) + amount
        used += sum(segment.use)
    return found


def price_usage(
    plan: Plan, use: Use, position: Position = START, days: Days = NO_DAYS
) -> tuple[Line, ...]:
    """The lines of `use` on top of a position: the price to date after it less that before it (C16).

    Raises ValueError for negative use.
    """
    if min(use) < 0:
        raise ValueError("use is never negative")
    season, step_before, use_before = position
    after = Segment(plan, season, use_before.plus(use), days)
    lines = price_segment(after, step_before)
    if use_before == NO_USE:
        return lines
    return difference(lines, price_segment(Segment(plan, season, use_before), step_before))


def difference(after: Sequence[Line], before: Sequence[Line]) -> tuple[Line, ...]:
    """What the lines of one segment grew by (or fell, when late readings correct it), by kind and detail;
    those that did not change are left out."""
    old = {line[:2]: line for line in before}
    found = []
    for line in after:
        kind, detail, quantity, price, share, amount = line
        was = old.pop((kind, detail), None)
        if was is None:
            found.append(line)
        elif quantity != was[2] or amount != was[5]:
            found.append(Line(kind, detail, quantity - was[2], price, share, amount - was[5]))
    for kind, detail, quantity, price, share, amount in old.values():
        found.append(Line(kind, detail, -quantity, price, share, -amount))
    return tuple(found)


def amounts_of(lines: Sequence[Line]) -> dict[LineKind, int]:
    """Hao by kind of line; kinds without a line are absent."""
    found: dict[LineKind, int] = {}
    for line in lines:
        found[line.kind] = found.get(line.kind, 0) + line.amount
    return found


def total_of(lines: Sequence[Line]) -> int:
    """Hao of all lines."""
    return sum(line.amount for line in lines)


def step_of(plan: Plan, used: int) -> int:
    """The step (from 1) that the next base unit falls in when `used` were used in the step period."""
    return 1 + sum(used >= step.above for step in plan.terms.steps)
