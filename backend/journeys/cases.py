"""An operator works off an exception case; going on with a stopped meter is part of it (C8)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

from backend.alerts import operations as alerts
from backend.alerts.queries import Case
from backend.control import operations as control
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.scope import Scope
from backend.metering import operations as metering
from backend.metering.rules import MeterModel
from backend.metering.takedowns import is_under_way
from backend.outbox.operations import postpone

from .case_ways import REFUNDS, RETRIES, Handling


class CaseAction(StrEnum):
    """NOTE closes the case: it was dealt with. RETRY tries again what the case is about; a stopped meter
    is sold to again: the worker reads its count first and stops again when it still does not fit.
    REFUND gives the money of the case back to who paid it."""

    NOTE = "NOTE"
    RETRY = "RETRY"
    REFUND = "REFUND"


async def resolve(
    *,
    scope: Scope,
    case_id: UUID,
    action: CaseAction,
    note: str,
    at: datetime,
    models: Mapping[str, MeterModel] = MappingProxyType({}),
) -> Case:
    """Close a case with a note, and do what the action says by the same commit.

    Raises NotFound, Forbidden, InvalidInput (no such way out of this case), Conflict.
    """
    async with unit_of_work(scope.group_id) as work:
        case = await alerts.resolve_case(work, scope=scope, case_id=case_id, note=note, at=at)
        if action is CaseAction.NOTE:
            return case
        ways = REFUNDS if action is CaseAction.REFUND else RETRIES | {"VEND_STOPPED": _sell_again}
        if case.kind not in ways:
            kinds = ", ".join(sorted(ways))
            raise InvalidInput(f"{action} is a way out of {kinds}", field="action")
        await ways[case.kind](work, Handling(case, scope, note.strip(), models, at))
    return case


async def _sell_again(work: UnitOfWork, handling: Handling) -> None:
    meter_id = UUID(handling.case.subject)
    if await is_under_way(work, meter_ids=[meter_id]):
        raise Conflict("this meter is being taken down: its last word decides")
    await metering.resume_selling(work, meter_id=meter_id)
    for vend_id in await control.requeue_stopped(work, meter_id=meter_id):
        await postpone(work, topic="vend.due", key=str(vend_id), due_at=handling.at)
