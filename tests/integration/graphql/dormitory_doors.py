"""The doors of calendars and dormitories."""

from __future__ import annotations

from .door import Door, mutation, unique

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
    Door(
        "Query.timetables",
        "project",
        "Project",
        "query($id: ID!) { answer: timetables(project: $id) { id name plans { kind } } }",
    ),
    Door(
        "Query.timings",
        "project",
        "Project",
        "query($id: ID!) { answer: timings(project: $id) { id state meters } }",
    ),
    Door(
        "Mutation.makeTimetable",
        "project",
        "Project",
        mutation(
            "$id: ID!, $n: String!",
            "makeTimetable(project: $id, name: $n, plans: [{kind: WORKDAY, slots:"
            ' [{start: "00:00", on: false}, {start: "06:00", on: true}]}])',
        ),
        lambda _: {"n": unique()},
        write=True,
    ),
    Door(
        "Mutation.followTimetable",
        "timetable",
        "Timetable",
        mutation(
            "$id: ID!, $m: ID!",
            'followTimetable(timetable: $id, meters: [$m], reason: "lights out")',
        ),
        lambda mine: {"m": mine.FreeMeter},
        write=True,
    ),
    Door(
        "Mutation.followTimetable",
        "meters",
        "FreeMeter",
        mutation(
            "$id: ID!, $t: ID!",
            'followTimetable(timetable: $t, meters: [$id], reason: "lights out")',
        ),
        lambda mine: {"t": mine.Timetable},
        write=True,
    ),
    Door(
        "Mutation.ruleTiming",
        "timing",
        "Timing",
        mutation("$id: ID!", "ruleTiming(timing: $id, approved: true)"),
        write=True,
    ),
    Door(
        "Query.loadGuards",
        "project",
        "Project",
        "query($id: ID!) { answer: loadGuards(project: $id) { id name mostW allowed { low } } }",
    ),
    Door(
        "Query.loadRuns",
        "project",
        "Project",
        "query($id: ID!) { answer: loadRuns(project: $id) { edges { node { meter by why"
        " guard { name byMeter } wanted { mostW } held { mostW } } } } }",
    ),
    Door(
        "Query.safetyTrips",
        "project",
        "Project",
        "query($id: ID!) { answer: safetyTrips(project: $id) { meter lock detail } }",
    ),
    Door(
        "Mutation.saveLoadGuard",
        "project",
        "Project",
        mutation(
            "$id: ID!",
            'saveLoadGuard(project: $id, guard: {name: "Rooms", mostW: 2500, stepW: 800,'
            " allowed: [{low: 1000, high: 1200}]})",
        ),
        write=True,
    ),
    Door(
        "Mutation.guardMeters",
        "guard",
        "LoadGuard",
        mutation(
            "$id: ID!, $m: ID!",
            'guardMeters(guard: $id, meters: [$m], reason: "a room of students")',
        ),
        lambda mine: {"m": mine.FreeMeter},
        write=True,
    ),
    Door(
        "Mutation.guardMeters",
        "meters",
        "FreeMeter",
        mutation(
            "$id: ID!, $g: ID!",
            'guardMeters(guard: $g, meters: [$id], reason: "a room of students")',
        ),
        lambda mine: {"g": mine.LoadGuard},
        write=True,
    ),
    Door(
        "Mutation.unlockCircuit",
        "meter",
        "LockedMeter",
        mutation("$id: ID!", 'unlockCircuit(meter: $id, note: "the kettle is gone")'),
        write=True,
    ),
    Door(
        "Query.valveExercise",
        "project",
        "Project",
        "query($id: ID!) { answer: valveExercise(project: $id) { starts } }",
    ),
    Door(
        "Mutation.setValveExercise",
        "project",
        "Project",
        mutation("$id: ID!", 'setValveExercise(project: $id, starts: "03:00")'),
        write=True,
    ),
)
