"""What a tariff version says, as the schema shows and takes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

import strawberry

from backend.kernel.band_calendar import BANDS, DaySlot
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.tariffs.rules import (
    UNBANDED,
    Fee,
    Season,
    Step,
    StepPeriod,
    TariffKind,
    Terms,
    Use,
)

from .scalars import DecimalText, clock_of, minute_of, thousandths

strawberry.enum(TariffKind, description="What is sold: an account has one tariff of each.")
strawberry.enum(StepPeriod, description="After what the step counter begins anew.")

_DECIMAL = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?")


@strawberry.type(description="The price of a kWh or m³ in one rate band.")
class BandPrice:
    """分时电价."""

    band: str
    price: Money


@strawberry.type(description="Band prices and day plans from a day of each year on.")
class TariffSeason:
    """季节."""

    month: int
    day: int
    prices: list[BandPrice]
    workday: int = strawberry.field(description="Day plan of Monday to Friday, from 0.")
    weekend: int = strawberry.field(description="Day plan of Saturday and Sunday, from 0.")


@strawberry.type(description="From a time of day on use counts in a band.")
class TariffSlot:
    """时段."""

    start: str = strawberry.field(description="HH:MM")
    band: str


@strawberry.type(description="A date with a day plan of its own, whatever the weekday.")
class TariffDate:
    """节假日."""

    date: date
    day_plan: int


@strawberry.type(description="What use above a limit costs more than the band's price.")
class TariffStep:
    """阶梯加价."""

    above: DecimalText = strawberry.field(description="kWh or m³ in a step period.")
    surcharge: Money


@strawberry.type(description="A fee beside the energy price.")
class TariffFee:
    """附加费."""

    per_unit: Money = strawberry.field(description="Per kWh or m³ of use.")
    percent: DecimalText = strawberry.field(description="Of the energy and step amount.")


@strawberry.type(description="All that a tariff version says.")
class TariffTerms:
    """电价内容."""

    kind: TariffKind
    seasons: list[TariffSeason]
    day_plans: list[list[TariffSlot]]
    dates: list[TariffDate]
    step_period: StepPeriod
    year_starts_in: int
    steps: list[TariffStep]
    loss: TariffFee
    public: TariffFee
    service: TariffFee
    monthly: Money = strawberry.field(description="Fixed fee, borne by the day.")


@strawberry.input(description="The price of a kWh in one rate band.")
class BandPriceInput:
    """尖峰平谷深谷."""

    band: str = strawberry.field(description="spike, peak, flat, valley or deep")
    price: Money


@strawberry.input(description="See TariffSeason; flat is needed, other bands are optional.")
class TariffSeasonInput:
    """季节."""

    prices: list[BandPriceInput]
    month: int = 1
    day: int = 1
    workday: int = 0
    weekend: int = 0


@strawberry.input(description="See TariffSlot.")
class TariffSlotInput:
    """时段."""

    start: str
    band: str


@strawberry.input(description="See TariffDate.")
class TariffDateInput:
    """节假日."""

    date: date
    day_plan: int


@strawberry.input(description="See TariffStep.")
class TariffStepInput:
    """阶梯加价."""

    above: DecimalText
    surcharge: Money


@strawberry.input(description="See TariffFee.")
class TariffFeeInput:
    """附加费."""

    per_unit: Money = Money(0)
    percent: DecimalText = DecimalText("0")


@strawberry.input(description="What a tariff version is to say. Left out: none, or the plain case.")
class TariffTermsInput:
    """电价内容."""

    seasons: list[TariffSeasonInput]
    day_plans: list[list[TariffSlotInput]] | None = None
    dates: list[TariffDateInput] | None = None
    step_period: StepPeriod = StepPeriod.MONTH
    year_starts_in: int = 1
    steps: list[TariffStepInput] | None = None
    loss: TariffFeeInput | None = None
    public: TariffFeeInput | None = None
    service: TariffFeeInput | None = None
    monthly: Money = Money(0)


@strawberry.input(description="Use in one band; `unbanded` when no register tells the band.")
class BandUseInput:
    """用量."""

    quantity: DecimalText = strawberry.field(description="kWh or m³, at most three decimals.")
    band: str = UNBANDED


def terms_shown(terms: Terms) -> TariffTerms:
    """Terms as the schema shows them."""
    return TariffTerms(
        kind=terms.kind,
        seasons=[_season_shown(season) for season in terms.seasons],
        day_plans=slots_shown(terms.day_plans),
        dates=[TariffDate(date=day, day_plan=i) for day, i in sorted(terms.days.items())],
        step_period=terms.step_period,
        year_starts_in=terms.year_starts_in,
        steps=[
            TariffStep(above=thousandths(step.above), surcharge=Money(step.surcharge))
            for step in terms.steps
        ],
        loss=_fee_shown(terms.loss),
        public=_fee_shown(terms.public),
        service=_fee_shown(terms.service),
        monthly=Money(terms.monthly),
    )


def slots_shown(days: Sequence[Sequence[DaySlot]]) -> list[list[TariffSlot]]:
    """Days as the schema shows them."""
    return [
        [TariffSlot(start=clock_of(slot.minute), band=slot.band) for slot in day] for day in days
    ]


def slots_given(
    days: Sequence[Sequence[TariffSlotInput]], field: str
) -> tuple[tuple[DaySlot, ...], ...]:
    """Days as a caller means them. Raises InvalidInput (`field`) for a text that is no time of day."""
    return tuple(
        tuple(DaySlot(minute_of(slot.start, field), slot.band) for slot in day) for day in days
    )


def _season_shown(season: Season) -> TariffSeason:
    return TariffSeason(
        month=season.month,
        day=season.day,
        prices=[
            BandPrice(band=band, price=Money(season.prices[band]))
            for band in BANDS
            if band in season.prices
        ],
        workday=season.workday,
        weekend=season.weekend,
    )


def _fee_shown(fee: Fee) -> TariffFee:
    return TariffFee(per_unit=Money(fee.per_unit), percent=percent_text(fee.share))


def percent_text(share: int) -> DecimalText:
    """A share of 1/10,000 as percent."""
    return DecimalText(f"{share // 100}.{share % 100:02d}")


def terms_given(kind: TariffKind, given: TariffTermsInput) -> Terms:
    """The terms that a caller means. Raises InvalidInput for texts that are no numbers or times; the
    rest is checked by the tariff room."""
    plans = given.day_plans or [[TariffSlotInput(start="00:00", band="flat")]]
    return Terms(
        kind=kind,
        seasons=tuple(_season_given(season) for season in given.seasons),
        day_plans=slots_given(plans, "dayPlans"),
        days={each.date: each.day_plan for each in given.dates or ()},
        step_period=given.step_period,
        year_starts_in=given.year_starts_in,
        steps=tuple(
            Step(base_units(step.above, "steps"), step.surcharge.hao) for step in given.steps or ()
        ),
        loss=_fee_given(given.loss, "loss"),
        public=_fee_given(given.public, "public"),
        service=_fee_given(given.service, "service"),
        monthly=given.monthly.hao,
    )


def _season_given(given: TariffSeasonInput) -> Season:
    prices = {each.band: each.price.hao for each in given.prices}
    if len(prices) != len(given.prices):
        raise InvalidInput("a season prices each band once", field="prices")
    return Season(given.month, given.day, prices, given.workday, given.weekend)


def _fee_given(given: TariffFeeInput | None, name: str) -> Fee:
    if given is None:
        return Fee()
    thousandths_of_percent = base_units(given.percent, name)
    if thousandths_of_percent % 10:
        raise InvalidInput("a percent has at most two decimals", field=name)
    return Fee(given.per_unit.hao, thousandths_of_percent // 10)


def base_units(text: str, field: str) -> int:
    """A decimal text of kWh or m³ in base units. Raises InvalidInput unless it has at most three
    decimals and no sign."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InvalidInput("a decimal number with at most three decimals", field=field)
    whole, fraction = match.groups()
    return int(whole) * 1000 + int((fraction or "").ljust(3, "0"))


def use_given(given: list[BandUseInput]) -> Use:
    """Use by band. Raises InvalidInput: no such band, or one twice."""
    found: dict[str, int] = {}
    for each in given:
        if each.band not in (*BANDS, UNBANDED) or each.band in found:
            raise InvalidInput(f"each band once: {', '.join((*BANDS, UNBANDED))}", field="use")
        found[each.band] = base_units(each.quantity, "use")
    return Use(**found)
