"""A command's way to one meter: asked for by an operator, driven by a worker in short commits (C19-C23).

A command over the relay is a policy first: TRIP is FORCED_OFF, KEEP_POWER is KEEP_ON, the others are AUTO
again; journeys.supply sees to it from then on. Whoever asks for a trip, a protected meter refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.audit.operations import record
from backend.control import commands as control
from backend.control import supplies
from backend.control.command_rules import (
    CommandKind,
    CommandState,
    Family,
    Order,
    family_of,
    order_of,
    worded,
)
from backend.control.commands import Command
from backend.control.supplies import Said
from backend.control.supply_rules import SupplyPolicy, Why
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.metering import queries as metering
from backend.metering.models import Gateway, Meter
from backend.metering.rules import MeterKind, MeterModel
from backend.outbox.operations import emit, postpone, reopen_if_done
from backend.tenancy.rules import Permission

TOPIC = "command.due"
_WORKER = Actor("system", "worker", "command worker")
_HEARD_JUST_NOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class CommandWork:
    """What the worker needs to serve one command."""

    command: Command
    meter: Meter
    gateway: Gateway


async def command_meter(
    *,
    scope: Scope,
    meter_id: UUID,
    kind: CommandKind,
    reason: str,
    prices: Sequence[tuple[str, Money]] | None,
    thresholds: Mapping[str, int] | None,
    models: Mapping[str, MeterModel],
    at: datetime,
    until: datetime | None = None,
) -> Command:
    """Ask for a command; it is served at once. An unfinished one of its family is superseded.

    `prices` in yuan per kWh by band; `thresholds` in hao by name, overload_w in W; `models` by name;
    `until`: when a TRIP or KEEP_POWER ends and the supply is given back to its money.
    Raises NotFound, Forbidden, InvalidInput, Conflict (the meter's model cannot do it, it is protected).
    """
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        scope.require(Permission.METER_CONTROL, meter.project_id)
        order = order_of(kind=kind, reason=reason, prices=prices, thresholds=thresholds)
        why = await _intend(work, meter, order, until=until, actor=scope.actor, at=at)
        return await ask(
            work, meter=meter, order=order, models=models, actor=scope.actor, at=at, why=why
        )


_POLICIES = {
    CommandKind.TRIP: (SupplyPolicy.FORCED_OFF, Why.FORCED_OFF),
    CommandKind.KEEP_POWER: (SupplyPolicy.KEEP_ON, Why.KEEP_ON),
}


_FORCES = (CommandKind.TRIP, CommandKind.KEEP_POWER)  # what a supply has to take back one day


async def _intend(
    work: UnitOfWork,
    meter: Meter,
    order: Order,
    *,
    until: datetime | None,
    actor: Actor,
    at: datetime,
) -> Why | None:
    """Keep what a command over the relay is meant for; the rule that it serves."""
    if until is not None and (order.kind not in _POLICIES or until <= at):
        raise InvalidInput("a TRIP or KEEP_POWER has an end, and it is to come", field="until")
    if family_of(order.kind) is not Family.RELAY:
        return None
    policy, why = _POLICIES.get(order.kind, (SupplyPolicy.AUTO, None))
    supply = await supplies.lock_supply(work, project_id=meter.project_id, meter_id=meter.id)
    if supply.emergency is not None and order.kind is not CommandKind.TRIP:
        raise Conflict(f"an emergency trip stands here ({supply.emergency.reason}); end it first")
    said = Said(order.reason, actor.name, at)
    await supplies.set_policy(work, meter_id=meter.id, policy=policy, until=until, said=said)
    return why


async def ask(
    work: UnitOfWork,
    *,
    meter: Meter,
    order: Order,
    models: Mapping[str, MeterModel],
    actor: Actor,
    at: datetime,
    why: Why | None = None,
) -> Command:
    """As `command_meter`, in the caller's transaction; the caller has checked the right. Raises Conflict
    (the meter's model cannot do it; a trip of what is protected, unless it is an emergency's)."""
    _refuse_unless_able(order.kind, models.get(meter.profile), meter.profile)
    if order.kind is CommandKind.TRIP and why is not Why.EMERGENCY:
        await _refuse_if_protected(work, meter)
    command, superseded = await control.queue_command(
        work,
        project_id=meter.project_id,
        meter_id=meter.id,
        order=order,
        requested_by=actor.name,
        at=at,
        why=why,
    )
    payload = {"command_id": str(command.id)}
    await emit(work, topic=TOPIC, key=str(command.id), payload=payload, at=at)
    for older in superseded:
        await _record_end(work, older, actor=actor, at=at)
    await record(
        work,
        actor=actor,
        action="meter:command:request",
        subject=str(meter.id),
        at=at,
        project_id=meter.project_id,
        after={
            "command": str(command.id),
            "kind": str(order.kind),
            "reason": order.reason,
            "expiresAt": command.expires_at.isoformat(),
            **{name: worded(name, value) for name, value in order.settings.items()},
        },
    )
    return command


async def _refuse_if_protected(work: UnitOfWork, meter: Meter) -> None:
    """Held until commit, so that no protection comes between this look and the command."""
    supply = await supplies.lock_supply(work, project_id=meter.project_id, meter_id=meter.id)
    if supply.protected is not None:
        raise Conflict(f"this meter is protected ({supply.protected.reason}) and is never tripped")


def _refuse_unless_able(kind: CommandKind, model: MeterModel | None, name: str) -> None:
    """What is known of the model without asking the meter; the driver knows the rest and refuses
    before anything is sent, so that such a command ends as FAILED."""
    if model is None:
        raise Conflict(f"{name} has no profile")
    family = family_of(kind)
    if family is Family.RELAY and not model.switches:
        raise Conflict(f"{name} has no relay or valve that obeys commands")
    if family is Family.PRICES and model.kind is not MeterKind.ELECTRICITY:
        raise Conflict(f"{name} has no prices per kWh")


async def take(*, group_id: int, command_id: UUID, at: datetime) -> CommandWork | None:
    """The command to serve, or None when there is nothing to do: it ended, or ends here because its
    time is over."""
    async with unit_of_work(group_id) as work:
        command = await control.lock_unfinished(work, command_id=command_id)
        if command is None:
            return None
        if at >= command.over_at:
            await _expire(work, [command], at)
            return None
        await control.mark_started(work, command_id=command.id, at=at)
        meter = await metering.meter_by_id(work, meter_id=command.meter_id)
        gateway = await metering.gateway_by_id(work, gateway_id=meter.gateway_id)
    return CommandWork(command, meter, gateway)


async def about_to_write(
    *, group_id: int, command_id: UUID, relay_closed: bool | None, at: datetime
) -> Command | None:
    """Commit that a write may reach the meter, before it leaves. `relay_closed`: as just read.

    None: the command ended or expired meanwhile, so nothing may be written.
    """
    async with unit_of_work(group_id) as work:
        await supplies.lock_supply_of_command(work, command_id=command_id)
        command = await control.lock_unfinished(work, command_id=command_id)
        if command is None:
            return None
        if at >= command.expires_at:
            if at >= command.over_at:
                await _expire(work, [command], at)
            return None
        if command.why is not None and command.kind in _FORCES:
            await supplies.note_written(
                work, meter_id=command.meter_id, kind=command.kind, why=command.why, at=at
            )
        return await control.mark_writing(
            work, command_id=command_id, relay_closed=relay_closed, at=at
        )


async def accepted(*, group_id: int, command_id: UUID, at: datetime) -> Command | None:
    """The meter answered that it took the write; None when the command ended meanwhile."""
    async with unit_of_work(group_id) as work:
        return await control.mark_accepted(work, command_id=command_id, at=at)


async def ended(
    *,
    group_id: int,
    command_id: UUID,
    state: CommandState,
    outcome: str,
    relay_after: bool | None,
    at: datetime,
) -> bool:
    """End a command and audit it; False when it had ended before."""
    async with unit_of_work(group_id) as work:
        await supplies.lock_supply_of_command(work, command_id=command_id)
        command = await control.end_command(
            work,
            command_id=command_id,
            state=state,
            outcome=outcome,
            relay_after=relay_after,
            at=at,
        )
        if command is not None:
            forced = command.why is not None and command.kind in _FORCES
            if (
                state is CommandState.VERIFIED
                and family_of(command.kind) is Family.RELAY
                and not forced
            ):
                await supplies.note_obeyed(work, meter_id=command.meter_id)
            await _record_end(work, command, actor=_WORKER, at=at)
    return command is not None


async def call_off(
    work: UnitOfWork, *, command: Command, why: str, actor: Actor, at: datetime
) -> None:
    """End a command that was never written, for what it was asked for is gone. The caller holds the row of
    its meter's supply, so that no write is announced meanwhile."""
    end = await control.end_command(
        work,
        command_id=command.id,
        state=CommandState.SUPERSEDED,
        outcome=why,
        relay_after=None,
        at=at,
    )
    if end is not None:
        await _record_end(work, end, actor=actor, at=at)


async def waits(*, group_id: int, command_id: UUID, why: str) -> None:
    """It goes on later: the meter was not reached, or needs a moment."""
    async with unit_of_work(group_id) as work:
        await control.note_waiting(work, command_id=command_id, why=why)


async def tend(*, group_id: int, at: datetime) -> None:
    """End what is overdue; ring again for what lost its event, and at once for a meter that was heard
    of just now, whatever pause its command is in: after an outage power does not wait for a back-off."""
    async with unit_of_work(group_id) as work:
        waiting = await control.unfinished(work)
        await _expire(work, [command for command in waiting if at >= command.over_at], at)
    async with unit_of_work(group_id) as work:
        waiting = await control.unfinished(work)
        latest = {}
        if waiting:
            meter_ids = list({command.meter_id for command in waiting})
            latest = await metering.latest_of_meters(work, meter_ids=meter_ids)
        for command in waiting:
            reading = latest.get(command.meter_id)
            if reading is not None and at - reading.received_at <= _HEARD_JUST_NOW:
                await postpone(work, topic=TOPIC, key=str(command.id), due_at=at)
            else:
                await reopen_if_done(work, topic=TOPIC, key=str(command.id), due_at=at)


async def _expire(work: UnitOfWork, commands: Sequence[Command], at: datetime) -> None:
    """End commands whose time is over. All rows first, then the audit: its lock is the whole group's."""
    over: list[Command] = []
    for command in commands:
        why = command.outcome or "nobody came to serve it"
        words = "it may have reached the meter" if command.writes else "it was never written"
        end = await control.end_command(
            work,
            command_id=command.id,
            state=CommandState.EXPIRED,
            outcome=f"{words}; {why}",
            relay_after=None,
            at=at,
        )
        over += [] if end is None else [end]
    for command in over:
        await _record_end(work, command, actor=_WORKER, at=at)


async def _record_end(work: UnitOfWork, command: Command, *, actor: Actor, at: datetime) -> None:
    await record(
        work,
        actor=actor,
        action="meter:command:end",
        subject=str(command.meter_id),
        at=at,
        project_id=command.project_id,
        before={"relayClosed": command.relay_before},
        after={
            "command": str(command.id),
            "kind": str(command.kind),
            "state": str(command.state),
            "outcome": command.outcome,
            "relayClosed": command.relay_after,
        },
    )
