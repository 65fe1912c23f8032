"""Answers about money by the unit: what one costs now, where the step stands, this month's bill, refunds."""

from __future__ import annotations

from datetime import datetime

from backend.kernel.money import ZERO

from .answers import MAX_RECORDS, usage_answer
from .intents import Span, Supply
from .texts import say
from .view import AccountView, MeterView, PriceView, RefundProgress, View
from .wording import data_time, exact, figure, meter_name, yuan

_MAX_LINES = 6
_UNITS = {
    Supply.ELECTRICITY: "unit.electricity",
    Supply.WATER: "unit.water",
    Supply.HEAT: "unit.heat",
}
_BANDS = {
    "spike": "band.spike",
    "peak": "band.peak",
    "flat": "band.flat",
    "valley": "band.valley",
    "deep": "band.deep",
}
_REFUNDS = {
    RefundProgress.ASKED: "refund.asked",
    RefundProgress.AGREED: "refund.agreed",
    RefundProgress.AT_DESK: "refund.at_desk",
    RefundProgress.AT_CHANNEL: "refund.at_channel",
    RefundProgress.DONE: "refund.done",
    RefundProgress.FAILED: "refund.failed",
    RefundProgress.REFUSED: "refund.refused",
}


def price_answer(*, view: View, account: AccountView, meter: MeterView) -> str:
    """What a unit costs now, the bands of the day by time, where the step stands, the monthly fee."""
    name, price = meter_name(view, account, meter), meter.price
    if price is None:
        return say("price.none", name=name)
    now, unit = exact(price.now), say(_UNITS[meter.supply])
    if price.band:
        band = say(_BANDS[price.band])
        lines = [say("price.now", name=name, price=now, unit=unit, band=band, until=price.until)]
    else:
        lines = [say("price.now_flat", name=name, price=now, unit=unit)]
    for each in price.bands:
        told, times = say(_BANDS[each.band]), " ".join(each.times)
        lines.append(say("price.band", band=told, price=exact(each.price), times=times))
    if price.steps > 1:
        lines.append(_step_line(price, meter.supply))
    if price.monthly > ZERO:
        lines.append(say("price.monthly", amount=exact(price.monthly)))
    return "\n".join(lines[:_MAX_LINES])


def steps_answer(*, view: View, account: AccountView, meter: MeterView) -> str:
    """Which step the next unit is in, what it costs, and how far the next one is."""
    name, price = meter_name(view, account, meter), meter.price
    if price is None:
        return say("price.none", name=name)
    now, unit = exact(price.now), say(_UNITS[meter.supply])
    if price.steps == 1:
        return say("step.none", name=name, price=now, unit=unit)
    head = say("step.now", name=name, step=str(price.step), price=now, unit=unit)
    return head + "\n" + _step_line(price, meter.supply)


def bill_answer(*, view: View, account: AccountView, meter: MeterView, now: datetime) -> str:
    """This month as it is charged by line; the use alone where the meter itself takes the money."""
    name, bill = meter_name(view, account, meter), meter.bill
    if bill is None or meter.data_at is None:
        used = usage_answer(view=view, account=account, meter=meter, span=Span.THIS_MONTH, now=now)
        return used if bill is not None else used + "\n" + say("bill.none")
    time = data_time(meter.data_at, now)
    lines = [
        say("bill.head", name=name, amount=exact(bill.total), time=time),
        say("bill.used", figure=figure(bill.used, meter.supply)),
        say("bill.energy", amount=exact(bill.energy)),
    ]
    if bill.fixed:
        lines.append(say("bill.fixed", amount=exact(bill.fixed)))
    if fees := bill.loss + bill.public + bill.service:
        lines.append(say("bill.fees", amount=exact(fees)))
    return "\n".join(lines)


def refunds_answer(*, view: View, account_id: str | None, now: datetime) -> str:
    """The newest refunds and how far each is, of one account when one is chosen."""
    shown = [r for r in view.refunds if account_id is None or r.account_id == account_id]
    if not shown:
        return say("refund.none")
    lines = [
        say(
            "refund.line",
            time=data_time(refund.at, now),
            amount=yuan(refund.amount),
            progress=say(_REFUNDS[refund.progress]),
        )
        for refund in shown[:MAX_RECORDS]
    ]
    return "\n".join([say("refund.head"), *lines])


def _step_line(price: PriceView, supply: Supply) -> str:
    used = figure(price.used, supply)
    if price.left is None:
        if price.yearly:
            return say("step.top_year", used=used)
        return say("step.top_month", used=used)
    left = figure(price.left, supply)
    if price.yearly:
        return say("step.year", used=used, left=left)
    return say("step.month", used=used, left=left)
