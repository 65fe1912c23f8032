"""What operators want of a meter's supply, and the look of each minute that makes it so (C19-C23).

A command that switches is an intent first: TRIP is 拉闸, KEEP_POWER is 保电, the others give the supply back
to its money (恢复预付费). Protection and emergency stand above it. `tend_supplies` compares what is
wanted with what the relay shows, and repairs the difference by the way of every command.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from backend.audit.operations import record
from backend.control import supplies, supply_requests
from backend.control.command_rules import CommandKind, Order, check_reason
from backend.control.second_word import check_second_word
from backend.control.supplies import MeterSupply, Said
from backend.control.supply_requests import RequestKind, RequestState, SupplyRequest
from backend.control.supply_rules import Why
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.scope import Actor, Scope
from backend.metering import queries as metering
from backend.metering.models import Meter
from backend.metering.rules import MeterModel
from backend.tenancy.rules import Permission

from .command import ask

ENGINE = Actor("system", "supply", "supply engine")
_AT_ONCE = 500  # meters of one look
_PATIENCE = timedelta(minutes=5)  # before a meter that did not obey is told again
_AFTER_REFUSAL = timedelta(hours=1)  # before one that refused is
_NOT_OBEYED = "SUPPLY_NOT_OBEYED"
_REVIEW_WITHIN = timedelta(days=366)


async def protect_meter(
    *, scope: Scope, meter_id: UUID, reason: str, review_at: datetime, at: datetime
) -> MeterSupply:
    """Put a meter on the protected list: nothing but an emergency of two operators opens it any more.

    It does not end by itself: at `review_at` a case asks whether it is still needed. Raises NotFound,
    Forbidden, InvalidInput.
    """
    told = check_reason(reason)
    if not at < review_at <= at + _REVIEW_WITHIN:
        raise InvalidInput("look again within a year", field="reviewAt")
    async with unit_of_work(scope.group_id) as work:
        meter = await _meter(work, scope, meter_id, Permission.METER_PROTECT)
        await supplies.lock_supply(work, project_id=meter.project_id, meter_id=meter.id)
        said = Said(told, scope.actor.name, at)
        await supplies.set_protection(work, meter_id=meter.id, said=said, review_at=review_at)
        after = {"reason": told, "reviewAt": review_at.isoformat()}
        await _record(work, scope.actor, "supply:meter:protect", meter, after, at)
        return (await supplies.supplies_of_meters(work, meter_ids=[meter.id]))[meter.id]


async def ask_second(
    *, scope: Scope, meter_id: UUID, kind: RequestKind, reason: str, at: datetime
) -> SupplyRequest:
    """Ask for a second operator's word: to end a protection, or for an emergency trip.

    Raises NotFound, Forbidden, InvalidInput, Conflict (nothing protects the meter).
    """
    told = check_reason(reason)
    async with unit_of_work(scope.group_id) as work:
        meter = await _meter(work, scope, meter_id, _ASKS[kind])
        supply = await supplies.lock_supply(work, project_id=meter.project_id, meter_id=meter.id)
        if kind is RequestKind.END_PROTECTION and supply.protected is None:
            raise Conflict("nothing protects this meter")
        request = await supply_requests.add_request(
            work,
            project_id=meter.project_id,
            meter_id=meter.id,
            kind=kind,
            reason=told,
            actor=scope.actor,
            at=at,
        )
        after = {"kind": str(kind), "reason": told, "request": str(request.id)}
        await _record(work, scope.actor, "supply:request:ask", meter, after, at)
    return request


_ASKS = {
    RequestKind.END_PROTECTION: Permission.METER_PROTECT,
    RequestKind.EMERGENCY_TRIP: Permission.METER_CONTROL,
}


async def rule_second(
    *,
    scope: Scope,
    request_id: UUID,
    approved: bool,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> SupplyRequest:
    """The second operator's word; an approved emergency trip is on its way with the same commit.

    Raises NotFound, Forbidden, Conflict (ruled before, expired, approved by who asked, a model that
    cannot be switched).
    """
    async with unit_of_work(scope.group_id) as work:
        request = await supply_requests.lock_request(work, scope=scope, request_id=request_id)
        meter = await _meter(work, scope, request.meter_id, Permission.SUPPLY_APPROVE)
        actor = scope.actor
        check_second_word(
            request, waits_as=RequestState.OPEN, actor=actor, approved=approved, at=at
        )
        ruled = await supply_requests.rule_request(
            work, request_id=request.id, approved=approved, actor=actor, at=at
        )
        await supplies.lock_supply(work, project_id=meter.project_id, meter_id=meter.id)
        after = {"kind": str(request.kind), "state": str(ruled.state), "reason": request.reason}
        await _record(work, actor, "supply:request:rule", meter, after, at)
        if not approved:
            return ruled
        if request.kind is RequestKind.END_PROTECTION:
            await supplies.set_protection(work, meter_id=meter.id, said=None, review_at=None)
            return ruled
        said = Said(request.reason, f"{request.asked_name}, {actor.name}", at)
        await supplies.set_emergency(work, meter_id=meter.id, said=said)
        order = Order(CommandKind.TRIP, request.reason)
        await ask(
            work, meter=meter, order=order, models=models, actor=actor, at=at, why=Why.EMERGENCY
        )
    return ruled


async def end_emergency(*, scope: Scope, meter_id: UUID, reason: str, at: datetime) -> MeterSupply:
    """End an emergency: the next look gives the supply back to what else is wanted of it. Bringing power
    back takes one operator. Raises NotFound, Forbidden, InvalidInput, Conflict (there is none)."""
    told = check_reason(reason)
    async with unit_of_work(scope.group_id) as work:
        meter = await _meter(work, scope, meter_id, Permission.METER_CONTROL)
        supply = await supplies.lock_supply(work, project_id=meter.project_id, meter_id=meter.id)
        if supply.emergency is None:
            raise Conflict("there is no emergency at this meter")
        await supplies.set_emergency(work, meter_id=meter.id, said=None)
        await _record(work, scope.actor, "supply:emergency:end", meter, {"reason": told}, at)
        return (await supplies.supplies_of_meters(work, meter_ids=[meter.id]))[meter.id]


async def _meter(work: UnitOfWork, scope: Scope, meter_id: UUID, permission: Permission) -> Meter:
    meter = await metering.meter(work, scope=scope, meter_id=meter_id)
    scope.require(permission, meter.project_id)
    return meter


async def _record(
    work: UnitOfWork,
    actor: Actor,
    action: str,
    meter: Meter,
    after: Mapping[str, str],
    at: datetime,
) -> None:
    await record(
        work,
        actor=actor,
        action=action,
        subject=str(meter.id),
        at=at,
        project_id=meter.project_id,
        after=dict(after),
    )
