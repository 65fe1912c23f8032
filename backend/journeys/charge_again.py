"""Rate the months of a supply anew from all its readings, and post what they cost more or less (C13, C15).

For what came late, for rulings on readings that went back, and for whoever asks: it ends where charging in
order would have ended, and posts nothing when nothing changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
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
    Ruling,
    Supply,
)
from backend.kernel.band_calendar import BANDS
from backend.kernel.clock import Period
from backend.kernel.db import UnitOfWork
from backend.metering import cloud
from backend.metering.history import newest_until, readings_of_meters
from backend.metering.registers import Reading
from backend.tariffs.calendar import midnight, month_of

from .charge_batch import Batch, within, years_before
from .charge_rating import Part, Timeline, amounts_to_date, kept, segments_to_date, spans

_US = timedelta(microseconds=1)
_YEAR = timedelta(days=366)
_MOST = 100_000  # readings of a meter: five years of half hours
_NO_USE = (0,) * 6
_Rulings = Mapping[UUID, Mapping[datetime, Ruling]]


@dataclass(slots=True)
class _Anew:
    """The parts of a supply's spans from a month on, and where its assignments stand then."""

    parts: list[Part]
    about: Position


async def rate_again(work: UnitOfWork, batch: Batch, supply: Supply, first: datetime) -> None:
    """Rate a supply of the batch anew from the month of the readings before `first` on, for the use from
    there to `first` is shared anew over both months. The supply is held."""
    timeline = batch.timelines.get(supply)
    positions = await queries.positions_of_supplies(work, supplies=[supply])
    for position in positions:
        known = batch.positions.setdefault(position.assignment_id, position)
        known.baseline = position.baseline
    own = [batch.positions[each.assignment_id] for each in positions]
    if timeline is None:
        for position in own:
            batch.hold(position, Hold.NO_TARIFF, position.last.at)
        return
    rulings = await queries.rulings_of(work, assignment_ids=[each.assignment_id for each in own])
    before = [await _last_good(work, each, first - _US, rulings) for each in own]
    month = month_of(min(first, *(point.at for point in before)), timeline.zone)
    earlier = await queries.months_of(
        work, supplies=[supply], first=month - _YEAR if timeline.yearly else month
    )
    batch.months = earlier | batch.months
    anew = await _parts(work, batch, own, timeline, month, rulings)
    if anew is not None:
        _difference(batch, supply, timeline, month, anew)


async def _parts(
    work: UnitOfWork,
    batch: Batch,
    own: list[Position],
    timeline: Timeline,
    month: date,
    rulings: _Rulings,
) -> _Anew | None:
    """What all assignments of a supply used from a month on; their positions move to their last points.

    None when a reading that came late cannot be where it is charged already: what was charged stays as it is
    until a person rules on that reading (C14).
    """
    served = await cloud.cloud_assignments(work, account_ids=[own[0].account_id])
    by_id = {each.id: each for each in served}
    start = midnight(month, timeline.zone)
    parts: list[Part] = []
    for position in own:
        assignment = by_id[position.assignment_id]
        first = await _last_good(work, position, start, rulings)
        points = [first, *within(await _later(work, position, first), assignment)]
        if not timeline.holds(points[0].at):
            batch.hold(position, Hold.NO_TARIFF, points[0].at)
            continue
        rated, stop = spans(points, assignment.kind, rulings[position.assignment_id])
        if stop is not None and stop.at <= position.last.at:
            batch.hold(position, stop.hold, stop.at)
            return None
        for span in rated:
            parts += [part for part in timeline.parts(span) if part.month >= month]
        position.last = rated[-1].end if rated else points[0]
        position.hold, position.held_at = None, None
        batch.moved[position.assignment_id] = position
        if stop is not None:
            batch.hold(position, stop.hold, stop.at)
    return _Anew(parts, max(own, key=lambda each: (each.last.at, each.assignment_id.int)))


async def _last_good(
    work: UnitOfWork, position: Position, at: datetime, rulings: _Rulings
) -> Point:
    """The last reading of an assignment at or before an instant that is not to be ignored, else its
    baseline."""
    ruled = rulings[position.assignment_id]
    while at > position.baseline.at:
        reading = await newest_until(work, meter_id=position.meter_id, at=at)
        if reading is None or reading.at <= position.baseline.at:
            break
        if ruled.get(reading.at) is not Ruling.IGNORE:
            return _point(reading)
        at = reading.at - _US
    return position.baseline


async def _later(work: UnitOfWork, position: Position, first: Point) -> list[Point]:
    """All readings of an assignment's meter after one, oldest first."""
    period = Period(first.at + _US, None)
    found = await readings_of_meters(
        work, meter_ids=[position.meter_id], period=period, limit=_MOST
    )
    return [_point(reading) for reading in reversed(found[position.meter_id])]


def _point(reading: Reading) -> Point:
    return Point(reading.at, reading.total, tuple(reading.bands.get(band) for band in BANDS))


def _difference(batch: Batch, supply: Supply, timeline: Timeline, first: date, anew: _Anew) -> None:
    """Price the months from `first` on by their parts; charge what each costs more or less than posted."""
    uses: dict[date, list[list[int]]] = {}
    until: dict[date, datetime] = {}
    for part in anew.parts:
        of_month = uses.setdefault(part.month, [])
        while len(of_month) <= part.place:
            of_month.append([0] * 6)
        of_month[part.place] = [a + b for a, b in zip(of_month[part.place], part.use, strict=True)]
        until[part.month] = max(until.get(part.month, part.end), part.end)
    there = [when for whose, when in batch.months if whose == supply and when >= first]
    for when in sorted({*uses, *there}):
        month = batch.months.get((supply, when))
        if month is None:
            month = _new_month(anew.about, when, until[when])
            batch.months[supply, when] = month
        plan_month = timeline.month(when)
        rated_until = until.get(when, month.rated_until)
        segments = segments_to_date(
            plan_month,
            uses.get(when, []),
            batch.openings[supply],
            rated_until,
            years_before(batch.months, supply, plan_month),
        )
        amounts = amounts_to_date(segments)
        added = amounts.less(month.posted)
        after = kept(segments, plan_month)
        if any(added) or _used_in(after) != _used_in(month.segments):
            batch.add(
                _correction(batch, anew.about, month, after, rated_until)._replace(amounts=added)
            )
        month.segments, month.posted, month.rated_until = after, amounts, rated_until
        month.used = sum(sum(segment.use) for segment in segments)
        batch.changed[supply, when] = month


def _new_month(about: Position, month: date, until: datetime) -> Month:
    return Month(
        account_id=about.account_id,
        project_id=about.project_id,
        kind=about.kind,
        month=month,
        rated_until=until,
        used=0,
        segments=[],
        posted=NOTHING,
    )


def _correction(
    batch: Batch, about: Position, month: Month, after: list[list[Any]], until: datetime
) -> Charge:
    """A charge of a month's difference; its use is what the month has more or less."""
    about.seq += 1
    batch.moved[about.assignment_id] = about
    before = month.segments
    return Charge(
        id=next(batch.ids),
        project_id=about.project_id,
        account_id=about.account_id,
        purse_id=batch.purses[about.account_id],
        assignment_id=about.assignment_id,
        seq=about.seq,
        reason=Reason.CORRECTION,
        kind=about.kind,
        month=month.month,
        day=month.month,
        from_at=min(month.rated_until, until),
        to_at=max(month.rated_until, until),
        from_total=None,
        to_total=None,
        use=tuple(a - b for a, b in zip(_sum_of(after), _sum_of(before), strict=True)),
        shared=False,
        version_id=None,
        season=None,
        step_before=None,
        use_before=None,
        days=None,
        detail={"before": before, "after": after},
        amounts=NOTHING,
        entry_id=None,
        charged_at=batch.at,
    )


def _used_in(segments: list[list[Any]]) -> list[Any]:
    """Use by segment; one without any is as none."""
    return [segment[3] for segment in segments if any(segment[3])]


def _sum_of(segments: list[list[Any]]) -> tuple[int, ...]:
    uses: list[tuple[int, ...]] = [tuple(segment[3]) for segment in segments]
    return tuple(map(sum, zip(*uses, strict=True))) if uses else _NO_USE
