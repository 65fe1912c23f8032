"""What the dialogue needs to know of one customer, read from the database: never from a meter (1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from backend.accounts.models import Account
from backend.accounts.queries import area_paths, bound_accounts, closed_accounts
from backend.accounts.rules import mask_place
from backend.charges.forecast_rules import Basis, Forecast
from backend.charges.rules import Figures
from backend.control.state_rules import MeterState as State
from backend.control.supply_rules import SafetyLock, Why
from backend.journeys.charge_figures import figures
from backend.journeys.cut_cause import Cut, cuts_of_meters
from backend.journeys.forecast_shown import Shown, forecasts_of_meters
from backend.journeys.meter_states import meter_states
from backend.journeys.views import MeterCreditState, MoneyState, TopUpView, topup_views
from backend.kernel.clock import CHINA, Period, business_day, day_period
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.kernel.quantity import Quantity
from backend.metering.cloud import cloud_assignments
from backend.metering.queries import MeterState, meters_of_accounts, use
from backend.tenancy.queries import project_by_id
from backend.topups.queries import orders_of_account
from bots import view as seen
from bots.intents import Supply
from bots.pricing import Priced, prices_of_meters, refunds_of
from bots.texts import say

_RECORDS = 5
_TOLD_FOR = timedelta(days=180)


async def view_of_customer(work: UnitOfWork, *, customer_id: UUID, at: datetime) -> seen.View:
    """The customer's accounts, meters, use and newest top-ups, as of now."""
    accounts = await bound_accounts(work, customer_id=customer_id)
    if not accounts:
        gone = await closed_accounts(work, customer_id=customer_id, since=at - _TOLD_FOR)
        return seen.View(
            closed=tuple(
                seen.ClosedView(each.no, each.closed_at) for each in gone if each.closed_at
            )
        )
    ids = [account.id for account in accounts]
    meters = await meters_of_accounts(work, account_ids=ids)
    in_cloud = frozenset(each.meter_id for each in await cloud_assignments(work, account_ids=ids))
    money = await figures(work, account_ids=ids) if in_cloud else {}
    lasting = await forecasts_of_meters(work, account_ids=ids, at=at)
    priced = await prices_of_meters(work, meters=meters, in_cloud=in_cloud, at=at)
    serving = [meter.id for of_account in meters.values() for meter in of_account]
    cuts = await cuts_of_meters(work, meter_ids=serving, at=at)
    states = await meter_states(work, meter_ids=serving)
    places = await area_paths(work, area_ids=[account.area_id for account in accounts])
    views = [
        seen.AccountView(
            id=str(account.id),
            account_no=account.no,
            label=account.name,
            address=mask_place(places.get(account.area_id, "")),
            meters=tuple(
                [
                    await _meter(
                        work,
                        meter,
                        at,
                        money.get(account.id) if meter.id in in_cloud else None,
                        priced[meter.id],
                        lasting.get(meter.id),
                        cuts.get(meter.id),
                        states[meter.id],
                    )
                    for meter in meters[account.id]
                ]
            ),
        )
        for account in accounts
    ]
    project = await project_by_id(work, project_id=accounts[0].project_id)
    return seen.View(
        accounts=tuple(views),
        default_account_id=str(accounts[0].id),
        top_ups=tuple(await _top_ups(work, accounts)),
        least=Money.of_fen(project.topup_min_fen),
        most=Money.of_fen(project.topup_max_fen),
        fresh_for=timedelta(minutes=2 * project.sweep_minutes),
        refunds=await refunds_of(work, account_ids=ids),
    )


async def _meter(
    work: UnitOfWork,
    meter: MeterState,
    at: datetime,
    in_cloud: Figures | None,
    priced: Priced,
    lasting: Shown | None,
    cut: Cut | None,
    state: State,
) -> seen.MeterView:
    """`in_cloud`: the figures of its purse when the cloud holds its money; `lasting`: None of a meter that is
    not sold to; `cut`: None when the cloud did not cut it."""
    latest = meter.latest
    relay = seen.Relay.UNKNOWN
    if latest is not None and latest.relay_closed is not None:
        relay = seen.Relay.CLOSED if latest.relay_closed else seen.Relay.OPEN
    remaining = None
    if latest is not None and latest.remaining_hao is not None:
        remaining = Money(latest.remaining_hao)
    if in_cloud is not None:
        remaining = in_cloud.available
    found = Forecast(Basis.LEARNING) if lasting is None else lasting.found
    return seen.MeterView(
        id=str(meter.id),
        name=say("meter.name", tail=meter.serial[-4:]),
        supply=Supply(meter.kind),
        remaining=remaining,
        data_at=latest.at if latest else None,
        relay=relay,
        online=meter.gateway_silent_since is None,
        usage=await _usage(work, meter, at),
        price=priced[0],
        bill=priced[1],
        days_left=found.days_left,
        zero_at=found.zero_at,
        basis=found.basis,
        state=state,
        cut_cause=None if cut is None else _cause(cut),
        back_at=None if cut is None else cut.back_at,
    )


def _cause(cut: Cut) -> seen.CutCause:
    """What a customer can do something about is told by name; the rest is an operator's."""
    if cut.why is Why.SAFETY_LOCK:
        return seen.CutCause((cut.lock or SafetyLock.OVERLOAD).value)
    causes = {Why.ARREARS: seen.CutCause.ARREARS, Why.TIMETABLE: seen.CutCause.TIMETABLE}
    return causes.get(cut.why, seen.CutCause.OPERATOR)


async def _usage(work: UnitOfWork, meter: MeterState, at: datetime) -> seen.UsageView:
    today = business_day(at)
    first = today.replace(day=1)
    last_first = (first - timedelta(days=1)).replace(day=1)
    month_start = day_period(first).start
    periods = {
        "today": Period(day_period(today).start, at + timedelta(seconds=1)),
        "yesterday": day_period(today - timedelta(days=1)),
        "this_month": Period(month_start, at + timedelta(seconds=1)),
        "last_month": Period(day_period(last_first).start, month_start),
    }
    used = {
        name: await use(work, meter_id=meter.id, period=period) for name, period in periods.items()
    }
    return seen.UsageView(
        **{
            name: None if amount is None else Quantity(amount, meter.kind.unit)
            for name, amount in used.items()
        }
    )


async def _top_ups(work: UnitOfWork, accounts: Sequence[Account]) -> list[seen.TopUpView]:
    orders = [
        order
        for account in accounts
        for order in await orders_of_account(
            work, account_id=account.id, before=None, limit=_RECORDS
        )
    ]
    orders.sort(key=lambda order: order.created_at, reverse=True)
    views = await topup_views(work, orders=orders[:_RECORDS])
    return [
        seen.TopUpView(
            account_id=str(view.order.account_id),
            amount=Money.of_fen(view.order.amount_fen),
            at=(view.order.paid_at or view.order.created_at).astimezone(CHINA),
            progress=_progress(view),
        )
        for view in views
    ]


def _progress(view: TopUpView) -> seen.TopUpProgress:
    """Money paid and meter credited are apart (C10): the customer sees how far both are."""
    if view.money is MoneyState.WAITING:
        return seen.TopUpProgress.WAITING_PAYMENT
    if view.money is MoneyState.CLOSED:
        return seen.TopUpProgress.CLOSED
    if view.meter_credit is MeterCreditState.CREDITED:
        return seen.TopUpProgress.DELIVERED
    if view.waiting_for is not None:
        return seen.TopUpProgress.WAITING_METER
    if view.meter_credit is MeterCreditState.SENDING:
        return seen.TopUpProgress.DELIVERING
    return seen.TopUpProgress.PAID
