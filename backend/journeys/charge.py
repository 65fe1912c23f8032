"""Charge what CLOUD meters measured: rate each month to date, post the difference (C13-C17).

Readings in order go the short way: what a span adds to its month. What comes late, or was ruled, rates the
months from there on anew (`charge_again`). Both ways end in the same figures, and doing either twice posts
nothing the second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import add
from types import MappingProxyType
from uuid import UUID

from backend.charges import queries
from backend.charges.rules import (
    NOTHING,
    Charge,
    Hold,
    Month,
    Point,
    Position,
    Reason,
    Supply,
)
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.metering import cloud
from backend.metering.cloud import CloudAssignment
from backend.metering.rules import MeterKind, first_open_day
from backend.tariffs.calendar import month_of
from backend.tariffs.rules import BASE_UNITS

from .charge_again import rate_again
from .charge_batch import (
    Batch,
    fresh_points,
    gather,
    reversed_estimates,
    write,
    years_before,
)
from .charge_rating import (
    NO_YEARS,
    MonthPlan,
    Part,
    Rated,
    amounts_to_date,
    kept,
    segments_to_date,
    spans,
)

AT_ONCE = 2_500  # assignments of one transaction
_USE = Reason.USE
_NOTHING: Mapping[UUID, datetime] = MappingProxyType({})
_POINTS = 200  # of one meter at once; what is more is found by the next look


async def charge_meters(*, group_id: int, since: Mapping[UUID, datetime], at: datetime) -> int:
    """Charge what was read of CLOUD meters, each `since` an instant; how many charges that made.

    A meter that serves nobody, or whose money is not in the cloud, is passed over.
    """
    async with unit_of_work(group_id) as work:
        found = await cloud.cloud_assignments(work, meter_ids=list(since))
    wanted = [
        each for each in found if each.ended_at is None or since[each.meter_id] <= each.ended_at
    ]
    made = 0
    for place in range(0, len(wanted), AT_ONCE):
        some = wanted[place : place + AT_ONCE]
        async with unit_of_work(group_id) as work:
            made += await charge_in(work, assignments=some, since=since, at=at)
    return made


async def charge_account(
    work: UnitOfWork, *, account_id: UUID, at: datetime, since: Mapping[UUID, datetime] = _NOTHING
) -> int:
    """Charge all that was read of an account's CLOUD meters, inside the caller's transaction: before its
    final bill, and when a meter's service ended at an instant (`since`). How many charges that made."""
    found = await cloud.cloud_assignments(work, account_ids=[account_id])
    return await charge_in(work, assignments=found, since=since, at=at)


async def charge_in(
    work: UnitOfWork,
    *,
    assignments: Iterable[CloudAssignment],
    since: Mapping[UUID, datetime],
    at: datetime,
) -> int:
    """Charge assignments inside the caller's transaction; `since` tells of which meter something came
    that may be older than what is charged."""
    batch = await gather(work, assignments, at)
    if not batch.assignments:
        return 0
    points = await fresh_points(work, batch, limit=_POINTS)
    estimated = [each for each, new in points.items() if new and batch.positions[each].estimated]
    if estimated:
        standing = await queries.standing_estimates(work, assignment_ids=estimated)
        reversed_estimates(batch, standing)
    again: dict[Supply, datetime] = {}
    packed = await _packed(work, batch)
    yearly = any(timeline.yearly for timeline in batch.timelines.values())
    for assignment in batch.assignments.values():
        position = batch.positions[assignment.id]
        if position.hold and position.hold.waits:
            continue
        supply, last = batch.supplies[assignment.id], position.last.at
        came = since.get(assignment.meter_id)
        if came is not None and position.baseline.at < came <= last:
            again[supply] = min(again.get(supply, came), came)
        elif assignment.meter_id in packed or (yearly and _moves_later_months(batch, supply, last)):
            again[supply] = min(again.get(supply, last), last)
        elif (new := points[assignment.id]) and supply not in again:
            _charge(batch, position, supply, assignment.kind, new)
    for supply, first in again.items():
        await rate_again(work, batch, supply, first)
    return await write(work, batch)


async def _packed(work: UnitOfWork, batch: Batch) -> frozenset[UUID]:
    """The meters of which something that is not charged yet may be packed already: charging lay still."""
    opened = first_open_day(batch.at)
    behind = [
        (position.meter_id, position.last.at.astimezone(UTC).date())
        for position in batch.positions.values()
        if position.last.at.astimezone(UTC).date() < opened
    ]
    return await cloud.packed_after(work, meters=behind) if behind else frozenset()


def _charge(
    batch: Batch, position: Position, supply: Supply, kind: MeterKind, points: Sequence[Point]
) -> None:
    """Charge the points that follow the last one of an assignment."""
    timeline = batch.timelines.get(supply)
    if timeline is None or not timeline.holds(position.last.at):
        batch.hold(position, Hold.NO_TARIFF, position.last.at)
        return
    position.hold, position.held_at = None, None
    rated, stop = spans((position.last, *points), kind, {})
    for span in rated:
        for part in timeline.parts(span):
            month = timeline.month(part.month)
            _charge_part(batch, position, supply, month, part, span)
        position.last = span.end
    batch.moved[position.assignment_id] = position
    if stop is not None:
        batch.hold(position, stop.hold, stop.at)


def _charge_part(
    batch: Batch, position: Position, supply: Supply, plan_month: MonthPlan, part: Part, span: Rated
) -> None:
    """Add a part to its month, and charge what the month costs more by it."""
    start, end, month_day, day, place, use, shared = part
    key = supply, month_day
    month = batch.months.get(key)
    if month is None:
        month = batch.months[key] = _new_month(position, part)
    standing = month.segments
    uses = [segment[3] for segment in standing]
    while len(uses) <= place:
        uses.append([0] * 6)
    before = uses[place]
    uses[place] = [*map(add, before, use)]
    until = max(month.rated_until, end)
    years = years_before(batch.months, supply, plan_month) if plan_month.yearly else NO_YEARS
    segments = segments_to_date(plan_month, uses, batch.openings[supply], until, years)
    amounts = amounts_to_date(segments)
    added = amounts.less(month.posted)
    after = kept(segments, plan_month)
    detail = None
    if place + 1 < len(uses) and any(map(any, uses[place + 1 :])):
        # It moves the steps of what comes after it: only the whole month explains it.
        detail = {"before": standing, "after": after}
    month.segments, month.posted, month.rated_until = after, amounts, until
    used = sum(use)
    month.used += used
    batch.changed[key] = month
    if not used and not any(added):
        return
    segment = segments[place]
    first, last, length = segment.days
    if place < len(standing) and any(standing[place][4][:2]):
        first = standing[place][4][1]
    position.seq += 1
    if used:
        position.price_hao = (sum(added) - added.fixed) * BASE_UNITS // used
    batch.add(
        Charge(  # by place: a hundred thousand of them
            next(batch.ids),
            position.project_id,
            position.account_id,
            batch.purses[position.account_id],
            position.assignment_id,
            position.seq,
            _USE,
            position.kind,
            month_day,
            day,
            start,
            end,
            span.start.total,
            span.end.total,
            use,
            shared,
            plan_month.versions[place],
            segment.season,
            segment.year_before + sum(map(sum, uses[:place])),
            before,
            [first, last, length],
            detail,
            added,
            None,
            batch.at,
        )
    )


def _new_month(position: Position, part: Part) -> Month:
    return Month(
        account_id=position.account_id,
        project_id=position.project_id,
        kind=position.kind,
        month=part.month,
        rated_until=part.start,
        used=0,
        segments=[],
        posted=NOTHING,
    )


def _moves_later_months(batch: Batch, supply: Supply, last: datetime) -> bool:
    """Whether what is charged of it now moves the yearly steps of a month that is charged already, by
    another meter of the supply."""
    timeline = batch.timelines.get(supply)
    if timeline is None or not timeline.yearly:
        return False
    month = month_of(last, timeline.zone)
    return any(whose == supply and later > month for whose, later in batch.months)
