"""Every pending state has an owner that finishes it: this one looks for what the others left behind."""

from __future__ import annotations

from datetime import datetime

from backend.control.queries import vends_unfinished
from backend.journeys.batch_run import tend_batches
from backend.journeys.charge_grants import give_monthly_grants
from backend.journeys.charge_missed import charge_missed
from backend.journeys.closing_steps import tend_closings
from backend.journeys.command import tend
from backend.journeys.dormitory import tend_loads
from backend.journeys.load_limits import tend_load_limits
from backend.journeys.refund_sending import tend_refunds
from backend.journeys.shared_purse import tend_shared_purses
from backend.journeys.supply_look import tend_supplies
from backend.journeys.takedown_steps import tend_takedowns
from backend.kernel.db import unit_of_work
from backend.metering.retention import prepare
from backend.outbox import operations as outbox
from backend.tenancy.queries import all_groups
from workers.context import WorkerContext


async def tidy(context: WorkerContext) -> None:
    """Ring again for unfinished vends, refunds, takedowns, closings and commands without a waiting event,
    end overdue commands, make partitions."""
    now = context.ports.clock.now()
    await prepare(at=now)
    for group_id in await all_groups():
        await tidy_group(group_id=group_id, at=now)
        await tend_load_limits(group_id=group_id, models=context.ports.meter_models, at=now)
        await tend_loads(group_id=group_id, at=now)
        await tend_supplies(group_id=group_id, models=context.ports.meter_models, at=now)


async def tidy_group(*, group_id: int, at: datetime) -> None:
    """What `tidy` does for one group."""
    async with unit_of_work(group_id) as work:
        for vend_id in await vends_unfinished(work):
            await outbox.reopen_if_done(work, topic="vend.due", key=str(vend_id), due_at=at)
        await tend_refunds(work, at=at)
        await tend_takedowns(work, at=at)
        await tend_closings(work, at=at)
    await tend(group_id=group_id, at=at)
    await tend_batches(group_id=group_id, at=at)
    await give_monthly_grants(group_id=group_id, at=at)
    await charge_missed(group_id=group_id, at=at)
    await tend_shared_purses(group_id=group_id, at=at)
