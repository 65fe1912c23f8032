"""Commands to meters, asked for by an operator or the engine (C19-C23). How they are served: serve_command.

A command over the relay is a policy first: TRIP is FORCED_OFF, KEEP_POWER is KEEP_ON, the others are AUTO
again; journeys.supply_look sees to it from then on. Whoever asks for a trip, a protected meter refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from backend.alerts.levels import keep_thresholds
from backend.audit.operations import NewEntry, record_all
from backend.control import command_steps as steps
from backend.control import commands as control
from backend.control import supplies
from backend.control.command_rules import (
    NOTHING,
    CommandKind,
    CommandState,
    Family,
    Given,
    Order,
    family_of,
    order_of,
    worded,
)
from backend.control.command_steps import End, NewCommand
from backend.control.commands import Command
from backend.control.supplies import MeterSupply, Said
from backend.control.supply_rules import SupplyPolicy, Why
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, DomainError, Forbidden, InvalidInput, NotFound
from backend.kernel.scope import Actor, Scope
from backend.kernel.together import TogetherByGroup
from backend.metering import queries as metering
from backend.metering.rules import MeterKind, MeterModel
from backend.outbox.operations import emit_all, postpone_all, reopen_all_if_done
from backend.tenancy.rules import Permission

from .errands import TOPIC, errands, events_alone

_HEARD_JUST_NOW = timedelta(minutes=1)
_FIRST_ERRAND = timedelta(minutes=1)  # so long the event that they were given by may serve them
WORKER = Actor("system", "worker", "command worker")


async def command_meter(
    *,
    scope: Scope,
    meter_id: UUID,
    kind: CommandKind,
    reason: str,
    models: Mapping[str, MeterModel],
    at: datetime,
    given: Given = NOTHING,
    until: datetime | None = None,
) -> Command:
    """Ask for a command; it is served at once. An unfinished one of its family is superseded.

    `models` by name; `until`: when a TRIP or KEEP_POWER ends and the supply is given back to its money.
    Raises NotFound, Forbidden, InvalidInput, Conflict (the meter's model cannot do it, it is protected).
    """

    def order() -> Order:
        return order_of(kind=kind, reason=reason, given=given)

    told = await _commands(scope.group_id, _Wish(scope, meter_id, order, until, models, at))
    if isinstance(told, DomainError):
        raise told
    return told


@dataclass(frozen=True, slots=True)
class _Wish:
    """What an operator asks of one meter. `order` is made when the right to ask is known."""

    scope: Scope
    meter_id: UUID
    order: Callable[[], Order]
    until: datetime | None
    models: Mapping[str, MeterModel]
    at: datetime


async def _command_all(group_id: int, wishes: Sequence[_Wish]) -> list[Command | DomainError]:
    """What comes while others of the group are asked for goes in their commit: the audit of a group is one
    chain, so commits of a group queue up behind each other."""
    async with unit_of_work(group_id) as work:
        return [await _command_one(work, wish) for wish in wishes]


async def _command_one(work: UnitOfWork, wish: _Wish) -> Command | DomainError:
    """A wish that is refused has written nothing, so the others of its commit stand."""
    try:
        meter = await metering.meter(work, scope=wish.scope, meter_id=wish.meter_id)
        wish.scope.require(Permission.METER_CONTROL, meter.project_id)
        order = wish.order()
        check_until(order, wish.until, wish.at)
    except (NotFound, Forbidden, InvalidInput) as refused:
        return refused
    told = await command_meters(
        work,
        meters=[meter],
        order=order,
        models=wish.models,
        actor=wish.scope.actor,
        at=wish.at,
        until=wish.until,
    )
    if meter.id in told.refused:
        return Conflict(told.refused[meter.id])
    return told.commands[meter.id]


_commands = TogetherByGroup(_command_all)


_POLICIES = {
    CommandKind.TRIP: (SupplyPolicy.FORCED_OFF, Why.FORCED_OFF),
    CommandKind.KEEP_POWER: (SupplyPolicy.KEEP_ON, Why.KEEP_ON),
}


def check_until(order: Order, until: datetime | None, at: datetime) -> None:
    """Raises InvalidInput for an end of what has none, or one that is over."""
    if until is not None and (order.kind not in _POLICIES or until <= at):
        raise InvalidInput("a TRIP or KEEP_POWER has an end, and it is to come", field="until")


class Commanded(Protocol):
    """What is to be known of a meter that is commanded: a row of the ORM or a bare one."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def project_id(self) -> UUID:
        """Its project."""
        ...

    @property
    def gateway_id(self) -> UUID:
        """The gateway of its bus."""
        ...

    @property
    def profile(self) -> str:
        """The name of its model."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What became of asking: the commands, and why there is none, by meter."""

    commands: Mapping[UUID, Command]
    refused: Mapping[UUID, str]

    def of(self, meter_id: UUID) -> Command:
        """The command of a meter. Raises Conflict (why there is none)."""
        if meter_id in self.refused:
            raise Conflict(self.refused[meter_id])
        return self.commands[meter_id]


async def command_meters(
    work: UnitOfWork,
    *,
    meters: Sequence[Commanded],
    order: Order,
    models: Mapping[str, MeterModel],
    actor: Actor,
    at: datetime,
    until: datetime | None = None,
    entries: list[NewEntry] | None = None,
) -> Told:
    """As `command_meter` for many meters at once, in the caller's transaction; the caller has checked the
    rights. What one meter refuses costs the others nothing. `entries`: gets what is to be audited, from a
    caller who does so last of all. Raises InvalidInput (`until`), Conflict."""
    check_until(order, until, at)
    refused = _unable(meters, order.kind, models)
    if family_of(order.kind) is not Family.RELAY:
        told = await _ask(work, meters, order, None, refused, actor, at, entries)
        if order.kind is CommandKind.THRESHOLDS:
            asked, warns_at = list(told.commands), order.settings
            await keep_thresholds(work, actor=actor, meter_ids=asked, thresholds=warns_at, at=at)
        return told
    able = {meter.id: meter.project_id for meter in meters if meter.id not in refused}
    policy, why = _POLICIES.get(order.kind, (SupplyPolicy.AUTO, None))
    said = Said(order.reason, actor.name, at)
    held = await supplies.lock_and_say(work, meters=able, policy=policy, until=until, said=said)
    refused |= _refused_by_emergency(held, order.kind) | _refused_by_protection(held, order.kind)
    meant = [meter_id for meter_id in held if meter_id not in refused]
    if meant:
        await supplies.set_policy(work, meter_ids=meant, policy=policy, until=until, said=said)
    return await _ask(work, meters, order, why, refused, actor, at, entries)


async def ask(
    work: UnitOfWork,
    *,
    meter: Commanded,
    order: Order,
    models: Mapping[str, MeterModel],
    actor: Actor,
    at: datetime,
    why: Why | None = None,
) -> Command:
    """A command that is no policy of an operator, in the caller's transaction: of the engine (`why`), or of
    another business (None). Raises Conflict (the meter's model cannot do it; a trip of what is protected,
    unless it is an emergency's)."""
    told = await ask_all(
        work, meters=[meter], order=order, models=models, actor=actor, at=at, why=why
    )
    return told.of(meter.id)


async def ask_all(
    work: UnitOfWork,
    *,
    meters: Sequence[Commanded],
    order: Order,
    models: Mapping[str, MeterModel],
    actor: Actor,
    at: datetime,
    why: Why | None = None,
) -> Told:
    """As `ask` for many meters at once. What one meter refuses costs the others nothing."""
    refused = _unable(meters, order.kind, models)
    if order.kind is CommandKind.TRIP and why is not Why.EMERGENCY:
        # Held until commit, so that no protection comes between this look and the command.
        able = {meter.id: meter.project_id for meter in meters if meter.id not in refused}
        held = await supplies.lock_supplies(work, meters=able)
        refused |= _refused_by_protection(held, order.kind)
    return await _ask(work, meters, order, why, refused, actor, at)


def _unable(
    meters: Sequence[Commanded], kind: CommandKind, models: Mapping[str, MeterModel]
) -> dict[UUID, str]:
    """What is known of the model without asking the meter; the driver knows the rest and refuses
    before anything is sent, so that such a command ends as FAILED."""
    found = {}
    for meter in meters:
        if words := unable(kind, models.get(meter.profile), meter.profile):
            found[meter.id] = words
    return found


def unable(kind: CommandKind, model: MeterModel | None, name: str) -> str:
    """Why a model cannot do what a kind of command asks; empty when it may."""
    family = family_of(kind)
    if model is None:
        return f"{name} has no profile"
    if family is Family.RELAY and not model.switches:
        return f"{name} has no relay or valve that obeys commands"
    if family is Family.LOAD_LIMITS and not model.holds_load_limits:
        return f"no layout of {name}'s load control is known"
    if family is Family.CALENDAR and not model.keeps_calendar:
        return f"no layout of {name}'s calendar is known"
    if family is Family.PRICES and model.kind is not MeterKind.ELECTRICITY:
        return f"{name} has no prices per kWh"
    return ""


def _refused_by_emergency(held: Mapping[UUID, MeterSupply], kind: CommandKind) -> dict[UUID, str]:
    if kind is CommandKind.TRIP:
        return {}
    return {
        meter_id: f"an emergency trip stands here ({supply.emergency.reason}); end it first"
        for meter_id, supply in held.items()
        if supply.emergency is not None
    }


def _refused_by_protection(held: Mapping[UUID, MeterSupply], kind: CommandKind) -> dict[UUID, str]:
    if kind is not CommandKind.TRIP:
        return {}
    return {
        meter_id: f"this meter is protected ({supply.protected.reason}) and is never tripped"
        for meter_id, supply in held.items()
        if supply.protected is not None
    }


async def _ask(
    work: UnitOfWork,
    meters: Sequence[Commanded],
    order: Order,
    why: Why | None,
    refused: Mapping[UUID, str],
    actor: Actor,
    at: datetime,
    entries: list[NewEntry] | None = None,
) -> Told:
    new = [
        NewCommand(meter.project_id, meter.id, order, why)
        for meter in meters
        if meter.id not in refused
    ]
    if not new:
        return Told({}, refused)
    commands, superseded = await steps.queue_commands(
        work, commands=new, requested_by=actor.name, at=at
    )
    gateways = {meter.id: meter.gateway_id for meter in meters}
    await emit_all(work, topic=TOPIC, events=errands(commands, gateways), at=at)
    audited = [end_entry(each, actor, at) for each in superseded]
    audited += [_asked(command, order, actor, at) for command in commands]
    if entries is None:
        await record_all(work, entries=audited)
    else:
        entries += audited
    return Told({command.meter_id: command for command in commands}, refused)


def _asked(command: Command, order: Order, actor: Actor, at: datetime) -> NewEntry:
    after = {
        "command": str(command.id),
        "kind": str(order.kind),
        "reason": order.reason,
        "expiresAt": command.expires_at.isoformat(),
        **{name: worded(name, value) for name, value in order.settings.items()},
    }
    subject, project_id = str(command.meter_id), command.project_id
    return NewEntry(actor, "meter:command:request", subject, at, project_id, None, after)


async def call_off(
    work: UnitOfWork, *, command: Command, why: str, actor: Actor, at: datetime
) -> None:
    """End a command that was never written, for what it was asked for is gone. The caller holds the row of
    its meter's supply, so that no write is announced meanwhile."""
    end = End(command.id, CommandState.SUPERSEDED, why, None, at)
    ended = await steps.end_commands(work, ends=[end])
    await record_all(work, entries=[end_entry(each, actor, at) for each in ended.values()])


async def tend(*, group_id: int, at: datetime) -> None:
    """End what is overdue; ring again for what lost its event, and at once for a meter that was heard
    of just now, whatever pause its command is in: after an outage power does not wait for a back-off."""
    async with unit_of_work(group_id) as work:
        waiting = await control.unfinished(work)
        await expire(work, [command for command in waiting if at >= command.over_at], at)
    async with unit_of_work(group_id) as work:
        waiting = await control.unfinished(work)
        if not waiting:
            return
        alone = [each.id for each in waiting if at - each.issued_at >= _FIRST_ERRAND]
        await emit_all(work, topic=TOPIC, events=events_alone(alone), at=at)
        meter_ids = list({command.meter_id for command in waiting})
        latest = await metering.latest_of_meters(work, meter_ids=meter_ids)
        heard, silent = list[str](), list[str]()
        for command in waiting:
            reading = latest.get(command.meter_id)
            just_now = reading is not None and at - reading.received_at <= _HEARD_JUST_NOW
            (heard if just_now else silent).append(str(command.id))
        if heard:
            await postpone_all(work, topic=TOPIC, keys=heard, due_at=at)
        await reopen_all_if_done(work, topic=TOPIC, keys=silent, due_at=at)


async def expire(work: UnitOfWork, commands: Sequence[Command], at: datetime) -> None:
    """End commands whose time is over."""
    ends = [
        End(command.id, CommandState.EXPIRED, _how_it_expired(command), None, at)
        for command in commands
    ]
    if ends:
        ended = await steps.end_commands(work, ends=ends)
        await record_all(work, entries=[end_entry(each, WORKER, at) for each in ended.values()])


def _how_it_expired(command: Command) -> str:
    words = "it may have reached the meter" if command.writes else "it was never written"
    return f"{words}; {command.outcome or 'nobody came to serve it'}"


def end_entry(command: Command, actor: Actor, at: datetime) -> NewEntry:
    """How a command ended, for the audit."""
    before = {"relayClosed": command.relay_before}
    after = {
        "command": str(command.id),
        "kind": str(command.kind),
        "state": str(command.state),
        "outcome": command.outcome,
        "relayClosed": command.relay_after,
    }
    subject, project_id = str(command.meter_id), command.project_id
    return NewEntry(actor, "meter:command:end", subject, at, project_id, before, after)
