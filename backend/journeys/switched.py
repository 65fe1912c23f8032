"""Customers hear that their supply is cut off or is there again (A23, C28), also at night.

What a timetable, a load's lock or the exercise of a valve does is told elsewhere or expected: nobody is woken
for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from backend.control.command_rules import CommandKind, CommandState, Family, family_of
from backend.control.commands import Command, command_by_id, last_trips
from backend.control.supply_rules import Why
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.metering.supplied import supplied_meters
from backend.outbox.operations import emit_all

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
    """News of the relays that moved, in the transaction that ends their commands."""
    moved = {
        str(each.id): {"command_id": str(each.id)}
        for each in ended
        if each.state is CommandState.VERIFIED
        and family_of(each.kind) is Family.RELAY
        and each.relay_after is not None
        and each.relay_after is not each.relay_before
        and (each.relay_after or each.why in _CUTS)
    }
    if moved:
        await emit_all(work, topic=TOPIC, events=moved, at=at)


async def tell_of(*, group_id: int, command_id: UUID) -> None:
    """Tell whom the meter of a verified command serves what it did; nothing where nobody is to be told."""
    async with unit_of_work(group_id) as work:
        command = await command_by_id(work, command_id=command_id)
        meter = (await supplied_meters(work, meter_ids=[command.meter_id])).get(command.meter_id)
        if meter is None or meter.account_id is None or command.finished_at is None:
            return
        trip = command
        if command.kind is not CommandKind.TRIP:
            trips = await last_trips(work, meter_ids=[command.meter_id])
            trip = trips.get(command.meter_id, command)
        if trip.why not in _CUTS:
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
