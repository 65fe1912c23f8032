"""What a decision over a supply is taken from, gathered from the rooms by a statement each (C19, C20)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from backend.charges.queries import held_assignments
from backend.charges.rules import Figures
from backend.control.calendar_rules import may_cut
from backend.control.calendars import cut_calendars
from backend.control.command_rules import CommandKind
from backend.control.supplies import MeterSupply
from backend.control.supply_rules import MoneyIn, Supply
from backend.control.timetables import timed
from backend.kernel.db import UnitOfWork
from backend.kernel.money import ZERO, Money
from backend.metering.rules import CreditMode, MeterModel
from backend.metering.supplied import SuppliedMeter

from .charge_figures import figures
from .supply_doubts import doubted
from .supply_owing import paying_accounts
from .supply_warned import warned_since

_NOTHING = Figures(ZERO, ZERO, ZERO)


async def gather(
    work: UnitOfWork,
    wanted: Sequence[MeterSupply],
    meters: Mapping[UUID, SuppliedMeter],
    models: Mapping[str, MeterModel],
    at: datetime,
) -> dict[UUID, Supply]:
    """The facts of each meter of `wanted`, by meter."""
    sold = [
        each
        for each in meters.values()
        if each.credit_mode is CreditMode.CLOUD and each.account_id is not None
    ]
    account_ids = list({each.account_id for each in sold if each.account_id is not None})
    money = await figures(work, account_ids=account_ids) if account_ids else {}
    owing = {each: known for each, known in money.items() if known.available <= ZERO}
    doubts = await doubted(work, owing=owing, at=at)
    paying = await paying_accounts(work, account_ids=account_ids)
    warned = await warned_since(work, account_ids=account_ids)
    held = await held_assignments(
        work, assignment_ids=[each.assignment_id for each in sold if each.assignment_id]
    )
    projects = {each.project_id for each in wanted}
    calendars = await cut_calendars(work, project_ids=projects, at=at)
    by_time = await timed(work, meter_ids=list(meters), calendars=calendars, at=at)
    found = {}
    for supply in wanted:
        meter, calendar = meters[supply.meter_id], calendars[supply.project_id]
        may = may_cut(calendar, at)
        known, doubt = _NOTHING, ZERO
        if meter.account_id is not None:
            known = money.get(meter.account_id, _NOTHING)
            doubt = doubts.get(meter.account_id, ZERO)
        found[meter.id] = Supply(
            policy=supply.policy_at(at),
            protected=supply.protected is not None,
            emergency=supply.emergency is not None,
            safety=supply.safety,
            timetable=by_time[meter.id].on if meter.id in by_time else None,
            money=_money_in(meter),
            balance=known.balance,
            uncharged=known.uncharged,
            overdraft=known.overdraft + doubt,
            reading_age=None if meter.read_at is None else at - meter.read_at,
            period=meter.period,
            hold=meter.assignment_id in held,
            payment_pending=meter.account_id in paying,
            window_open=may.window_open,
            no_cut_day=may.no_cut_day,
            warned_for=_warned_for(meter, warned, at),
            notice=calendar.window.notice,
            takeover=False,
            restored_by=_restored_by(models.get(meter.profile)),
            relay=_seen(meter, supply.force_at),
            force=supply.force,
            own_cut=supply.own_cut,
        )
    return found


def _money_in(meter: SuppliedMeter) -> MoneyIn:
    """A CLOUD meter that serves nobody is sold to nobody: money does not decide over it."""
    if meter.credit_mode is CreditMode.CLOUD and meter.account_id is None:
        return MoneyIn.NONE
    return MoneyIn(meter.credit_mode.value)


def _warned_for(
    meter: SuppliedMeter, warned: Mapping[UUID, datetime], at: datetime
) -> timedelta | None:
    """Since when the account that pays is warned of a cut; None when it is not known to be."""
    since = None if meter.account_id is None else warned.get(meter.account_id)
    return None if since is None else max(at - since, timedelta())


def _restored_by(model: MeterModel | None) -> CommandKind:
    """A model that knows no plain closing is forced on where money in the cloud pays for its use."""
    return CommandKind.CLOSE if model is None or model.closes else CommandKind.KEEP_POWER


def _seen(meter: SuppliedMeter, written_at: datetime | None) -> bool | None:
    """The relay as it was seen since the cloud last wrote; a reading made before says nothing of it."""
    if meter.read_at is None or meter.received_at is None:
        return None
    if written_at is not None and min(meter.read_at, meter.received_at) < written_at:
        return None
    return meter.relay_closed


def inputs_of(supply: Supply) -> dict[str, Any]:
    """The facts as they are kept with a decision: money in hao, spans in seconds."""
    return {each.name: _kept(getattr(supply, each.name)) for each in fields(supply)}


def _kept(value: object) -> object:
    if isinstance(value, Money):
        return value.hao
    if isinstance(value, timedelta):
        return round(value.total_seconds())
    return [str(part) for part in value] if isinstance(value, tuple) else value
