"""A meter's own alarm levels; one that holds its money is told them too, for it warns by itself (A22)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.alerts.levels import Levels, keep_meter_levels, levels_of_meters
from backend.control.command_rules import CommandKind, Given, order_of
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.metering import queries as metering
from backend.metering.rules import CreditMode, MeterModel
from backend.tenancy.rules import Permission

from .command import ask

_WHY = "alarm levels of the meter"


async def set_meter_levels(
    *,
    scope: Scope,
    meter_id: UUID,
    low: tuple[Money, Money] | None,
    overload_w: int | None,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> Levels:
    """Give a meter levels of its own (`low`: 1 and 2); what is None is as its project says.

    What it is to warn at goes to a meter that holds its money as a command of THRESHOLDS. The power limit
    stays here: in a meter it does not warn but trips. Raises NotFound, Forbidden, InvalidInput, Conflict.
    """
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        scope.require(Permission.METER_WRITE, meter.project_id)
        levels = await keep_meter_levels(
            work,
            actor=scope.actor,
            project_id=meter.project_id,
            meter_id=meter.id,
            low=low,
            overload_w=overload_w,
            at=at,
        )
        if meter.credit_mode == CreditMode.METER:
            warns_at = {"alarm1": levels.low_1.hao, "alarm2": levels.low_2.hao}
            order = order_of(
                kind=CommandKind.THRESHOLDS, reason=_WHY, given=Given(thresholds=warns_at)
            )
            await ask(work, meter=meter, order=order, models=models, actor=scope.actor, at=at)
    return levels


async def meter_levels(work: UnitOfWork, *, scope: Scope, meter_id: UUID) -> Levels:
    """The levels in force at a meter. Raises NotFound (C29)."""
    meter = await metering.meter(work, scope=scope, meter_id=meter_id)
    return (await levels_of_meters(work, meter_ids=[meter.id]))[meter.id]
