"""An operator works off an exception case; going on with a stopped meter is part of it (C8)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from backend.alerts import operations as alerts
from backend.alerts.queries import Case
from backend.control import operations as control
from backend.kernel.db import unit_of_work
from backend.kernel.errors import InvalidInput
from backend.kernel.scope import Scope
from backend.metering import operations as metering
from backend.outbox.operations import postpone


class CaseAction(StrEnum):
    """NOTE closes the case. RETRY also lets a stopped meter be sold to again: the worker reads the
    meter's count first and stops again when it still does not fit."""

    NOTE = "NOTE"
    RETRY = "RETRY"


async def resolve(
    *, scope: Scope, case_id: UUID, action: CaseAction, note: str, at: datetime
) -> Case:
    """Close a case with a note. Raises NotFound, Forbidden, InvalidInput, Conflict."""
    async with unit_of_work(scope.group_id) as work:
        case = await alerts.resolve_case(work, scope=scope, case_id=case_id, note=note, at=at)
        if action is CaseAction.RETRY:
            if case.kind != "VEND_STOPPED":
                raise InvalidInput("only a stopped vend can be retried", field="action")
            meter_id = UUID(case.subject)
            await metering.resume_selling(work, meter_id=meter_id)
            for vend_id in await control.requeue_stopped(work, meter_id=meter_id):
                await postpone(work, topic="vend.due", key=str(vend_id), due_at=at)
    return case
