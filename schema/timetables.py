"""Timetables of circuits 定时: what they say, which meters follow them, who agreed (A24)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.control import timetables
from backend.control.timetable_rules import Slot, timetable_of
from backend.control.timetables import KeptTimetable, TimingState
from backend.control.timetables import Timing as TimingRow
from backend.journeys import timetable as journey
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.tenancy.rules import Permission

from .calendars import DayKind
from .context import Info
from .nodes import Node
from .paging import size
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import clock_of, minute_of, ref, uuid_of

strawberry.enum(
    TimingState,
    description="OPEN waits for a second operator, until it expires. DONE: the meters follow.",
)


@strawberry.input(description="From `start` on the circuit is on, or off.")
class TimetableSlotInput:
    """时段."""

    start: str = strawberry.field(description="HH:MM; the first of a day is 00:00.")
    on: bool


@strawberry.input(description="The slots of a kind of day, eight at most.")
class DayPlanInput:
    """日计划."""

    kind: DayKind
    slots: list[TimetableSlotInput]


@strawberry.type(description="From `start` on the circuit is on, or off.")
class TimetableSlot:
    """时段."""

    start: str = strawberry.field(description="HH:MM")
    on: bool


@strawberry.type(description="The slots of a kind of day.")
class DayPlan:
    """日计划."""

    kind: DayKind
    slots: list[TimetableSlot]


@strawberry.type(description="When circuits have power. It never changes: a new one is made.")
class Timetable(Node):
    """定时."""

    name: str
    plans: list[DayPlan] = strawberry.field(
        description="Without one a holiday is as a weekend, a weekend as a workday, exams as any day."
    )
    made_by: str
    made_at: datetime


@strawberry.type(description="Which timetable meters are to follow, and by whose word.")
class Timing(Node):
    """定时下达."""

    state: TimingState
    timetable: strawberry.ID | None = strawberry.field(description="Null: none any more.")
    meters: list[strawberry.ID]
    reason: str
    asked_by: str
    asked_at: datetime
    expires_at: datetime
    ruled_by: str | None
    ruled_at: datetime | None


TimetableResult = Annotated[Timetable | AnyProblem, strawberry.union("TimetableResult")]
TimingResult = Annotated[Timing | AnyProblem, strawberry.union("TimingResult")]


def timetable_as_shown(row: KeptTimetable) -> Timetable:
    """A timetable as the schema shows it."""
    return Timetable(
        id=ref("Timetable", row.id),
        name=row.name,
        plans=[
            DayPlan(
                kind=kind,
                slots=[TimetableSlot(start=clock_of(slot.minute), on=slot.on) for slot in plan],
            )
            for kind, plan in row.timetable.plans.items()
        ],
        made_by=row.made_by,
        made_at=row.made_at,
    )


def timing_of(row: TimingRow) -> Timing:
    """A plan of meters as the schema shows it."""
    timetable = row.timetable_id
    return Timing(
        id=ref("Timing", row.id),
        state=row.state,
        timetable=None if timetable is None else ref("Timetable", timetable),
        meters=[ref("Meter", each) for each in row.meter_ids],
        reason=row.reason,
        asked_by=row.asked_name,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        ruled_by=row.ruled_name,
        ruled_at=row.ruled_at,
    )


async def load_timetable(work: UnitOfWork, info: Info, timetable_id: UUID) -> Timetable:
    """One timetable by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    row = await timetables.timetable(work, scope=scope, timetable_id=timetable_id)
    return timetable_as_shown(row)


async def load_timing(work: UnitOfWork, info: Info, timing_id: UUID) -> Timing:
    """One plan of meters by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return timing_of(await timetables.timing(work, scope=scope, timing_id=timing_id))


def plans_of(given: list[DayPlanInput]) -> dict[DayKind, list[Slot]]:
    """Day plans as they were written down. Raises InvalidInput for a kind of day twice."""
    if len({each.kind for each in given}) < len(given):
        raise InvalidInput("each kind of day once", field="plans")
    return {
        each.kind: [Slot(minute_of(slot.start, "plans"), slot.on) for slot in each.slots]
        for each in given
    }


@strawberry.type
class TimetableQueries:
    """Reads."""

    @field(description="The timetables of a project, newest first.")
    async def timetables(self, info: Info, project: strawberry.ID) -> list[Timetable]:
        """Raises NotFound, Forbidden."""
        async with info.context.work() as work:
            rows = await timetables.timetables_of_project(
                work, scope=info.context.caller(), project_id=uuid_of(project, "Project")
            )
        return [timetable_as_shown(row) for row in rows]

    @field(description="Which meters were to follow which timetable, newest first.")
    async def timings(self, info: Info, project: strawberry.ID, first: int = 20) -> list[Timing]:
        """Raises NotFound, Forbidden, InvalidInput."""
        async with info.context.work() as work:
            rows = await timetables.timings_of_project(
                work,
                scope=info.context.caller(),
                project_id=uuid_of(project, "Project"),
                limit=size(first),
            )
        return [timing_of(row) for row in rows]


@strawberry.type
class TimetableMutations:
    """Writes."""

    @mutation(Permission.METER_CONTROL)
    async def make_timetable(
        self, info: Info, project: strawberry.ID, name: str, plans: list[DayPlanInput]
    ) -> TimetableResult:
        """Make a timetable for meters of a project to follow."""
        context = info.context
        row = await journey.make_timetable(
            scope=context.caller(),
            project_id=uuid_of(project, "Project"),
            name=name,
            timetable=timetable_of(plans_of(plans)),
            at=context.now,
        )
        return timetable_as_shown(row)

    @mutation(Permission.METER_CONTROL)
    async def follow_timetable(
        self,
        info: Info,
        timetable: strawberry.ID | None,
        meters: list[strawberry.ID],
        reason: str,
    ) -> TimingResult:
        """Let meters follow a timetable, or none; more than ten wait for a second operator."""
        context = info.context
        row = await journey.plan_timing(
            scope=context.caller(),
            timetable_id=None if timetable is None else uuid_of(timetable, "Timetable"),
            meter_ids=[uuid_of(each, "Meter") for each in meters],
            reason=reason,
            models=context.ports.meter_models,
            at=context.now,
        )
        return timing_of(row)

    @mutation(Permission.SUPPLY_APPROVE)
    async def rule_timing(self, info: Info, timing: strawberry.ID, approved: bool) -> TimingResult:
        """Agree to a plan of many meters that another operator made, or refuse it."""
        context = info.context
        row = await journey.rule_timing(
            scope=context.caller(),
            timing_id=uuid_of(timing, "Timing"),
            approved=approved,
            at=context.now,
        )
        return timing_of(row)
