"""What a decision on a simulated site is taken from, as journeys.supply_facts gathers it: what is in the book
and what was seen, never what is true.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from backend.charges.rules import doubtful
from backend.control.calendar_rules import CutCalendar, DayKind, MayCut
from backend.control.supply_rules import Supply
from backend.control.timetable_rules import Slot, supply_at, timetable_of
from backend.kernel.money import ZERO, Money

from .policy_world import PERIOD_S, Meter, Purse, Site

_PERIOD = timedelta(seconds=PERIOD_S)


def instant(site: Site, second: float) -> datetime:
    """An instant of a site as the product has it."""
    return site.begins + timedelta(seconds=second)


def facts_of(meter: Meter, site: Site, calendar: CutCalendar, may: MayCut, now: float) -> Supply:
    """The facts of a meter."""
    purse, row = meter.purse, meter.row
    balance = uncharged = overdraft = ZERO
    warned = None
    if purse is not None:
        balance, uncharged, overdraft = _figures(purse, site)
        if purse.low and purse.warned_at is not None:
            warned = timedelta(seconds=now - purse.warned_at)
    return Supply(
        policy=meter.policy_now(now),
        protected=meter.protected_at is not None,
        emergency=meter.emergency,
        safety=meter.safety,
        timetable=_timetable(meter, site, calendar, now),
        money=meter.money,
        balance=balance,
        uncharged=uncharged,
        overdraft=overdraft,
        reading_age=None if row.read_at is None else timedelta(seconds=now - row.read_at),
        period=_PERIOD,
        hold=meter.hold,
        payment_pending=purse is not None and purse.orders > 0,
        window_open=may.window_open,
        no_cut_day=may.no_cut_day,
        warned_for=warned,
        notice=calendar.window.notice,
        takeover=meter.lease_until > now,
        restored_by=meter.restored_by,
        relay=seen(meter),
        force=row.force,
    )


def _figures(purse: Purse, site: Site) -> tuple[Money, Money, Money]:
    """Balance, use that is read and not charged, and what is allowed below zero (C3)."""
    balance, uncharged, overdraft = Money(purse.balance), ZERO, Money(purse.overdraft)
    waiting = sum(max(0, each.read_wh - each.charged_wh) for each in purse.meters)
    version = max(purse.priced, default=0)
    if waiting:
        uncharged = Money(waiting * site.prices[version] // 1000)
    if len(site.prices) > 1:
        used = [(wh, hao) for _, (wh, hao) in sorted(purse.priced.items())]
        overdraft += doubtful([*used, (waiting, uncharged.hao)])
    return balance, uncharged, overdraft


def _timetable(meter: Meter, site: Site, calendar: CutCalendar, now: float) -> bool | None:
    if meter.off_from is None:
        return None
    edges = sorted(((meter.off_from // 60, False), (meter.off_to // 60, True)))
    slots = [Slot(minute, on) for minute, on in edges]
    if slots[0].minute:
        slots.insert(0, Slot(0, slots[-1].on))
    table = timetable_of({DayKind.WORKDAY: slots})
    return supply_at(table, calendar, instant(site, now)).on


def seen(meter: Meter) -> bool | None:
    """The relay; a reading that was made before the last write says nothing of it."""
    row = meter.row
    if row.read_at is None or row.received_at is None:
        return None
    if row.force_at is not None and min(row.read_at, row.received_at) < row.force_at:
        return None
    return row.relay
