"""To how many meters one operator may give a batch alone (C22, C30): a project's own limit."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.scope import Scope

from .models import Project
from .queries import project
from .rules import Permission, check_batch_limit


async def set_batch_limit(
    work: UnitOfWork, *, scope: Scope, project_id: UUID, alone: int, at: datetime
) -> Project:
    """To how many meters an hour one operator may give a batch alone (C22). Raises NotFound, Forbidden,
    InvalidInput."""
    found = await project(work, scope=scope, project_id=project_id)
    scope.require(Permission.PROJECT_WRITE, project_id)
    check_batch_limit(alone)
    before, found.batch_alone = found.batch_alone, alone
    await Project.filter(group_id=work.group_id, id=project_id).update(batch_alone=alone)
    await record(
        work,
        actor=scope.actor,
        action="project:batches:set",
        subject=str(project_id),
        at=at,
        project_id=project_id,
        before={"alone": before},
        after={"alone": alone},
    )
    return found
