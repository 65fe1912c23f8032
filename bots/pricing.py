"""Prices, bills and refunds as the dialogue shows them, read from the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from backend.charges.rules import Month, Supply
from backend.journeys.supply_prices import SupplyPrice, supply_prices
from backend.kernel.clock import CHINA
from backend.kernel.db import UnitOfWork
from backend.kernel.money import ZERO, Money
from backend.kernel.quantity import Quantity, Unit
from backend.metering.queries import MeterState
from backend.tariffs.present import BandPrice
from backend.topups.account_refunds import newest_refunds
from backend.topups.refund_rules import RefundState
from backend.topups.refunds import Refund
from bots import view as seen

_NEWEST = 5
_PROGRESS = {
    RefundState.REQUESTED: seen.RefundProgress.ASKED,
    RefundState.SENT: seen.RefundProgress.AT_CHANNEL,
    RefundState.DONE: seen.RefundProgress.DONE,
    RefundState.FAILED: seen.RefundProgress.FAILED,
    RefundState.REFUSED: seen.RefundProgress.REFUSED,
}
Priced = tuple[seen.PriceView | None, seen.BillView | None]


async def prices_of_meters(
    work: UnitOfWork,
    *,
    meters: Mapping[UUID, Sequence[MeterState]],
    in_cloud: frozenset[UUID],
    at: datetime,
) -> dict[UUID, Priced]:
    """What a unit costs at each meter, and its household's month, by meter; `meters` by account. A bill is
    told of what the cloud charges (`in_cloud`) alone."""
    supplies: dict[Supply, bool] = {}
    for account_id, served in meters.items():
        for meter in served:
            supply = Supply(account_id, str(meter.kind))
            supplies[supply] = supplies.get(supply, False) or meter.id in in_cloud
    found = await supply_prices(work, supplies=supplies, at=at) if supplies else {}
    return {
        meter.id: _shown(
            found[Supply(account_id, str(meter.kind))], meter.kind.unit, meter.id in in_cloud
        )
        for account_id, served in meters.items()
        for meter in served
    }


def _shown(found: SupplyPrice, unit: Unit, in_cloud: bool) -> Priced:
    bill = _bill(found.month, unit) if in_cloud else None
    now = found.now
    if now is None:
        return None, bill
    price = seen.PriceView(
        now=Money(now.price),
        band=now.band,
        until=_clock(now.until),
        bands=tuple(map(_band, now.bands)),
        step=now.step,
        steps=now.steps,
        used=Quantity(found.used, unit),
        left=None if now.left is None else Quantity(now.left, unit),
        yearly=found.yearly,
        monthly=Money(now.monthly),
    )
    return price, bill


def _band(band: BandPrice) -> seen.BandView:
    times = tuple(f"{_clock(start)}-{_clock(end)}" for start, end in band.spans)
    return seen.BandView(band.band, Money(band.price), times)


def _bill(month: Month | None, unit: Unit) -> seen.BillView:
    if month is None:
        return seen.BillView(Quantity(0, unit), ZERO)
    posted = month.posted
    return seen.BillView(
        used=Quantity(month.used, unit),
        energy=Money(posted.energy),
        fixed=Money(posted.fixed),
        loss=Money(posted.loss),
        public=Money(posted.public),
        service=Money(posted.service),
    )


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


async def refunds_of(
    work: UnitOfWork, *, account_ids: Sequence[UUID]
) -> tuple[seen.RefundView, ...]:
    """The newest refunds of the customer's accounts."""
    rows = await newest_refunds(work, account_ids=account_ids, limit=_NEWEST)
    return tuple(
        seen.RefundView(
            account_id=str(refund.source.account_id),
            amount=refund.amount,
            at=refund.requested_at.astimezone(CHINA),
            progress=_progress(refund),
        )
        for refund in rows
    )


def _progress(refund: Refund) -> seen.RefundProgress:
    if refund.state is RefundState.APPROVED:
        return seen.RefundProgress.AT_DESK if refund.at_counter else seen.RefundProgress.AGREED
    return _PROGRESS[refund.state]
