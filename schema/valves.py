"""The monthly exercise of valves (A18)."""

from __future__ import annotations

from typing import Annotated

import strawberry

from backend.control import exercises
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import clock_of, minute_of, uuid_of


@strawberry.type(description="Whether a project's valves are moved once a month, against scale.")
class ValveExercise:
    """阀门活动."""

    starts: str | None = strawberry.field(
        description="HH:MM from which on, for two hours, valves are shut for some minutes that nothing"
        " flows through; null: they are not."
    )


ValveExerciseResult = Annotated[ValveExercise | AnyProblem, strawberry.union("ValveExerciseResult")]


def exercise_of(starts: int | None) -> ValveExercise:
    """An exercise as the schema shows it."""
    return ValveExercise(starts=None if starts is None else clock_of(starts))


@strawberry.type
class ValveQueries:
    """Reads."""

    @field(description="Whether a project's valves are moved once a month.")
    async def valve_exercise(self, info: Info, project: strawberry.ID) -> ValveExercise:
        """Raises NotFound."""
        async with info.context.work() as work:
            starts = await exercises.exercise(
                work, scope=info.context.caller(), project_id=uuid_of(project, "Project")
            )
        return exercise_of(starts)


@strawberry.type
class ValveMutations:
    """Writes."""

    @mutation(Permission.PROJECT_WRITE)
    async def set_valve_exercise(
        self, info: Info, project: strawberry.ID, starts: str | None = None
    ) -> ValveExerciseResult:
        """Move a project's valves once a month from HH:MM on, or (null) not any more."""
        context = info.context
        async with context.work() as work:
            kept = await exercises.set_exercise(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                starts=None if starts is None else minute_of(starts, "starts"),
                at=context.now,
            )
        return exercise_of(kept)
