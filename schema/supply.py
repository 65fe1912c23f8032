"""Supply (供电): what is wanted of a meter, what protects it, what was decided and by what (C19-C23)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from backend.control import supply_requests as requests
from backend.control.command_rules import CommandKind
from backend.control.decisions import KeptDecision
from backend.control.supplies import MeterSupply
from backend.control.supplies import Said as SaidRow
from backend.control.supply_requests import RequestKind, RequestState
from backend.control.supply_requests import SupplyRequest as RequestRow
from backend.control.supply_rules import SupplyPolicy, Want, Why
from backend.journeys import supply as journey
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
    SupplyPolicy,
    description="What the operator wants. AUTO: its money decides. KEEP_ON 保电. FORCED_OFF 拉闸.",
)
strawberry.enum(Want, name="SupplyIntent", description="AS_IS: nothing is wanted, nothing is done.")
strawberry.enum(
    Why,
    name="SupplyReason",
    description="The rule that decided, from high to low, or one that held an automatic cut back.",
)
strawberry.enum(
    RequestKind,
    name="SupplyRequestKind",
    description="END_PROTECTION: off the protected list. EMERGENCY_TRIP: open the relay whatever stands"
    " in the way, until the emergency is ended.",
)
strawberry.enum(
    RequestState,
    name="SupplyRequestState",
    description="OPEN waits for a second operator, until it expires.",
)


@strawberry.type(description="Who said something, why and when.")
class Said:
    """谁、为何、何时."""

    reason: str
    by: str
    at: datetime


@strawberry.type(description="What is wanted of a meter's supply, and what was decided last.")
class Supply:
    """供电状态."""

    policy: SupplyPolicy
    policy_said: Said | None
    until: datetime | None = strawberry.field(description="Then the policy is AUTO again.")
    protected: Said | None = strawberry.field(description="保护名单: never tripped.")
    review_at: datetime | None = strawberry.field(description="Is the protection still needed?")
    emergency: Said | None = strawberry.field(description="Tripped by two operators.")
    want: Want | None = strawberry.field(description="Null before the first decision.")
    why: Why | None
    decided_at: datetime | None


@strawberry.type(description="A decision over a supply, with all that it was taken from.")
class SupplyDecision:
    """决定."""

    decided_at: datetime
    want: Want
    why: Why
    held_back: list[Why] = strawberry.field(
        description="What kept an automatic cut from happening."
    )
    command: CommandKind | None
    inputs: JSON = strawberry.field(description="Money in 1/10,000 yuan, spans in seconds.")


@strawberry.type(description="What takes a second operator.")
class SupplyRequest(Node):
    """双人确认."""

    kind: RequestKind
    state: RequestState
    meter: strawberry.ID
    reason: str
    asked_by: str
    asked_at: datetime
    expires_at: datetime
    ruled_by: str | None
    ruled_at: datetime | None


SupplyResult = Annotated[Supply | AnyProblem, strawberry.union("SupplyResult")]
SupplyRequestResult = Annotated[SupplyRequest | AnyProblem, strawberry.union("SupplyRequestResult")]


def _said_of(row: SaidRow | None) -> Said | None:
    return None if row is None else Said(reason=row.reason, by=row.by, at=row.at)


def supply_of(row: MeterSupply, at: datetime) -> Supply:
    """A supply as the schema shows it at an instant."""
    return Supply(
        policy=row.policy_at(at),
        policy_said=_said_of(row.policy_said),
        until=row.until,
        protected=_said_of(row.protected),
        review_at=row.review_at,
        emergency=_said_of(row.emergency),
        want=row.want,
        why=row.why,
        decided_at=row.decided_at,
    )


def decision_of(row: KeptDecision) -> SupplyDecision:
    """A decision as the schema shows it."""
    return SupplyDecision(
        decided_at=row.decided_at,
        want=row.want,
        why=row.why,
        held_back=list(row.held_back),
        command=row.command,
        inputs=JSON(dict(row.inputs)),
    )


def request_of(row: RequestRow) -> SupplyRequest:
    """A request as the schema shows it."""
    return SupplyRequest(
        id=ref("SupplyRequest", row.id),
        kind=row.kind,
        state=row.state,
        meter=ref("Meter", row.meter_id),
        reason=row.reason,
        asked_by=row.asked_name,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        ruled_by=row.ruled_name,
        ruled_at=row.ruled_at,
    )


async def load_request(work: UnitOfWork, info: Info, request_id: UUID) -> SupplyRequest:
    """One request by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return request_of(await requests.request(work, scope=scope, request_id=request_id))


@strawberry.type
class SupplyQueries:
    """Reads."""

    @field(description="What took or takes a second operator in a project, newest first.")
    async def supply_requests(
        self, info: Info, project: strawberry.ID, first: int = 20
    ) -> list[SupplyRequest]:
        """Raises NotFound where the caller may not read, InvalidInput."""
        async with info.context.work() as work:
            rows = await requests.requests_of_project(
                work,
                scope=info.context.caller(),
                project_id=uuid_of(project, "Project"),
                limit=size(first),
            )
        return [request_of(row) for row in rows]


@strawberry.type
class SupplyMutations:
    """Writes."""

    @mutation(Permission.METER_PROTECT)
    async def protect_meter(
        self, info: Info, meter: strawberry.ID, reason: str, review_at: datetime
    ) -> SupplyResult:
        """Put a meter on the protected list: nothing but an emergency of two operators trips it."""
        context = info.context
        row = await journey.protect_meter(
            scope=context.caller(),
            meter_id=uuid_of(meter, "Meter"),
            reason=reason,
            review_at=review_at,
            at=context.now,
        )
        return supply_of(row, context.now)

    @mutation(Permission.METER_PROTECT)
    async def ask_to_end_protection(
        self, info: Info, meter: strawberry.ID, reason: str
    ) -> SupplyRequestResult:
        """Ask a second operator to agree that a meter leaves the protected list."""
        return await _ask(info, meter, RequestKind.END_PROTECTION, reason)

    @mutation(Permission.METER_CONTROL)
    async def ask_for_emergency_trip(
        self, info: Info, meter: strawberry.ID, reason: str
    ) -> SupplyRequestResult:
        """Ask a second operator to agree to a trip whatever stands in the way; good for 30 minutes."""
        return await _ask(info, meter, RequestKind.EMERGENCY_TRIP, reason)

    @mutation(Permission.SUPPLY_APPROVE)
    async def rule_supply_request(
        self, info: Info, request: strawberry.ID, approved: bool
    ) -> SupplyRequestResult:
        """Approve what another operator asked for, or refuse it."""
        context = info.context
        row = await journey.rule_second(
            scope=context.caller(),
            request_id=uuid_of(request, "SupplyRequest"),
            approved=approved,
            models=context.ports.meter_models,
            at=context.now,
        )
        return request_of(row)

    @mutation(Permission.METER_CONTROL)
    async def end_emergency(self, info: Info, meter: strawberry.ID, reason: str) -> SupplyResult:
        """End an emergency; the supply comes back as whatever else is wanted of it says."""
        context = info.context
        row = await journey.end_emergency(
            scope=context.caller(),
            meter_id=uuid_of(meter, "Meter"),
            reason=reason,
            at=context.now,
        )
        return supply_of(row, context.now)


async def _ask(info: Info, meter: strawberry.ID, kind: RequestKind, reason: str) -> SupplyRequest:
    context = info.context
    row = await journey.ask_second(
        scope=context.caller(),
        meter_id=uuid_of(meter, "Meter"),
        kind=kind,
        reason=reason,
        at=context.now,
    )
    return request_of(row)
