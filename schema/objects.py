"""`node`: any object by its opaque id, through the same doors as everywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import strawberry

from backend.accounts import queries as accounts
from backend.alerts import queries as alerts
from backend.control import commands
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import NotFound
from backend.metering import queries as metering
from backend.tenancy import queries as tenancy

from .accounts import load_account
from .alarms import load_alarm
from .batches import load_batch
from .cases import case_of
from .cashier import load_shift
from .commands import command_of
from .context import Info
from .dormitory import load_guard
from .meters import gateway_of, load_meter
from .nodes import Node
from .occupancy import load_closing
from .projects import area_of, project_of
from .reconcile import load_bill_day, load_bill_item, load_meter_proof
from .refunds import load_refund
from .resolvers import field
from .scalars import split_ref
from .supply import load_request
from .takedowns import load_takedown
from .tariff_changes import load_change
from .tariffs import load_tariff, load_version
from .timetables import load_timetable, load_timing
from .topups import load_topup

Door = Callable[[UnitOfWork, Info, UUID], Awaitable[Node]]


async def _project(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    return project_of(await tenancy.project(work, scope=info.context.caller(), project_id=id_))


async def _area(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    return area_of(await accounts.area(work, scope=info.context.caller(), area_id=id_))


async def _gateway(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    return gateway_of(await metering.gateway(work, scope=info.context.caller(), gateway_id=id_))


async def _topup(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    return await load_topup(work, scope=info.context.caller(), order_id=id_)


async def _case(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    return case_of(await alerts.case(work, scope=info.context.caller(), case_id=id_))


async def _command(work: UnitOfWork, info: Info, id_: UUID) -> Node:
    scope = info.context.caller()
    return command_of(await commands.command(work, scope=scope, command_id=id_))


# A type that is a Node and is not here cannot be reached by id (a test walks the schema).
DOORS: dict[str, Door] = {
    "Account": load_account,
    "Alarm": load_alarm,
    "Area": _area,
    "Batch": load_batch,
    "BillDay": load_bill_day,
    "BillItem": load_bill_item,
    "Case": _case,
    "Closing": load_closing,
    "Command": _command,
    "Gateway": _gateway,
    "LoadGuard": load_guard,
    "Meter": load_meter,
    "MeterProof": load_meter_proof,
    "Project": _project,
    "Refund": load_refund,
    "Shift": load_shift,
    "SupplyRequest": load_request,
    "Takedown": load_takedown,
    "Tariff": load_tariff,
    "TariffChange": load_change,
    "TariffVersion": load_version,
    "Timetable": load_timetable,
    "Timing": load_timing,
    "TopUp": _topup,
}
_MISSING = "no such object"


@strawberry.type
class NodeQueries:
    """Reads."""

    @field(description="Any object by its id.")
    async def node(self, info: Info, id: strawberry.ID) -> Node:
        """By id. Raises NotFound in the same words whatever the id says (C29)."""
        info.context.caller()
        kind, id_ = split_ref(id)
        if kind not in DOORS:
            raise NotFound(_MISSING)
        async with info.context.work() as work:
            try:
                return await DOORS[kind](work, info, id_)
            except NotFound:
                raise NotFound(_MISSING) from None
