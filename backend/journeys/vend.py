"""A vend's way to the meter as the worker drives it: what is next, about to write, verified, stopped.

The worker holds the bus and talks to the meter; these steps are its short commits in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.alerts.operations import open_case
from backend.control import operations as control
from backend.control.models import Vend
from backend.control.queries import next_vend, vends_waiting_of_meters
from backend.control.rules import VendSource, VendState, Wallet
from backend.kernel.clock import CHINA
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.metrics import VENDS
from backend.ledger import operations as ledger
from backend.ledger.rules import vend_settled
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.metering.models import Gateway, Meter
from backend.outbox.operations import postpone
from backend.topups.operations import BELL

from .news import tell_customers

DELAYED_AFTER = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class VendWork:
    """What the worker needs to serve one vend."""

    vend: Vend
    meter: Meter
    gateway: Gateway


async def next_work(*, group_id: int, meter_id: UUID) -> VendWork | None:
    """The meter's next unfinished vend, or None when there is none to send now.

    A stopped vend blocks the ones behind it: later numbers may not overtake it (C8). So does a meter
    to which nothing is sold, such as one that is being taken down.
    """
    async with unit_of_work(group_id) as work:
        vend = await next_vend(work, meter_id=meter_id)
        if vend is None or vend.state is VendState.STOPPED:
            return None
        # Read after the vend: whoever stops selling stops the vends that are there in the same commit.
        meter = await meters.meter_by_id(work, meter_id=meter_id)
        if meter.selling_stopped_at is not None:
            return None
        gateway = await meters.gateway_by_id(work, gateway_id=meter.gateway_id)
    return VendWork(vend, meter, gateway)


async def about_to_write(*, group_id: int, vend: Vend, before: Wallet, at: datetime) -> None:
    """Commit that a write may reach the meter, before it leaves (C9).

    Raises Conflict when the vend was finished or stopped meanwhile: nothing may be written then.
    """
    async with unit_of_work(group_id) as work:
        await control.mark_sending(work, vend_id=vend.id, before=before, at=at)
        work.notify(BELL, f"{group_id}:{vend.source_id}")


async def verified(
    *, group_id: int, vend: Vend, after: Wallet, relay_closed: bool | None, at: datetime
) -> None:
    """The meter's read-back agrees: book it, tell the customer, ring the page (C10, A23)."""
    async with unit_of_work(group_id) as work:
        first = await control.mark_verified(
            work, vend_id=vend.id, after=after, relay_closed=relay_closed, at=at
        )
        if not first:
            return
        transfer = vend_settled(vend_id=vend.id, meter=vend.meter_id, amount=vend.amount)
        await ledger.post(work, project_id=vend.project_id, transfer=transfer, at=at)
        await _tell_customers(work, vend, after, at)
        work.notify(BELL, f"{group_id}:{vend.source_id}")
    VENDS.labels(outcome="verified").inc()


async def stopped(*, group_id: int, vend: Vend, meter: Wallet, reason: str, at: datetime) -> None:
    """Count or amount do not fit: stop selling to the meter and raise a case; never guess (C8)."""
    async with unit_of_work(group_id) as work:
        if not await control.mark_stopped(work, vend_id=vend.id, reason=reason):
            return
        await metering.stop_selling(work, meter_id=vend.meter_id, at=at)
        await open_case(
            work,
            project_id=vend.project_id,
            kind="VEND_STOPPED",
            subject=str(vend.meter_id),
            detail={
                "reason": reason,
                "vend": str(vend.id),
                "amount": str(vend.amount),
                "ledgerPurchaseNo": str(vend.purchase_no),
                "meterPurchaseNo": str(meter.purchase_no),
                "meterRemaining": str(meter.remaining),
            },
            at=at,
        )
        work.notify(BELL, f"{group_id}:{vend.source_id}")
    VENDS.labels(outcome="stopped").inc()


async def not_reached(*, group_id: int, vend: Vend, error: str, at: datetime) -> None:
    """The meter did not answer: the money waits in transit; a long wait becomes a case."""
    async with unit_of_work(group_id) as work:
        await control.note_error(work, vend_id=vend.id, error=error)
        if at - vend.created_at >= DELAYED_AFTER:
            await open_case(
                work,
                project_id=vend.project_id,
                kind="VEND_DELAYED",
                subject=str(vend.id),
                detail={"reason": error, "amount": str(vend.amount), "meter": str(vend.meter_id)},
                at=at,
            )
    VENDS.labels(outcome="not_reached").inc()


async def _tell_customers(work: UnitOfWork, vend: Vend, after: Wallet, at: datetime) -> None:
    served = await meters.assignment_by_id(work, assignment_id=vend.assignment_id)
    await tell_customers(
        work,
        account_id=served.account_id,
        event="topup_credited" if vend.source is VendSource.TOPUP else "money_moved",
        key=f"credited-{vend.id.hex}",
        params={
            "amount": str(vend.amount),
            "remaining": str(after.remaining),
            "time": at.astimezone(CHINA).strftime("%H:%M"),
        },
        at=at,
    )


async def wake_vends(work: UnitOfWork, *, meter_ids: Sequence[UUID], at: datetime) -> None:
    """Meters that are heard again get their waiting money now, not at the end of a long back-off."""
    for vend_id in await vends_waiting_of_meters(work, meter_ids=meter_ids):
        await postpone(work, topic="vend.due", key=str(vend_id), due_at=at)
