"""A trip is looked at once more in the commit before it leaves (C20, C22): money, an order, the end of the
window or a protection may have come since it was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    work: UnitOfWork, *, commands: Sequence[Command], at: datetime
) -> dict[UUID, str]:
    """Of commands about to be written the trips that are not meant any more, each with why. The caller holds
    the rows of their supplies. An emergency's trip is always meant."""
    trips = [
        each
        for each in commands
        if each.kind is CommandKind.TRIP and each.why not in (None, Why.EMERGENCY)
    ]
    if not trips:
        return {}
    held = await supplies_of_meters(work, meter_ids=[each.meter_id for each in trips])
    found = {
        each.id: "the meter came to be protected"
        for each in trips
        if held[each.meter_id].protected is not None
    }
    cuts = [each for each in trips if each.why is Why.ARREARS and each.id not in found]
    if not cuts:
        return found
    meters = await supplied_meters(work, meter_ids=[each.meter_id for each in cuts])
    wanted = [held[each.meter_id] for each in cuts if each.meter_id in meters]
    facts = await gather(work, wanted, meters, {}, at)
    for cut in cuts:
        # A meter that is being taken down is in nobody's facts: its takedown decides over it.
        decided = decide(facts[cut.meter_id]) if cut.meter_id in facts else None
        if decided is None or decided.want is not Want.OFF:
            why = "its meter is being taken down" if decided is None else str(decided.why)
            found[cut.id] = f"not wanted any more: {why}"
    return found
