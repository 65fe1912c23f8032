"""The books' own jobs: fetch and compare a bill, prove a project's meters, state its day (C6, C11)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from uuid import UUID

from backend.journeys.daily_statement import make_statements, plan_statements
from backend.journeys.late_settled import look_at_late
from backend.journeys.prove_meters import plan_proofs, prove_project
from backend.journeys.reconcile import plan_bills, reconcile_day
from workers.context import WorkerContext


async def bill_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """A bill is out, or was not yet at the last try. Raises Unavailable, ChannelRefused."""
    return await reconcile_day(context.ports, group_id=group_id, day_id=UUID(payload["day_id"]))


async def late_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """A payment was settled after the bill of its day: whether a bill names it."""
    return await look_at_late(
        group_id=group_id,
        order_id=UUID(payload["order_id"]),
        settled_on=date.fromisoformat(payload["settled_on"]),
        at=context.ports.clock.now(),
    )


async def proof_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """A project's day is over: its meters are proved."""
    await prove_project(
        group_id=group_id,
        project_id=UUID(payload["project_id"]),
        day=date.fromisoformat(payload["day"]),
        at=context.ports.clock.now(),
    )
    return None


async def statement_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    """A project's day is over: it is stated, and days before it that were left out."""
    await make_statements(
        box=context.ports.box,
        group_id=group_id,
        project_id=UUID(payload["project_id"]),
        until=date.fromisoformat(payload["day"]),
        at=context.ports.clock.now(),
    )
    return None


async def plan_books(*, group_id: int, at: datetime) -> None:
    """Plan what of a group is due by now: bills, proofs, statements."""
    await plan_bills(group_id=group_id, at=at)
    await plan_proofs(group_id=group_id, at=at)
    await plan_statements(group_id=group_id, at=at)
