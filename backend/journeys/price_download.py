"""Prices and the hours of their bands reach the meters that hold their own money: wanted, sent by command,
read back, tried again (A14).

A meter holds one price a band, and year zones with a day table each. What it cannot hold (steps, fees beside
the price, a monthly fee, a band that its model has not, other hours at weekends) is never sent in part: the
meter stays a laggard, and a case tells why. A tariff that tells no hours leaves the meter's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.alerts.operations import NewCase, close_cases, open_cases
from backend.control import prices as control
from backend.control.command_rules import CommandKind, Given, Order, order_of
from backend.control.price_rules import LAGS_FOR, calendar_for, prices_for
from backend.control.prices import MeterPrices, Wanted
from backend.kernel.band_calendar import BANDS, calendar_of
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.kernel.scope import Actor
from backend.metering import queries as metering
from backend.metering.prepaid import PrepaidMeter, prepaid_meters
from backend.metering.rules import MeterKind, MeterModel
from backend.tariffs.calendar import meter_hours, plan_at, season_on
from backend.tariffs.queries import timelines
from backend.tariffs.rules import NO_FEE, Plan, TariffKind, band_prices

from .command import ask

CASE_KIND = "METER_PRICES_LAG"
MOST_SENT = 500  # a pass; the rest waits for the next one
_PAGE = 2_000
_MOST_CASES = 1_000
_SENDER = Actor("system", "worker", "price download")
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a pass did: meters whose prices are others than before, commands sent, cases opened."""

    wanted: int
    sent: int
    cases: int


async def download_prices(
    *, group_id: int, models: Mapping[str, MeterModel], at: datetime
) -> Downloaded:
    """Compare what each METER-mode electricity meter should hold with what it was read to hold, and send
    what differs. Called again and again by the clock; doing it twice sends nothing twice."""
    wanted, after = 0, None
    while True:
        async with unit_of_work(group_id) as work:
            changed, after = await _want_page(work, models, after, at)
        wanted += changed
        if after is None:
            break
    async with unit_of_work(group_id) as work:
        learnt = await control.learn_prices(work, at=at)
        await _close(work, await control.caught_up(work, meter_ids=learnt), at)
    sent = await _send_due(group_id, models, at)
    async with unit_of_work(group_id) as work:
        lagging = await control.long_lagging(work, since=at - LAGS_FOR, limit=_MOST_CASES)
        opened = await open_cases(work, cases=[_case_of(each) for each in lagging], at=at)
    return Downloaded(wanted, sent, opened)


async def _want_page(
    work: UnitOfWork, models: Mapping[str, MeterModel], after: UUID | None, at: datetime
) -> tuple[int, UUID | None]:
    """A page of meters: for how many something new is wanted, and where the next page begins."""
    meters = await prepaid_meters(work, kind=MeterKind.ELECTRICITY, after=after, limit=_PAGE)
    last = meters[-1].id if len(meters) == _PAGE else None
    wanted = await _wanted(work, meters, models, at)
    kept = [each.meter_id for each in wanted]
    gone = await control.forget_prices(work, after=after, last=last, kept=kept)
    changed = await control.want_prices(work, wanted=wanted, at=at)
    await _close(work, [*gone, *await control.caught_up(work, meter_ids=changed)], at)
    return len(changed), last


async def _wanted(
    work: UnitOfWork,
    meters: Sequence[PrepaidMeter],
    models: Mapping[str, MeterModel],
    at: datetime,
) -> list[Wanted]:
    """What each meter is to hold now; a meter whose account pays by no tariff is left out."""
    held = await timelines(
        work,
        account_ids=list({meter.account_id for meter in meters}),
        kind=TariffKind.ELECTRICITY,
        until=at + _INSTANT,
    )
    found = []
    known: dict[tuple[str, date, str], tuple[dict[str, int], dict[str, int], str]] = {}
    for meter in meters:
        plan = plan_at(held.get(meter.account_id, ()), at)
        if plan is None:
            continue
        day = at.astimezone(ZoneInfo(meter.time_zone)).date()
        key = plan.version, day, meter.profile
        if key not in known:
            known[key] = wanted_of(plan, day, models.get(meter.profile))
        found.append(Wanted(meter.project_id, meter.id, UUID(plan.version), *known[key]))
    return found


def wanted_of(
    plan: Plan, day: date, model: MeterModel | None
) -> tuple[dict[str, int], dict[str, int], str]:
    """The prices and the calendar that a meter of a model is to hold from a day on, and why it cannot; empty
    when it can."""
    terms, bands = plan.terms, model.price_bands if model else ()
    hours, beyond_hours = meter_hours(plan, day)
    calendar = calendar_for(bands, hours)
    beyond = {
        "steps": any(step.surcharge for step in terms.steps),
        "fees": any(fee != NO_FEE for fee in (terms.loss, terms.public, terms.service)),
        "a monthly fee": terms.monthly > 0,
        beyond_hours: beyond_hours != "",
        "hours of its bands": calendar and not (model and model.keeps_calendar),
    }
    cannot = [name for name, there in beyond.items() if there]
    by_band = dict(zip(BANDS, band_prices(terms.seasons[season_on(plan, day)]), strict=True))
    prices, unfit = prices_for(bands, by_band)
    if cannot:
        unfit = f"a meter's own price cannot hold {', '.join(cannot)}"
    if not unfit:
        try:
            _prices_order(prices)
        except InvalidInput as refused:
            unfit = refused.message
    return prices, calendar, unfit


def _order(due: MeterPrices) -> Order:
    """What of it is to be sent next: hours first, so that a meter whose bands cost the same until now never
    counts by new prices at the hours of its installer. Raises InvalidInput."""
    if due.desired_calendar in ({}, due.actual_calendar):
        return _prices_order(due.desired_prices)
    return order_of(
        kind=CommandKind.CALENDAR,
        reason="hours of the tariff in force",
        given=Given(calendar=calendar_of(due.desired_calendar)),
    )


def _prices_order(prices: Mapping[str, int]) -> Order:
    """Raises InvalidInput: a price that no meter is told."""
    return order_of(
        kind=CommandKind.PRICES,
        reason="prices of the tariff in force",
        given=Given([(band, Money(hao)) for band, hao in prices.items()]),
    )


async def _send_due(group_id: int, models: Mapping[str, MeterModel], at: datetime) -> int:
    """Ask for a command for each laggard that waits for one: each with a commit of its own."""
    async with unit_of_work(group_id) as work:
        due = await control.due_prices(work, sender=_SENDER.name, at=at, limit=MOST_SENT)
    sent = 0
    for each in due:
        order = _order(each)
        async with unit_of_work(group_id) as work:
            if not await control.lock_due_prices(work, due=each):
                continue
            meter = await metering.meter_by_id(work, meter_id=each.meter_id)
            command = await ask(work, meter=meter, order=order, models=models, actor=_SENDER, at=at)
            await control.mark_prices_sent(work, meter_id=meter.id, command_id=command.id)
        sent += 1
    return sent


async def _close(work: UnitOfWork, meter_ids: Sequence[UUID], at: datetime) -> None:
    if meter_ids:
        subjects = [str(meter_id) for meter_id in meter_ids]
        note = "the meter holds the prices and hours that it should, or needs none any more"
        await close_cases(work, kind=CASE_KIND, subjects=subjects, note=note, at=at)


def _case_of(each: MeterPrices) -> NewCase:
    return NewCase(
        project_id=each.project_id,
        kind=CASE_KIND,
        subject=str(each.meter_id),
        detail={
            "since": each.desired_at.isoformat(),
            "why": each.unfit or each.problem or "the meter was not reached",
            "tries": str(each.tries),
        },
    )
