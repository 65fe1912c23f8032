"""What circuits may draw, and those that were locked for it 恶性负载 (A24, C21)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from backend.control import load_guards
from backend.control.load_guards import KeptGuard
from backend.control.load_rules import LoadGuard as GuardRow
from backend.control.load_rules import RunBy, guard_of
from backend.control.safety_trips import SafetyTrip as TripRow
from backend.control.safety_trips import trips_of_project
from backend.control.supply_rules import SafetyLock
from backend.journeys import dormitory as journey
from backend.kernel.db import UnitOfWork
from backend.tenancy.rules import Permission

from .context import Info
from .nodes import Node
from .paging import size
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of

strawberry.enum(
    RunBy,
    description="Who looks after what circuits draw. METER: faster, at once. CLOUD: at each reading.",
)
strawberry.enum(
    SafetyLock,
    description="OVERLOAD 过载, MALIGNANT_LOAD 恶性负载: money does not lift it.",
)


@strawberry.input(description="Steps of power between the two, in W, are allowed.")
class PowerRangeInput:
    """白名单."""

    low: int
    high: int


@strawberry.type(description="Steps of power between the two, in W, are allowed.")
class PowerRange:
    """白名单."""

    low: int
    high: int


@strawberry.input(description="What circuits may draw.")
class LoadGuardInput:
    """负载规则."""

    name: str
    most_w: int | None = strawberry.field(
        default=None, description="Above it is an overload; null: not looked for."
    )
    step_w: int | None = strawberry.field(
        default=None,
        description="A resistive step of so much or more is a malignant load; null: not looked for.",
    )
    factor_permille: int = strawberry.field(
        default=950, description="From this power factor on a step is resistive; 800 to 1000."
    )
    allowed: list[PowerRangeInput] = strawberry.field(default_factory=list)
    restore_minutes: int = strawberry.field(
        default=10, description="After so long power comes back by itself."
    )
    trips_a_day: int = strawberry.field(
        default=3, description="The last of so many a day stays until an operator unlocks."
    )
    by_meter: bool = strawberry.field(
        default=False,
        description="Meters that can are told the guard and run it; the cloud runs it for the others.",
    )


@strawberry.type(description="What circuits may draw.")
class LoadGuard(Node):
    """负载规则."""

    name: str
    most_w: int | None
    step_w: int | None
    factor_permille: int
    allowed: list[PowerRange]
    restore_minutes: int
    trips_a_day: int
    by_meter: bool


@strawberry.type(description="Meters were put under a guard, or under none.")
class GuardedMeters:
    """负载规则下达."""

    meters: int


@strawberry.type(description="A circuit that was locked for its load.")
class SafetyTrip:
    """负载跳闸."""

    meter: strawberry.ID
    lock: SafetyLock
    tripped_at: datetime
    restore_at: datetime | None = strawberry.field(
        description="Null: not before an operator unlocks, or nobody knows when the meter ends it."
    )
    by_meter: bool = strawberry.field(description="The meter tripped, and ends it, by itself.")
    detail: JSON = strawberry.field(description="What it was seen by.")
    ended_at: datetime | None
    ended_by: str | None
    note: str | None


LoadGuardResult = Annotated[LoadGuard | AnyProblem, strawberry.union("LoadGuardResult")]
GuardedMetersResult = Annotated[GuardedMeters | AnyProblem, strawberry.union("GuardedMetersResult")]
SafetyTripResult = Annotated[SafetyTrip | AnyProblem, strawberry.union("SafetyTripResult")]


def guard_as_shown(row: KeptGuard) -> LoadGuard:
    """A guard as the schema shows it."""
    guard = row.guard
    return LoadGuard(
        id=ref("LoadGuard", row.id),
        name=row.name,
        most_w=guard.most_w,
        step_w=guard.step_w,
        factor_permille=guard.factor_permille,
        allowed=[PowerRange(low=low, high=high) for low, high in guard.allowed],
        restore_minutes=int(guard.restore.total_seconds() // 60),
        trips_a_day=guard.trips_a_day,
        by_meter=guard.by_meter,
    )


def trip_of(row: TripRow) -> SafetyTrip:
    """A trip as the schema shows it."""
    return SafetyTrip(
        meter=ref("Meter", row.meter_id),
        lock=row.kind,
        tripped_at=row.tripped_at,
        restore_at=row.restore_at,
        by_meter=row.by_meter,
        detail=JSON(dict(row.detail)),
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        note=row.note,
    )


async def load_guard(work: UnitOfWork, info: Info, guard_id: UUID) -> LoadGuard:
    """One guard by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return guard_as_shown(await load_guards.guard(work, scope=scope, guard_id=guard_id))


@strawberry.type
class DormitoryQueries:
    """Reads."""

    @field(description="The load guards of a project, by name.")
    async def load_guards(self, info: Info, project: strawberry.ID) -> list[LoadGuard]:
        """Raises NotFound, Forbidden."""
        async with info.context.work() as work:
            rows = await load_guards.guards_of_project(
                work, scope=info.context.caller(), project_id=uuid_of(project, "Project")
            )
        return [guard_as_shown(row) for row in rows]

    @field(description="Circuits of a project that were locked for their load, newest first.")
    async def safety_trips(
        self, info: Info, project: strawberry.ID, running: bool = False, first: int = 20
    ) -> list[SafetyTrip]:
        """`running`: only those that are locked now. Raises NotFound, Forbidden, InvalidInput."""
        async with info.context.work() as work:
            rows = await trips_of_project(
                work,
                scope=info.context.caller(),
                project_id=uuid_of(project, "Project"),
                running=running,
                limit=size(first),
            )
        return [trip_of(row) for row in rows]


@strawberry.type
class DormitoryMutations:
    """Writes."""

    @mutation(Permission.METER_CONTROL)
    async def save_load_guard(
        self, info: Info, project: strawberry.ID, guard: LoadGuardInput
    ) -> LoadGuardResult:
        """Make a load guard, or change the one of that name for all meters under it."""
        context, made = info.context, _guard_of(guard)
        async with context.work() as work:
            row = await load_guards.save_guard(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                name=guard.name,
                guard=made,
                at=context.now,
            )
        return guard_as_shown(row)

    @mutation(Permission.METER_CONTROL)
    async def guard_meters(
        self, info: Info, guard: strawberry.ID | None, meters: list[strawberry.ID], reason: str
    ) -> GuardedMetersResult:
        """Put meters under a load guard, or under none."""
        context = info.context
        count = await journey.guard_meters(
            scope=context.caller(),
            guard_id=None if guard is None else uuid_of(guard, "LoadGuard"),
            meter_ids=[uuid_of(each, "Meter") for each in meters],
            reason=reason,
            at=context.now,
        )
        return GuardedMeters(meters=count)

    @mutation(Permission.METER_CONTROL)
    async def unlock_circuit(self, info: Info, meter: strawberry.ID, note: str) -> SafetyTripResult:
        """End the lock of a circuit that was locked for its load."""
        context = info.context
        row = await journey.unlock_circuit(
            scope=context.caller(),
            meter_id=uuid_of(meter, "Meter"),
            note=note,
            at=context.now,
        )
        return trip_of(row)


def _guard_of(given: LoadGuardInput) -> GuardRow:
    return guard_of(
        most_w=given.most_w,
        step_w=given.step_w,
        factor_permille=given.factor_permille,
        allowed=[(each.low, each.high) for each in given.allowed],
        restore_minutes=given.restore_minutes,
        trips_a_day=given.trips_a_day,
        by_meter=given.by_meter,
    )
