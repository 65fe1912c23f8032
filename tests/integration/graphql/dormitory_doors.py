"""The doors of calendars and dormitories."""

from __future__ import annotations

from .door import Door, mutation

DORMITORY_DOORS = (
    Door(
        "Query.cutCalendar",
        "project",
        "Project",
        "query($id: ID!) { answer: cutCalendar(project: $id) { opens nextWindow dayKind } }",
    ),
    Door(
        "Query.markedDays",
        "project",
        "Project",
        'query($id: ID!) { answer: markedDays(project: $id, since: "2026-11-01") { day name } }',
    ),
    Door(
        "Mutation.setCutWindow",
        "project",
        "Project",
        mutation(
            "$id: ID!",
            'setCutWindow(project: $id, opens: "09:30", closes: "16:00", weekdays: [1, 2],'
            " noticeHours: 48)",
        ),
        write=True,
    ),
    Door(
        "Mutation.markDays",
        "project",
        "Project",
        mutation("$id: ID!", 'markDays(project: $id, days: ["2027-01-04"], mark: EXAM, name: "E")'),
        write=True,
    ),
    Door(
        "Mutation.unmarkDays",
        "project",
        "Project",
        mutation("$id: ID!", 'unmarkDays(project: $id, days: ["2027-01-04"], mark: EXAM)'),
        write=True,
    ),
)
