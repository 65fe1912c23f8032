"""The look that makes what is wanted of supplies so: intent against relay, repaired by commands (C19-C22).

`tend_supplies` goes over all of a group each half minute; `restore_paid` over the meters of one purse, as
soon as money came into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.alerts.operations import NewCase, close_cases, open_cases
from backend.control import supplies
from backend.control.command_rules import CommandKind, CommandState, Order
from backend.control.commands import Command, last_relay_commands
from backend.control.decisions import NewDecision, keep_decisions
from backend.control.supplies import MeterSupply
from backend.control.supply_rules import Decision, Want, Why, decide
from backend.control.timetables import off_now
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.scope import Actor
from backend.metering import queries as metering
from backend.metering.rules import MeterModel
from backend.metering.supplied import SuppliedMeter, supplied_meters

from .command import ask_all, call_off
from .supply_facts import gather, inputs_of
from .supply_owing import meters_of_purse, owing_meters
from .supply_trips import TripsLeft

ENGINE = Actor("system", "supply", "supply engine")
# What operators planned, what two of them ordered and what a load caused is no automatic cut, so the engine's
# limits do not count it: a house of students goes dark at eleven, and nothing burns because others were cut.
_GIVERS = {
    Why.EMERGENCY: Actor("system", "emergency", "emergency trip"),
    Why.TIMETABLE: Actor("system", "timetable", "timetable"),
    Why.SAFETY_LOCK: Actor("system", "safety", "safety lock"),
}
_AT_ONCE = 500  # meters of one transaction
_PATIENCE = timedelta(minutes=5)  # before a meter that did not obey is told again
_AFTER_REFUSAL = timedelta(hours=1)  # before one that refused is
_NOT_OBEYED = "SUPPLY_NOT_OBEYED"
_UNFINISHED = (CommandState.QUEUED, CommandState.SENT)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look did: meters decided on, commands given, trips held by a limit."""

    decided: int
    commands: int
    held: int


async def tend_supplies(*, group_id: int, models: Mapping[str, MeterModel], at: datetime) -> Looked:
    """Compare what is wanted with what relays show, and repair the difference (C19).

    A meter that did not obey is told again after five minutes, one that refused after an hour; trips
    beyond the limits of gateway, project and platform wait (C22). What is held, refused or cannot be
    switched at all is a case, and so is a protection that is to be looked at.
    """
    async with unit_of_work(group_id) as work:
        await supplies.note_owing(work, meters=await owing_meters(work))
        off = await off_now(work, at=at)
    decided = given = held = 0
    after: UUID | None = None
    while True:
        async with unit_of_work(group_id) as work:
            wanted = await supplies.lock_wanted(work, at=at, off=off, after=after, limit=_AT_ONCE)
            look = await _look_at(work, wanted, models, at)
        decided, given, held = decided + look.decided, given + look.commands, held + look.held
        if len(wanted) < _AT_ONCE:
            return Looked(decided, given, held)
        after = wanted[-1].meter_id


async def restore_paid(
    *, group_id: int, purse: UUID, models: Mapping[str, MeterModel], at: datetime
) -> Looked:
    """Money came into a purse: what was cut for arrears comes back at once, at any hour, also when the cut is
    still on its way (C21). `purse`: the account whose purse it is."""
    async with unit_of_work(group_id) as work:
        meter_ids = await meters_of_purse(work, purse=purse)
        cut = await supplies.lock_tripped(work, meter_ids=meter_ids, why=Why.ARREARS)
        look = await _look_at(work, cut, models, at)
    return Looked(look.decided, look.commands, look.held)


async def _look_at(
    work: UnitOfWork,
    wanted: Sequence[MeterSupply],
    models: Mapping[str, MeterModel],
    at: datetime,
) -> _Look:
    """Decide on supplies whose rows are held, and give what commands follow."""
    meters = await supplied_meters(work, meter_ids=[each.meter_id for each in wanted])
    wanted = [each for each in wanted if each.meter_id in meters]
    facts = await gather(work, wanted, meters, models, at)
    told = await last_relay_commands(work, meter_ids=list(meters))
    look = _Look(work, models, at, TripsLeft(work, ENGINE, at), cases=list(_reviews(wanted, at)))
    for supply in wanted:
        meter, last = meters[supply.meter_id], told.get(supply.meter_id)
        decision = decide(facts[meter.id])
        await look.tend(supply, decision, meter, last)
        if _changed(supply, decision):
            look.kept.append(NewDecision(supply, decision, inputs_of(facts[meter.id])))
    await look.give_wished()
    await keep_decisions(work, decisions=look.kept, at=at)
    note = "the relay is as it is wanted"
    await close_cases(work, kind=_NOT_OBEYED, subjects=look.there, note=note, at=at)
    await open_cases(work, cases=look.cases, at=at)
    look.decided = len(wanted)
    return look


@dataclass(slots=True)
class _Look:
    """A look on its way: `there` are the meters whose relay is as it is wanted."""

    work: UnitOfWork
    models: Mapping[str, MeterModel]
    at: datetime
    trips_left: TripsLeft
    cases: list[NewCase]
    there: list[str] = field(default_factory=list)
    kept: list[NewDecision] = field(default_factory=list)
    wished: dict[tuple[CommandKind, Why], dict[UUID, _Wish]] = field(default_factory=dict)
    decided: int = 0
    commands: int = 0
    held: int = 0

    async def tend(
        self, supply: MeterSupply, decision: Decision, meter: SuppliedMeter, last: Command | None
    ) -> None:
        """Give the command of a decision when its time is, and end a trip whose reason is gone."""
        if last is not None and last.state in _UNFINISHED:
            if last.kind is not CommandKind.TRIP or decision.want is not Want.ON:
                return  # it is on its way
            if decision.command is None:
                why = f"not wanted any more: {decision.why}"  # never written: its row would tell
                await call_off(self.work, command=last, why=why, actor=ENGINE, at=self.at)
            else:
                await self._wish(supply, decision, meter)  # the newer one of a family is meant
        elif decision.command is None:
            self.there.append(str(supply.meter_id))
        else:
            changed = _changed(supply, decision)
            if not changed and last is not None and last.state is CommandState.FAILED:
                self.cases.append(_not_obeyed(supply, decision, last.outcome or "it failed"))
            if changed or _again(meter, last, self.at):
                await self._wish(supply, decision, meter)

    async def _wish(self, supply: MeterSupply, decision: Decision, meter: SuppliedMeter) -> None:
        """The command of a decision is to be given, or a limit holds it back, and a case says so."""
        assert decision.command is not None
        limited = decision.command is CommandKind.TRIP and decision.why not in _GIVERS
        if limited and (limit := await self.trips_left.take(supply, meter.gateway_id)):
            self.held += 1
            self.cases.append(_held(supply, decision, limit))
            return
        of_kind = self.wished.setdefault((decision.command, decision.why), {})
        of_kind[supply.meter_id] = _Wish(supply, decision)

    async def give_wished(self) -> None:
        """Ask for all that is to be given, a few statements for each kind of it: at eleven at night a whole
        house is switched off at once. What cannot be given is a case."""
        for (kind, why), wishes in self.wished.items():
            told = await ask_all(
                self.work,
                meters=await metering.meters_by_ids(self.work, meter_ids=list(wishes)),
                order=Order(kind, f"supply: {why}"),
                models=self.models,
                actor=_GIVERS.get(why, ENGINE),
                at=self.at,
                why=why,
            )
            self.commands += len(told.commands)
            for meter_id, cannot in told.refused.items():
                self.cases.append(_not_obeyed(*wishes[meter_id], cannot))


class _Wish(NamedTuple):
    """A command that is to be given, with what it follows from."""

    supply: MeterSupply
    decision: Decision


def _changed(supply: MeterSupply, decision: Decision) -> bool:
    return (supply.want, supply.why, supply.command) != (
        decision.want,
        decision.why,
        decision.command,
    )


def _again(meter: SuppliedMeter, last: Command | None, at: datetime) -> bool:
    """Whether a meter is told again: it was heard since, and was given its time. One that is silent gets
    its command when it is heard of, and not one each minute until then."""
    if last is None:
        return True
    heard = meter.received_at is not None and meter.received_at > last.issued_at
    patience = _AFTER_REFUSAL if last.state is CommandState.FAILED else _PATIENCE
    return heard and at - last.issued_at >= patience


def _not_obeyed(supply: MeterSupply, decision: Decision, why: str) -> NewCase:
    detail = {"wanted": str(decision.want), "rule": str(decision.why), "reason": why}
    return NewCase(supply.project_id, _NOT_OBEYED, str(supply.meter_id), detail)


def _held(supply: MeterSupply, decision: Decision, limit: str) -> NewCase:
    detail = {"meter": str(supply.meter_id), "why": str(decision.why), "limit": limit}
    return NewCase(supply.project_id, "TRIPS_HELD", str(supply.project_id), detail)


def _reviews(wanted: Iterable[MeterSupply], at: datetime) -> Iterable[NewCase]:
    for supply in wanted:
        if supply.protected is not None and supply.review_at is not None and supply.review_at <= at:
            detail = {"meter": str(supply.meter_id), "reason": supply.protected.reason}
            yield NewCase(supply.project_id, "PROTECTION_REVIEW", str(supply.meter_id), detail)
