"""Customers hear that their supply is cut off or is there again (A23, C28), also at night.

What a timetable, a load's lock or the exercise of a valve does is told elsewhere or expected: nobody is woken
for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from backend.control.command_rules import CommandKind, CommandState, Family, family_of
from backend.control.commands import Command, commands_by_id, last_trips
from backend.control.supply_rules import Why
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.metering.supplied import SuppliedMeter, meters_that_serve, supplied_meters
from backend.outbox.operations import emit

from .news import tell_switched

TOPIC = "supply.switched"
_BY_HAND = "恢复供应请联系物业"
# Why power was cut, and what brings it back.
_CUTS = {
    Why.ARREARS: ("余额用完", "充值到账后自动恢复"),
    Why.FORCED_OFF: ("物业操作", _BY_HAND),
    Why.EMERGENCY: ("紧急情况", _BY_HAND),
}


async def note_switched(work: UnitOfWork, *, ended: Iterable[Command], at: datetime) -> None:
    """News of the relays that moved and serve somebody, in the transaction that ends their commands."""
    moved = {
        each.meter_id: str(each.id)
        for each in ended
        if each.state is CommandState.VERIFIED
        and family_of(each.kind) is Family.RELAY
        and each.relay_after is not None
        and each.relay_after is not each.relay_before
        and (each.relay_after or each.why in _CUTS)
    }
    serving = await meters_that_serve(work, meter_ids=list(moved)) if moved else ()
    if told := [moved[meter_id] for meter_id in serving]:
        # One event of them all: they ended by one commit.
        payload = {"command_ids": ",".join(told)}
        await emit(work, topic=TOPIC, key=told[0], payload=payload, at=at)


async def tell_of(*, group_id: int, command_ids: Sequence[UUID]) -> None:
    """Tell whom the meters of verified commands serve what they did; nothing where nobody is to be told."""
    async with unit_of_work(group_id) as work:
        found = await commands_by_id(work, command_ids=command_ids)
        meter_ids = [each.meter_id for each in found]
        meters = await supplied_meters(work, meter_ids=meter_ids)
        back = [each.meter_id for each in found if each.kind is not CommandKind.TRIP]
        trips = await last_trips(work, meter_ids=back) if back else {}
        for command in found:
            trip = command if command.kind is CommandKind.TRIP else trips.get(command.meter_id)
            served = meters.get(command.meter_id)
            if served is not None and trip is not None:
                await _tell_of(work, command, trip, served)


async def _tell_of(work: UnitOfWork, command: Command, trip: Command, meter: SuppliedMeter) -> None:
    """`trip`: what cut the meter off, when it was not `command` itself."""
    if meter.account_id is None or command.finished_at is None or trip.why not in _CUTS:
        return
    cause, back = _CUTS[trip.why]
    restored = command is not trip
    if restored:
        cause = "充值已到账" if command.why is Why.PAID else "物业操作"
    await tell_switched(
        work,
        account_id=meter.account_id,
        meter_id=meter.id,
        why=cause,
        restored=restored,
        at=command.finished_at,
        back=back,
    )
