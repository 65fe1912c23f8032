"""The doors of alarms: lists, levels, acknowledging."""

from __future__ import annotations

from .door import Door, mutation

ALARM_DOORS = (
    Door(
        "Query.alarms",
        "project",
        "Project",
        "query($id: ID!) { answer: alarms(project: $id) { edges { node { id kind } } } }",
    ),
    Door(
        "Query.alarmLevels",
        "project",
        "Project",
        "query($id: ID!) { answer: alarmLevels(project: $id) { low1 low2 overloadW } }",
    ),
    Door(
        "Query.meterAlarmLevels",
        "meter",
        "Meter",
        "query($id: ID!) { answer: meterAlarmLevels(meter: $id) { low1 own } }",
    ),
    Door(
        "Mutation.acknowledgeAlarm",
        "id",
        "Alarm",
        mutation("$id: ID!", 'acknowledgeAlarm(id: $id, note: "on my way")'),
        write=True,
    ),
    Door(
        "Mutation.setAlarmLevels",
        "project",
        "Project",
        mutation("$id: ID!", 'setAlarmLevels(project: $id, low1: "30", low2: "10")'),
        write=True,
    ),
    Door(
        "Mutation.setMeterAlarmLevels",
        "meter",
        "FreeMeter",
        mutation("$id: ID!", 'setMeterAlarmLevels(meter: $id, low1: "30", low2: "10")'),
        write=True,
    ),
)
