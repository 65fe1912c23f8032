"""What a project decides for itself: how often it is read, what one operator may do alone, when it warns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.audit.rules import State
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.kernel.scope import Scope

from .models import Project
from .queries import project
from .rules import (
    Permission,
    check_batch_limit,
    check_collection,
    check_estimates,
    check_refund_limit,
    check_warning,
)


async def set_collection(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    sweep_minutes: int,
    lost_after_sweeps: int,
    at: datetime,
) -> Project:
    """How often a project's meters are read, and after how many missed sweeps one is lost (A8, C26).

    Raises NotFound, Forbidden, InvalidInput.
    """
    found = await _writable(work, scope, project_id)
    check_collection(sweep_minutes=sweep_minutes, lost_after_sweeps=lost_after_sweeps)
    values = {"sweep_minutes": sweep_minutes, "lost_after_sweeps": lost_after_sweeps}
    return await _set(work, found, "collection", values, _collection, scope, at)


async def set_refund_limit(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, alone: Money, at: datetime
) -> Project:
    """Up to how much of one order an operator refunds without a second one (C30).

    Raises NotFound, Forbidden, InvalidInput.
    """
    found = await _writable(work, scope, project_id)
    values = {"refund_alone_fen": check_refund_limit(alone)}
    return await _set(work, found, "refund_limit", values, _refund_limit, scope, at)


async def set_estimates(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, after_days: int, at: datetime
) -> Project:
    """After how many days of silence a CLOUD meter is charged provisionally (C15); 0: only when asked.

    Raises NotFound, Forbidden, InvalidInput.
    """
    found = await _writable(work, scope, project_id)
    check_estimates(after_days)
    values = {"estimate_after_days": after_days}
    return await _set(work, found, "estimates", values, _estimates, scope, at)


async def set_warning(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, days_left: int, at: datetime
) -> Project:
    """How many days before their money ends customers are warned (A22). Raises NotFound, Forbidden,
    InvalidInput."""
    found = await _writable(work, scope, project_id)
    check_warning(days_left)
    return await _set(work, found, "warning", {"warn_days_left": days_left}, _warning, scope, at)


async def set_batch_limit(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, alone: int, at: datetime
) -> Project:
    """To how many meters an hour one operator may give a batch alone (C22, C30). Raises NotFound, Forbidden,
    InvalidInput."""
    found = await _writable(work, scope, project_id)
    check_batch_limit(alone)
    return await _set(work, found, "batches", {"batch_alone": alone}, _batch_limit, scope, at)


def _collection(of: Project) -> State:
    return {"sweepMinutes": of.sweep_minutes, "lostAfterSweeps": of.lost_after_sweeps}


def _refund_limit(of: Project) -> State:
    return {"alone": str(Money.of_fen(of.refund_alone_fen))}


def _estimates(of: Project) -> State:
    return {"afterDays": of.estimate_after_days}


def _warning(of: Project) -> State:
    return {"daysLeft": of.warn_days_left}


def _batch_limit(of: Project) -> State:
    return {"alone": of.batch_alone}


async def _writable(work: UnitOfWork, scope: Scope, project_id: UUID) -> Project:
    found = await project(work, scope=scope, project_id=project_id)
    scope.require(Permission.PROJECT_WRITE, project_id)
    return found


async def _set(
    work: UnitOfWork,
    found: Project,
    part: str,
    values: Mapping[str, int],
    told: Callable[[Project], State],
    scope: Scope,
    at: datetime,
) -> Project:
    """Keep values that are checked, and write down what they were and are, in the words of `told`; nothing
    where nothing changes."""
    before = told(found)
    found.update_from_dict(dict(values))
    if told(found) == before:
        return found
    await Project.filter(group_id=work.group_id, id=found.id).update(**values)
    await record(
        work,
        actor=scope.actor,
        action=f"project:{part}:set",
        subject=str(found.id),
        at=at,
        project_id=found.id,
        before=before,
        after=told(found),
    )
    return found
