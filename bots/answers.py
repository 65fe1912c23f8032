"""The answers themselves: a few short lines, the first of them the figure with its unit and data time."""

from __future__ import annotations

from datetime import datetime

from backend.charges.forecast_rules import Basis
from backend.control.state_rules import MeterState, shown
from backend.kernel.money import ZERO

from .intents import Span, Supply
from .texts import say
from .view import (
    ON_THE_WAY,
    AccountView,
    CutCause,
    MeterView,
    Relay,
    TopUpProgress,
    TopUpView,
    View,
)
from .wording import ADDRESS_CHARS, data_time, exact, figure, meter_name, owed, short, yuan

MAX_RECORDS = 5

_PROGRESS = {
    TopUpProgress.WAITING_PAYMENT: "progress.waiting_payment",
    TopUpProgress.PAID: "progress.paid",
    TopUpProgress.DELIVERING: "progress.delivering",
    TopUpProgress.DELIVERED: "progress.delivered",
    TopUpProgress.WAITING_METER: "progress.waiting_meter",
    TopUpProgress.REFUNDED: "progress.refunded",
    TopUpProgress.CLOSED: "progress.closed",
}
_OFF = {
    Supply.ELECTRICITY: "off.electricity",
    Supply.WATER: "off.water",
    Supply.HEAT: "off.heat",
}
_ON = {Supply.ELECTRICITY: "on.electricity", Supply.WATER: "on.water", Supply.HEAT: "on.heat"}
_NOT_KNOWN = {
    Basis.OWN_USE: "lasting.learning",
    Basis.LEARNING: "lasting.learning",
    Basis.IDLE: "lasting.idle",
    Basis.NO_PRICE: "lasting.no_price",
}
_ASK = {
    Supply.ELECTRICITY: "ask.electricity",
    Supply.WATER: "ask.water",
    Supply.HEAT: "ask.heat",
}
_AT_HOME = {
    Supply.ELECTRICITY: "at_home.electricity",
    Supply.WATER: "at_home.water",
    Supply.HEAT: "at_home.heat",
}
_CUT = {
    CutCause.OVERLOAD: "out.overload",
    CutCause.MALIGNANT_LOAD: "out.malignant_load",
    CutCause.TIMETABLE: "out.timetable",
    CutCause.OPERATOR: "out.operator",
}
_CUT_BACK = {
    CutCause.OVERLOAD: "out.load_back",
    CutCause.MALIGNANT_LOAD: "out.load_back",
    CutCause.TIMETABLE: "out.timetable_back",
    CutCause.OPERATOR: "out.timetable_back",
}
_CUT_NEXT = {
    CutCause.OVERLOAD: "out.load_next",
    CutCause.MALIGNANT_LOAD: "out.load_next",
    CutCause.TIMETABLE: "out.timetable_next",
    CutCause.OPERATOR: "out.operator_next",
}


def is_stale(*, view: View, meter: MeterView, now: datetime) -> bool:
    """Whether what is known of the meter is too old to speak of the present."""
    return not meter.online or meter.data_at is None or now - meter.data_at > view.fresh_for


_ALARMED = (MeterState.ALARM_1, MeterState.ALARM_2, MeterState.ARREARS)


def balance_answer(*, view: View, account: AccountView, meter: MeterView, now: datetime) -> str:
    """What is left on one meter, how long it lasts, and whether the figure is old."""
    name = meter_name(view, account, meter)
    if meter.remaining is None or meter.data_at is None:
        return say("balance.none", name=name)
    at, left = data_time(meter.data_at, now), meter.remaining
    if left < ZERO:
        lines = [say("balance.owing", name=name, amount=owed(left), time=at)]
    elif meter.state in _ALARMED:
        state = shown(meter.state)
        lines = [say("balance.alarm", state=state, name=name, amount=yuan(left), time=at)]
    else:
        lines = [say("balance.line", name=name, amount=yuan(left), time=at)]
    if meter.days_left is not None and left > ZERO:
        lines.append(say("balance.days", days=_days(meter.days_left)))
    if is_stale(view=view, meter=meter, now=now):
        lines.append(say("balance.stale"))
    if meter.relay is Relay.OPEN:
        lines.append(say("balance.off", off=say(_OFF[meter.supply]), word=say(_ASK[meter.supply])))
    lines.append(say("balance.next"))
    if len(view.accounts) > 1:
        lines.append(say("balance.switch"))
    return "\n".join(lines)


def _days(days: int) -> str:
    """Whole days that are left: nobody reads "0 days" as the rest of this one."""
    return str(days) if days else say("lasting.under_a_day")


def lasting_answer(*, view: View, account: AccountView, meter: MeterView, now: datetime) -> str:
    """How long what is left on one meter lasts, or why that is not known; then as for a balance."""
    left = meter.remaining
    if left is None or left <= ZERO or meter.data_at is None:
        return balance_answer(view=view, account=account, meter=meter, now=now)
    name, days = meter_name(view, account, meter), meter.days_left
    if days is None:
        head = say(_NOT_KNOWN[meter.basis], name=name)
    elif meter.zero_at is None:
        head = say("lasting.long", name=name, days=str(days))
    else:
        zero = data_time(meter.zero_at, now)
        head = say("lasting.until", name=name, days=_days(days), time=zero)
    lines = [head, say("lasting.left", amount=yuan(left), time=data_time(meter.data_at, now))]
    if is_stale(view=view, meter=meter, now=now):
        lines.append(say("balance.stale"))
    return "\n".join([*lines, say("balance.next")])


def usage_answer(
    *, view: View, account: AccountView, meter: MeterView, span: Span, now: datetime
) -> str:
    """Use of one meter for one span, or for all four when none was asked."""
    use, kind = meter.usage, meter.supply
    lines = {
        Span.TODAY: say("usage.today", figure=figure(use.today, kind)),
        Span.YESTERDAY: say("usage.yesterday", figure=figure(use.yesterday, kind)),
        Span.THIS_MONTH: say("usage.this_month", figure=figure(use.this_month, kind)),
        Span.LAST_MONTH: say("usage.last_month", figure=figure(use.last_month, kind)),
    }
    name = meter_name(view, account, meter)
    if meter.data_at is None:
        head = say("usage.head_unread", name=name)
    else:
        head = say("usage.head", name=name, time=data_time(meter.data_at, now))
    asked = list(lines.values()) if span is Span.DEFAULT else [lines[span]]
    if span is Span.THIS_MONTH and meter.bill is not None:
        asked.append(say("bill.total", amount=exact(meter.bill.total)))
    return "\n".join([head, *asked])


def power_out_answer(*, view: View, account: AccountView, meter: MeterView, now: datetime) -> str:
    """Why there is no power or water, from what was last observed, and the one next step.

    A cut seen before the meter went silent is still the likelier cause, so causes are told with
    their data time; but old data never says that supply is normal.
    """
    name, off = meter_name(view, account, meter), say(_OFF[meter.supply])
    at = None if meter.data_at is None else data_time(meter.data_at, now)
    if meter.relay is Relay.OPEN and _is_arrears(meter):
        if at is None or meter.remaining is None:
            head = say("out.arrears_unread", name=name, off=off)
        else:
            amount = yuan(meter.remaining)
            head = say("out.arrears", name=name, off=off, amount=amount, time=at)
        return head + "\n" + (_on_the_way(view, account) or say("out.arrears_next"))
    if at is None:
        return say("out.offline_unread", name=name) + "\n" + say("out.offline_next")
    if is_stale(view=view, meter=meter, now=now) or meter.relay is Relay.UNKNOWN:
        return say("out.offline", name=name, time=at) + "\n" + say("out.offline_next")
    if meter.relay is Relay.CLOSED:
        head = say("out.normal", name=name, on=say(_ON[meter.supply]), time=at)
        return head + "\n" + say(_AT_HOME[meter.supply])
    cause = meter.cut_cause or CutCause.OPERATOR
    head = say(_CUT[cause], name=name, off=off, time=at)
    if meter.back_at is None:
        return head + "\n" + say(_CUT_NEXT[cause])
    return head + "\n" + say(_CUT_BACK[cause], time=data_time(meter.back_at, now))


def topup_line(*, top_up: TopUpView, now: datetime) -> str:
    """One top-up on one line: when, how much, how far it is (待支付 → 已支付 → 下发中 → 已到表)."""
    return say(
        "record.line",
        time=data_time(top_up.at, now),
        amount=yuan(top_up.amount),
        progress=say(_PROGRESS[top_up.progress]),
    )


def records_answer(*, view: View, account_id: str | None, now: datetime) -> str:
    """The newest five top-ups, of one account when one is chosen."""
    shown = [t for t in view.top_ups if account_id is None or t.account_id == account_id]
    if not shown:
        return say("record.none")
    lines = [topup_line(top_up=top_up, now=now) for top_up in shown[:MAX_RECORDS]]
    return "\n".join([say("record.head"), *lines])


def pay_answer(
    *, view: View, account: AccountView, meter: MeterView | None, amount: str | None, url: str
) -> str:
    """Whose meter, how much, what is owed, what is still on its way, and the one link."""
    name = short(account.label) if meter is None else meter_name(view, account, meter)
    lines = [
        say("top_up.head_open", name=name)
        if amount is None
        else say("top_up.head", name=name, amount=amount)
    ]
    if address := short(account.address, limit=ADDRESS_CHARS):
        lines.append(address)
    if meter is not None and meter.remaining is not None and meter.remaining < ZERO:
        lines.append(say("top_up.owing", amount=owed(meter.remaining)))
    if warning := _on_the_way(view, account):
        lines.append(warning)
    lines.append(say("top_up.link", url=url))
    return "\n".join(lines)


def human_answer(*, view: View) -> str:
    """How to reach a person."""
    if view.service_phone:
        return say("human.phone", phone=view.service_phone)
    return say("human.none")


def _on_the_way(view: View, account: AccountView) -> str | None:
    """The warning before a second payment, when the last one has not reached the meter."""
    for top_up in view.top_ups:
        if top_up.account_id == account.id and top_up.progress in ON_THE_WAY:
            return say("top_up.on_the_way", amount=yuan(top_up.amount))
    return None


def _is_arrears(meter: MeterView) -> bool:
    if meter.cut_cause is not None:
        return meter.cut_cause is CutCause.ARREARS
    return meter.remaining is not None and meter.remaining <= ZERO
