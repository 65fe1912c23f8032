"""A batch of supplies as charging works on it: what is known of each, what is to be written.

Read set-based before, written set-based after; in between nothing waits for anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.accounts import queries as accounts
from backend.alerts.operations import NewCase, open_cases
from backend.charges import operations as charges
from backend.charges import queries
from backend.charges.rules import Amounts, Charge, Hold, Month, Point, Position, Reason, Supply
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.ids import uuid7s
from backend.ledger.purses import PurseCharge
from backend.ledger.purses import charge as charge_purses
from backend.metering import cloud
from backend.metering.cloud import CloudAssignment
from backend.metering.history import newest_of_meters
from backend.metering.registers import Reading
from backend.tariffs.calendar import step_period_start
from backend.tariffs.queries import timelines
from backend.tariffs.rules import StepPeriod, TariffKind

from .charge_rating import MonthPlan, Timeline

_AHEAD = timedelta(days=1)
_YEAR = timedelta(days=366)
_RECENT = timedelta(hours=3)
UNKNOWN = (None,) * 5


@dataclass(slots=True)
class Batch:
    """What is known of the supplies being charged, and what came of it. `moved` and `changed` are written
    back; `lines` is what each purse is charged, by project; assignments, their supplies and positions are
    found by assignment."""

    at: datetime
    assignments: dict[UUID, CloudAssignment]
    supplies: dict[UUID, Supply]
    positions: dict[UUID, Position]
    openings: dict[Supply, datetime]
    timelines: dict[Supply, Timeline]
    months: dict[tuple[Supply, date], Month]
    purses: dict[UUID, UUID]
    charged: list[Charge] = field(default_factory=list)
    moved: dict[UUID, Position] = field(default_factory=dict)
    changed: dict[tuple[Supply, date], Month] = field(default_factory=dict)
    lines: dict[UUID, dict[UUID, Amounts]] = field(default_factory=dict)
    cases: list[NewCase] = field(default_factory=list)
    ids: Iterator[UUID] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = uuid7s(self.at, together=100)

    def add(self, charge: Charge) -> None:
        """A charge, and what its purse pays for it."""
        self.charged.append(charge)
        of_project = self.lines.setdefault(charge.project_id, {})
        before = of_project.get(charge.purse_id)
        of_project[charge.purse_id] = (
            charge.amounts if before is None else before.plus(charge.amounts)
        )

    def hold(self, position: Position, hold: Hold, at: datetime) -> None:
        """Stop charging an assignment at a reading until a person acts (C14)."""
        if position.hold is hold and position.held_at == at:
            return
        position.hold, position.held_at = hold, at
        self.moved[position.assignment_id] = position
        self.cases.append(
            NewCase(
                position.project_id,
                "BILLING_HOLD",
                str(position.assignment_id),
                {"reason": str(hold), "reading": at.isoformat(), "meter": str(position.meter_id)},
            )
        )


async def gather(work: UnitOfWork, assignments: Iterable[CloudAssignment], at: datetime) -> Batch:
    """All that is known of the supplies of `assignments`, which are held until commit."""
    served = {each.id: each for each in assignments}
    supplies = {each.id: Supply(each.account_id, str(each.kind)) for each in served.values()}
    wanted: dict[Supply, tuple[UUID, datetime]] = {}
    for each in served.values():
        supply = supplies[each.id]
        known = wanted.get(supply)
        started = each.started_at if known is None else min(known[1], each.started_at)
        wanted[supply] = each.project_id, started
    openings = await charges.hold_supplies(work, supplies=wanted)
    # A takedown may have ended one since it was found; that holds the supply as well.
    for id_, ended_at, closing_total in await cloud.ends_of(work, assignment_ids=list(served)):
        served[id_] = served[id_]._replace(ended_at=ended_at, closing_total=closing_total)
    positions = await queries.positions_of(work, assignment_ids=list(served))
    if len(positions) < len(served):
        known_ids = {position.assignment_id for position in positions}
        missing = [each for each in served.values() if each.id not in known_ids]
        await charges.open_positions(work, positions=await _opened(work, missing))
        positions += await queries.positions_of(work, assignment_ids=[each.id for each in missing])
    by_id = {position.assignment_id: position for position in positions}
    account_ids = list({each.account_id for each in served.values()})
    first = min((position.last.at for position in by_id.values()), default=at)
    lines_of = await _timelines(work, served.values(), at)
    if any(line.yearly for line in lines_of.values()):
        first -= _YEAR
    return Batch(
        at=at,
        assignments=served,
        supplies=supplies,
        positions=by_id,
        openings=openings,
        timelines=lines_of,
        months=await queries.months_of(
            work, supplies=list(wanted), first=(first - _AHEAD).date().replace(day=1)
        ),
        purses=await accounts.purses(work, account_ids=account_ids),
    )


async def _opened(work: UnitOfWork, assignments: Iterable[CloudAssignment]) -> list[Position]:
    """Positions at the opening of assignments: their baselines (C14), with the bands that were read then."""
    by_start: dict[datetime, list[CloudAssignment]] = {}
    for each in assignments:
        by_start.setdefault(each.started_at, []).append(each)
    opened = []
    for at, started in by_start.items():
        read = await newest_of_meters(work, meter_ids=[each.meter_id for each in started], at=at)
        opened += [_position_at(each, read.get(each.meter_id)) for each in started]
    return opened


def _position_at(assignment: CloudAssignment, reading: Reading | None) -> Position:
    bands: tuple[int | None, ...] = UNKNOWN
    if reading is not None and reading.total == assignment.opening_total:
        names = ("spike", "peak", "flat", "valley", "deep")
        bands = tuple(reading.bands.get(name) for name in names)
    baseline = Point(assignment.started_at, assignment.opening_total, bands)
    return Position(
        assignment_id=assignment.id,
        project_id=assignment.project_id,
        account_id=assignment.account_id,
        kind=str(assignment.kind),
        meter_id=assignment.meter_id,
        baseline=baseline,
        last=baseline,
        seq=0,
        price_hao=0,
        estimated=False,
        held_at=None,
        hold=None,
    )


async def _timelines(
    work: UnitOfWork, served: Iterable[CloudAssignment], at: datetime
) -> dict[Supply, Timeline]:
    """The plans of each supply; supplies that have the same ones share their months made ready."""
    of_kind: dict[str, dict[UUID, str]] = {}
    for each in served:
        of_kind.setdefault(str(each.kind), {})[each.account_id] = each.time_zone
    found: dict[Supply, Timeline] = {}
    for kind, zones in of_kind.items():
        held = await timelines(
            work, account_ids=list(zones), kind=TariffKind(kind), until=at + _AHEAD
        )
        alike: dict[tuple[str, int], Timeline] = {}
        for account_id, plans in held.items():
            if not plans:
                continue
            zone = zones[account_id]
            line = alike.get((zone, id(plans)))
            if line is None:
                line = alike[zone, id(plans)] = Timeline(plans, ZoneInfo(zone))
            found[Supply(account_id, kind)] = line
    return found


def point_of(row: Row) -> Point:
    """The registers out of a row of readings: at, total and the five bands after the meter's id."""
    return Point(row[1], row[2], row[3:8])


async def fresh_points(work: UnitOfWork, batch: Batch, *, limit: int) -> dict[UUID, list[Point]]:
    """What was read of each assignment since it was last charged, oldest first, up to its end."""
    served = batch.assignments.values()
    asked = [(each.meter_id, batch.positions[each.id].last.at) for each in served]
    recent = batch.at - _RECENT
    found = await cloud.readings_after(work, meters=asked, recent=recent, limit=limit)
    return {
        each.id: within([point_of(row) for row in rows], each)
        for each, rows in zip(served, found, strict=True)
    }


def within(points: list[Point], assignment: CloudAssignment) -> list[Point]:
    """Points up to an assignment's end, and its closing registers as the last one."""
    ended, closing = assignment.ended_at, assignment.closing_total
    if ended is None:
        return points
    kept = [point for point in points if point.at <= ended]
    if closing is not None and (not kept or kept[-1].at < ended):
        kept.append(Point(ended, closing))
    return kept


async def write(work: UnitOfWork, batch: Batch) -> int:
    """Post and keep what came of a batch: an entry a project, with a posting a purse; how many charges."""
    entries: dict[UUID, UUID] = {}
    for project_id in sorted(batch.lines):
        of_project = batch.lines[project_id]
        wanted = [
            PurseCharge(purse, amounts) for purse, amounts in of_project.items() if any(amounts)
        ]
        if wanted:
            entry_id = await charge_purses(
                work,
                project_id=project_id,
                business_key=f"charge:{next(batch.ids)}",
                charges=wanted,
                at=batch.at,
            )
            if entry_id is not None:
                entries[project_id] = entry_id
    if batch.charged:
        await charges.write_charges(work, charges=batch.charged, entries=entries, at=batch.at)
    await charges.move_positions(work, positions=list(batch.moved.values()))
    await charges.write_months(work, months=list(batch.changed.values()))
    await open_cases(work, cases=batch.cases, at=batch.at)
    return len(batch.charged)


def reversed_estimates(batch: Batch, standing: Sequence[Charge]) -> None:
    """Take provisional charges back whole, each by a new one: the true reading came (C15)."""
    for estimate in standing:
        position = batch.positions[estimate.assignment_id]
        position.seq += 1
        position.estimated = False
        batch.moved[position.assignment_id] = position
        batch.add(
            estimate._replace(
                id=next(batch.ids),
                purse_id=batch.purses[estimate.account_id],
                seq=position.seq,
                reason=Reason.ESTIMATE_REVERSED,
                use=tuple(-each for each in estimate.use),
                detail={"reverses": str(estimate.id)},
                amounts=Amounts().less(estimate.amounts),
                charged_at=batch.at,
            )
        )


def years_before(
    months: Mapping[tuple[Supply, date], Month], supply: Supply, plan_month: MonthPlan
) -> dict[int, int]:
    """What a supply used of the step year before a month, by place, for plans whose steps are yearly."""
    if not plan_month.yearly:
        return {}
    month = plan_month.month
    found = {}
    for place, plan in enumerate(plan_month.plans):
        if plan.terms.step_period is StepPeriod.YEAR:
            first = step_period_start(plan, month)
            found[place] = sum(
                held.used
                for (whose, when), held in months.items()
                if whose == supply and first <= when < month
            )
    return found
