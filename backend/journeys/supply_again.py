"""A trip is looked at once more in the commit before it leaves (C20, C22): money, an order, the end of the
window or a protection may have come since it was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from backend.control.command_rules import CommandKind
from backend.control.commands import Command
from backend.control.supplies import supplies_of_meters
from backend.control.supply_rules import Want, Why, decide
from backend.kernel.db import UnitOfWork
from backend.metering.supplied import supplied_meters

from .supply_facts import gather


async def not_meant(
    work: UnitOfWork, *, commands: Sequence[Command], protected: Collection[UUID], at: datetime
) -> dict[UUID, str]:
    """Of commands about to be written the trips that are not meant any more, each with why. The caller holds
    the rows of their supplies, and has seen whose meters are `protected`. An emergency's trip is always
    meant."""
    trips = [
        each
        for each in commands
        if each.kind is CommandKind.TRIP and each.why not in (None, Why.EMERGENCY)
    ]
    found = {
        each.id: "the meter came to be protected" for each in trips if each.meter_id in protected
    }
    cuts = [each for each in trips if each.why is Why.ARREARS and each.id not in found]
    if not cuts:
        return found
    meter_ids = [each.meter_id for each in cuts]
    held = await supplies_of_meters(work, meter_ids=meter_ids)
    meters = await supplied_meters(work, meter_ids=meter_ids)
    wanted = [held[each] for each in meter_ids if each in meters]
    facts = await gather(work, wanted, meters, {}, at)
    for cut in cuts:
        # A meter that is being taken down is in nobody's facts: its takedown decides over it.
        decided = decide(facts[cut.meter_id]) if cut.meter_id in facts else None
        if decided is None or decided.want is not Want.OFF:
            why = "its meter is being taken down" if decided is None else str(decided.why)
            found[cut.id] = f"not wanted any more: {why}"
    return found
