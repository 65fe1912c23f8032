"""Who runs the load guards of a project's circuits, and what meters hold of them (A24)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import strawberry

from backend.control.load_rules import RunBy
from backend.journeys.load_limits import Run, runs_of_project

from .context import Info
from .dormitory import LoadGuard, guard_as_shown
from .paging import Connection, cut, page, size, uuid_key
from .resolvers import field
from .scalars import ref, uuid_of


@strawberry.type(
    description="What a meter opens its relay for by itself, and when it gives power back."
)
class LoadLimits:
    """表内负载参数."""

    most_w: int
    step_w: int
    factor_permille: int
    trips: int
    restore_minutes: int


@strawberry.type(description="A circuit under a load guard, and who runs it.")
class LoadRun:
    """负载规则由谁执行."""

    key: strawberry.Private[UUID]
    meter: strawberry.ID
    guard: LoadGuard
    by: RunBy
    why: str | None = strawberry.field(description="Why the cloud and not the meter.")
    wanted: LoadLimits | None = strawberry.field(
        description="What the meter is told; null: nothing, or to switch its load control off."
    )
    held: LoadLimits | None = strawberry.field(description="As it was read back; null: none.")
    held_at: datetime | None
    tries: int = strawberry.field(description="Commands that came to nothing since.")


def _limits_of(held: Mapping[str, int] | None) -> LoadLimits | None:
    if held is None or not held["on"]:
        return None
    return LoadLimits(**{name: value for name, value in held.items() if name != "on"})


def run_as_shown(row: Run) -> LoadRun:
    """A circuit under a guard as the schema shows it."""
    limits = row.limits
    return LoadRun(
        key=row.meter_id,
        meter=ref("Meter", row.meter_id),
        guard=guard_as_shown(row.guard),
        by=row.by,
        why=row.why or None,
        wanted=_limits_of(limits.desired if limits else None),
        held=_limits_of(limits.actual if limits else None),
        held_at=limits.actual_at if limits else None,
        tries=limits.tries if limits else 0,
    )


@strawberry.type
class LoadRunQueries:
    """Reads."""

    @field(
        description="Circuits of a project that are under a load guard, by meter, and who runs it."
    )
    async def load_runs(
        self, info: Info, project: strawberry.ID, first: int = 50, after: str | None = None
    ) -> Connection[LoadRun]:
        """Raises NotFound, Forbidden, InvalidInput."""
        context = info.context
        async with context.work() as work:
            found = await runs_of_project(
                work,
                scope=context.caller(),
                project_id=uuid_of(project, "Project"),
                models=context.ports.meter_models,
                after=uuid_key(after),
                limit=size(first) + 1,
            )
        rows, more = cut(found, first)
        return page([run_as_shown(row) for row in rows], more=more, key=lambda n: str(n.key))
