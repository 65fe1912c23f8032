"""What operators want of a meter's supply, and the look of each minute that makes it so (C19-C23).

A command that switches is an intent first: TRIP is 拉闸, KEEP_POWER is 保电, the others give the supply back
to its money (恢复预付费). Protection and emergency stand above it. `tend_supplies` compares what is
wanted with what the relay shows, and repairs the difference by the way of every command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from backend.alerts.operations import NewCase, close_cases, open_cases
from backend.audit.operations import record
from backend.control import supplies, supply_requests
from backend.control.command_rules import CommandKind, CommandState, Order, check_reason
from backend.control.commands import Command, last_relay_commands, trips_given
from backend.control.supplies import MeterSupply, Said
from backend.control.supply_requests import RequestKind, SupplyRequest
from backend.control.supply_rules import Decision, Why, decide, trips_at_most
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.scope import Actor, Scope
from backend.metering import queries as metering
from backend.metering.models import Meter
from backend.metering.rules import MeterModel
from backend.metering.supplied import SuppliedMeter, meters_in_service, supplied_meters
from backend.tenancy.rules import Permission

from .command import ask
from .supply_facts import gather, inputs_of

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
        supply_requests.check_ruling(request, actor=actor, approved=approved, at=at)
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


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look did: meters decided on, commands given, trips held by the limit of their project."""

    decided: int
    commands: int
    held: int


async def tend_supplies(*, group_id: int, models: Mapping[str, MeterModel], at: datetime) -> Looked:
    """Compare what is wanted with what relays show, and repair the difference (C19).

    A meter that did not obey is told again after five minutes, one that refused after an hour; trips of a
    project beyond its limit an hour wait (C22). What is held, refused or cannot be switched at all is a
    case, and so is a protection that is to be looked at.
    """
    async with unit_of_work(group_id) as work:
        wanted = await supplies.lock_wanted(work, at=at, limit=_AT_ONCE)
        meter_ids = [each.meter_id for each in wanted]
        meters = await supplied_meters(work, meter_ids=meter_ids)
        wanted = [each for each in wanted if each.meter_id in meters]
        facts = await gather(work, wanted, meters, at)
        told = await last_relay_commands(work, meter_ids=meter_ids)
        left = await _trips_left(work, {each.project_id for each in wanted}, at)
        look = _Look(work, models, at, left, cases=list(_reviews(wanted, at)))
        for supply in wanted:
            decision = decide(facts[supply.meter_id])
            inputs = inputs_of(facts[supply.meter_id])
            changed = await supplies.keep_decision(
                work, supply=supply, decision=decision, inputs=inputs, at=at
            )
            if decision.command is None:
                look.there.append(str(supply.meter_id))
                continue
            last = told.get(supply.meter_id)
            if not changed and last is not None and last.state is CommandState.FAILED:
                look.cases.append(_not_obeyed(supply, decision, last.outcome or "it failed"))
            if changed or _again(meters[supply.meter_id], last, at):
                await look.give(supply, decision)
        note = "the relay is as it is wanted"
        await close_cases(work, kind=_NOT_OBEYED, subjects=look.there, note=note, at=at)
        await open_cases(work, cases=look.cases, at=at)
    return Looked(len(wanted), look.commands, look.held)


@dataclass(slots=True)
class _Look:
    """A look on its way: `left` are the trips that each project may be given yet, `there` the meters whose
    relay is as it is wanted."""

    work: UnitOfWork
    models: Mapping[str, MeterModel]
    at: datetime
    left: Counter[UUID]
    cases: list[NewCase]
    there: list[str] = field(default_factory=list)
    commands: int = 0
    held: int = 0

    async def give(self, supply: MeterSupply, decision: Decision) -> None:
        """Ask for the command of a decision, or say in a case why not."""
        assert decision.command is not None
        trips = decision.command is CommandKind.TRIP
        if trips and self.left[supply.project_id] <= 0:
            self.held += 1
            self.cases.append(_held(supply, decision))
            return
        meter = await metering.meter_by_id(self.work, meter_id=supply.meter_id)
        order = Order(decision.command, f"supply: {decision.why}")
        try:
            await ask(
                self.work,
                meter=meter,
                order=order,
                models=self.models,
                actor=ENGINE,
                at=self.at,
                why=decision.why,
            )
        except Conflict as cannot:
            self.cases.append(_not_obeyed(supply, decision, cannot.message))
            return
        self.left[supply.project_id] -= trips
        self.commands += 1


def _again(meter: SuppliedMeter, last: Command | None, at: datetime) -> bool:
    """Whether a meter is told again: it was heard since, and was given its time. One that is silent gets
    its command when it is heard of, and not one each minute until then."""
    if last is None:
        return True
    heard = meter.received_at is not None and meter.received_at > last.issued_at
    patience = _AFTER_REFUSAL if last.state is CommandState.FAILED else _PATIENCE
    return heard and at - last.issued_at >= patience


async def _trips_left(work: UnitOfWork, project_ids: Iterable[UUID], at: datetime) -> Counter[UUID]:
    """How many more trips each project may be given now."""
    meters = await meters_in_service(work, project_ids=list(project_ids))
    given = await trips_given(
        work, project_ids=list(meters), by=ENGINE.name, since=at - timedelta(hours=1)
    )
    return Counter(
        {each: trips_at_most(count) - given.get(each, 0) for each, count in meters.items()}
    )


def _not_obeyed(supply: MeterSupply, decision: Decision, why: str) -> NewCase:
    detail = {"wanted": str(decision.want), "rule": str(decision.why), "reason": why}
    return NewCase(supply.project_id, _NOT_OBEYED, str(supply.meter_id), detail)


def _held(supply: MeterSupply, decision: Decision) -> NewCase:
    detail = {"meter": str(supply.meter_id), "why": str(decision.why)}
    return NewCase(supply.project_id, "TRIPS_HELD", str(supply.project_id), detail)


def _reviews(wanted: Iterable[MeterSupply], at: datetime) -> Iterable[NewCase]:
    for supply in wanted:
        if supply.protected is not None and supply.review_at is not None and supply.review_at <= at:
            detail = {"meter": str(supply.meter_id), "reason": supply.protected.reason}
            yield NewCase(supply.project_id, "PROTECTION_REVIEW", str(supply.meter_id), detail)


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
