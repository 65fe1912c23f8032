"""What doors of alarms name, in one project: an alarm that nobody acknowledged."""

from __future__ import annotations

from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import NewAlarm, raise_alarms
from backend.kernel.db import unit_of_work
from schema.scalars import ref

from ..world import World
from .message_things import make_message_things


async def make_alarm_things(world: World) -> dict[str, str]:
    """Opaque ids: Alarm. Whoever is alarmed is told: the project has a webhook."""
    await make_message_things(world)
    async with unit_of_work(world.group_id) as work:
        (alarm,) = await raise_alarms(
            work,
            alarms=[
                NewAlarm(
                    world.project.id,
                    AlarmKind.TAMPER,
                    str(world.meter.id),
                    world.account.id,
                    world.meter.id,
                    world.gateway.id,
                    3,
                    {"cover": "open"},
                )
            ],
            at=world.clock.now(),
        )
    return {"Alarm": ref("Alarm", alarm.id)}
