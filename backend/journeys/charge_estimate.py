"""Charge a meter that is silent by what it used before: provisional, taken back whole later (C15)."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from backend.audit.operations import record
from backend.charges.rules import Charge, Position, Reason
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.metering import cloud
from backend.metering import queries as metering
from backend.metering.cloud import CloudAssignment
from backend.metering.history import newest_until
from backend.metering.rules import register_gain
from backend.tariffs.calendar import month_of
from backend.tariffs.rules import NO_USE, Use, price_usage
from backend.tariffs.rules import Position as Before
from backend.tenancy.rules import Permission

from .charge import AT_ONCE
from .charge_batch import Batch, gather, write, years_before
from .charge_rating import Timeline, amounts_of

LOOK_BACK = timedelta(days=7)  # of valid days before the silence (domain-notes.md section 2.4)
_LEAST = timedelta(days=1)  # of readings, and of silence: less tells nothing
_SECOND = timedelta(seconds=1)
# Silent: nothing came since what is charged; a reading that waits to be charged is no silence.
_SILENT = (
    "SELECT c.meter_id FROM tenancy_project p"
    " JOIN charges_position c ON c.group_id = p.group_id AND c.project_id = p.id"
    "  AND c.rated_at < $2::timestamptz - p.estimate_after_days * interval '1 day'"
    "  AND NOT c.estimated AND c.hold IS NULL"
    " JOIN metering_assignment a ON a.group_id = c.group_id AND a.id = c.assignment_id"
    "  AND a.ended_at IS NULL"
    " LEFT JOIN metering_latest l ON l.group_id = c.group_id AND l.meter_id = c.meter_id"
    " WHERE p.group_id = $1 AND p.estimate_after_days > 0 AND coalesce(l.at <= c.rated_at, true)"
    " ORDER BY c.meter_id"
)


async def estimate_use(*, scope: Scope, meter_id: UUID, at: datetime) -> Money:
    """Charge the use of a silent meter since its last charged reading, by the average of the seven days
    before it; how much. The next reading takes it back and charges what was really used.

    The estimate ends with the month of the last reading. Raises NotFound, Forbidden, Conflict (not a
    CLOUD meter in use, held, without a tariff, estimated already, read within a day, no day of readings).
    """
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        scope.require(Permission.CHARGE_WRITE, meter.project_id)
        served = await cloud.cloud_assignments(work, meter_ids=[meter_id])
        running = [each for each in served if each.ended_at is None]
        if not running:
            raise Conflict("the cloud charges nobody for this meter now")
        batch = await gather(work, running, at)
        charge = await _estimate(work, batch, running[0])
        await write(work, batch)
        await record(
            work,
            actor=scope.actor,
            action="charge:use:estimate",
            subject=str(meter_id),
            at=at,
            project_id=meter.project_id,
            after={"used": sum(charge.use), "amount": str(Money(charge.amounts.total))},
        )
    return Money(charge.amounts.total)


async def estimate_silent(*, group_id: int, at: datetime) -> int:
    """Charge the group's CLOUD meters provisionally that were silent for as long as their project says;
    how many. One of which nothing can be told is left to its next reading."""
    async with unit_of_work(group_id) as work:
        rows = await work.fetch(_SILENT, group_id, at)
    made = 0
    for place in range(0, len(rows), AT_ONCE):
        meters = [row["meter_id"] for row in rows[place : place + AT_ONCE]]
        async with unit_of_work(group_id) as work:
            served = await cloud.cloud_assignments(work, meter_ids=meters)
            running = [each for each in served if each.ended_at is None]
            batch = await gather(work, running, at)
            for assignment in running:
                with suppress(Conflict):
                    await _estimate(work, batch, assignment)
            made += await write(work, batch)
    return made


async def _estimate(work: UnitOfWork, batch: Batch, served: CloudAssignment) -> Charge:
    """Add the provisional charge of an assignment to a batch. Raises Conflict, and adds nothing then."""
    position = batch.positions[served.id]
    timeline = batch.timelines.get(position.supply)
    if position.hold is not None or timeline is None or not timeline.holds(position.last.at):
        raise Conflict("the meter is held, or no tariff holds for it")
    if position.estimated or batch.at - position.last.at < _LEAST:
        raise Conflict("it was read within a day, or is estimated already")
    end = min(batch.at, timeline.month(month_of(position.last.at, timeline.zone)).end)
    used = await _average(work, position, served, end - position.last.at)
    charge = _estimated(batch, position, timeline, end, used)
    batch.add(charge)
    position.estimated = True
    batch.moved[position.assignment_id] = position
    return charge


async def _average(
    work: UnitOfWork, position: Position, opening: CloudAssignment, silence: timedelta
) -> int:
    """What is used in `silence` at the pace of the days before it. Raises Conflict."""
    last, since = position.last, position.last.at - LOOK_BACK
    first, total = opening.started_at, opening.opening_total
    reading = await newest_until(work, meter_id=position.meter_id, at=since)
    if reading is not None and reading.at > opening.started_at:
        first, total = reading.at, reading.total
    span = last.at - first
    if span < _LEAST:
        raise Conflict("less than a day of readings tells nothing")
    gained = register_gain(total, last.total, kind=opening.kind, elapsed=span)
    if gained is None:
        raise Conflict("its register went back in the days before")
    return gained * (silence // _SECOND) // (span // _SECOND)


def _estimated(
    batch: Batch, position: Position, timeline: Timeline, end: datetime, used: int
) -> Charge:
    """The provisional charge, on top of the month to date; the month itself does not know of it."""
    start = position.last.at
    month_day = month_of(start, timeline.zone)
    plan_month = timeline.month(month_day)
    place = plan_month.place(start)
    month = batch.months.get((position.supply, month_day))
    uses = [segment[3] for segment in month.segments] if month else []
    years = years_before(batch.months, position.supply, plan_month)
    before = Before(
        plan_month.seasons[place],
        years.get(place, 0) + sum(map(sum, uses[:place])),
        Use(*uses[place]) if place < len(uses) else NO_USE,
    )
    use = Use(unbanded=used)
    position.seq += 1
    return Charge(
        id=next(batch.ids),
        project_id=position.project_id,
        account_id=position.account_id,
        purse_id=batch.purses[position.account_id],
        assignment_id=position.assignment_id,
        seq=position.seq,
        reason=Reason.ESTIMATE,
        kind=position.kind,
        month=month_day,
        day=start.astimezone(timeline.zone).date(),
        from_at=start,
        to_at=end,
        from_total=position.last.total,
        to_total=None,
        use=use,
        shared=True,
        version_id=UUID(plan_month.plans[place].version),
        season=before.season,
        step_before=before.step_before,
        use_before=list(before.use_before),
        days=[0, 0, 30],
        detail=None,
        amounts=amounts_of(price_usage(plan_month.plans[place], use, before)),
        entry_id=None,
        charged_at=batch.at,
    )
