"""Load guards reach the meters that can run them: wanted, sent by command, read back, tried again (A24).

Only a guard that says so is told to meters, and only to models whose layout is known. What is told is what
the guard says and nothing else; until a meter was read back to hold it, the cloud runs its guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.control import load_limits as control
from backend.control.command_rules import CommandKind, Order
from backend.control.load_guards import KeptGuard, UnderGuard, guards_by_meter, under_guards
from backend.control.load_limits import MeterLimits, Wanted
from backend.control.load_rules import LoadGuard, RunBy, limits_for
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.scope import Actor, Scope
from backend.metering import queries as metering
from backend.metering.rules import MeterModel
from backend.metering.supplied import supplied_meters

from .command import ask_all

MOST_SENT = 500  # a pass; the rest waits for the next one
_SENDER = Actor("system", "worker", "load limits")


async def tend_load_limits(*, group_id: int, models: Mapping[str, MeterModel], at: datetime) -> int:
    """Compare what each meter's load control should be with what it was read back to be, and send what
    differs; how many commands. Called again and again by the clock; doing it twice sends nothing twice."""
    async with unit_of_work(group_id) as work:
        await control.learn_limits(work, at=at)
        wanted = await _wanted(work, models)
        await control.want_none(work, kept=[each.meter_id for each in wanted], at=at)
        await control.want_limits(work, wanted=wanted, at=at)
        due = await control.lock_due_limits(work, at=at, limit=MOST_SENT)
        return await _send(work, due, models, at)


async def _wanted(work: UnitOfWork, models: Mapping[str, MeterModel]) -> list[Wanted]:
    guards = await guards_by_meter(work)
    meters = await supplied_meters(work, meter_ids=list(guards)) if guards else {}
    found = []
    for meter in meters.values():
        kept = guards[meter.id]
        limits, cannot = limits_of(kept.guard, models.get(meter.profile))
        if not cannot:
            found.append(Wanted(kept.project_id, meter.id, limits))
    return found


def limits_of(guard: LoadGuard, model: MeterModel | None) -> tuple[dict[str, int], str]:
    """What a meter of a model is told of a guard, and why it is told nothing; empty when it is."""
    limits, cannot = limits_for(guard)
    if not cannot and (model is None or not model.holds_load_limits):
        return {}, "no layout of this model's load control is known"
    return limits, cannot


async def _send(
    work: UnitOfWork,
    due: list[MeterLimits],
    models: Mapping[str, MeterModel],
    at: datetime,
) -> int:
    """Ask for a command for each laggard; what is the same for many is asked for at once."""
    sent = 0
    of_limits: dict[tuple[tuple[str, int], ...], list[UUID]] = {}
    for each in due:
        of_limits.setdefault(tuple(sorted(each.desired.items())), []).append(each.meter_id)
    for limits, meter_ids in of_limits.items():
        told = await ask_all(
            work,
            meters=await metering.meters_by_ids(work, meter_ids=meter_ids),
            order=Order(CommandKind.LOAD_LIMITS, "limits of the load guard", dict(limits)),
            models=models,
            actor=_SENDER,
            at=at,
        )
        commands = {meter_id: each.id for meter_id, each in told.commands.items()}
        await control.mark_limits_sent(work, commands=commands)
        sent += len(commands)
    return sent


class Run(NamedTuple):
    """Who runs `guard` at a meter. `why`: of the cloud, why it and not the meter; `limits`: what the
    meter is to hold and holds, None when it is told nothing."""

    meter_id: UUID
    guard: KeptGuard
    by: RunBy
    why: str
    limits: MeterLimits | None


async def runs_of_project(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    models: Mapping[str, MeterModel],
    after: UUID | None,
    limit: int,
) -> list[Run]:
    """The meters of a project that are under a guard, by id, each with who runs it. Raises NotFound,
    Forbidden."""
    under = await under_guards(work, scope=scope, project_id=project_id, after=after, limit=limit)
    meter_ids = [each.meter_id for each in under]
    held = await control.limits_of_meters(work, meter_ids=meter_ids)
    meters = await metering.meters_by_ids(work, meter_ids=meter_ids)
    profiles = {each.id: each.profile for each in meters}
    found = []
    for each in under:
        limits = held.get(each.meter_id)
        cannot = _cannot(each, models.get(profiles[each.meter_id]), limits)
        by = RunBy.CLOUD if cannot else RunBy.METER
        found.append(Run(each.meter_id, each.guard, by, cannot, limits))
    return found


def _cannot(under: UnderGuard, model: MeterModel | None, limits: MeterLimits | None) -> str:
    """Why a meter does not run its guard; empty when it does."""
    _, cannot = limits_of(under.guard.guard, model)
    if cannot:
        return cannot
    if limits is None or not limits.runs:
        return (limits and limits.problem) or "the meter was not read back to hold it yet"
    return "the meter is forced on, so it opens for no load" if under.forced_on else ""
