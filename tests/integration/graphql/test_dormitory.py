"""A house of students through the edge: a calendar, a timetable, a guard, a lock, and what a meter shows."""

from __future__ import annotations

import pytest

from backend.control.supply_rules import SafetyLock
from backend.journeys.dormitory import note_flagged
from backend.kernel.db import unit_of_work
from schema.scalars import ref

from ..world import World
from .edge import Api, operator_token

_PROBLEM = "... on InvalidInputProblem { field } ... on Problem { code message }"
WINDOW = f"""mutation($p: ID!, $o: String = "10:00", $c: String = "16:30", $d: [Int!] = [5, 1],
    $n: Int = 48) {{
  answer: setCutWindow(project: $p, opens: $o, closes: $c, weekdays: $d, noticeHours: $n) {{
    __typename ... on CutCalendar {{ opens closes weekdays noticeHours mayCutNow noCutDay nextWindow
      dayKind }} {_PROBLEM} }} }}"""
MARK = f"""mutation($p: ID!, $d: [Date!]!) {{
  answer: markDays(project: $p, days: $d, mark: NO_CUT, name: "寒潮") {{
    ... on MarkedDays {{ days {{ day mark name by }} }} {_PROBLEM} }} }}"""
MAKE = f"""mutation($p: ID!, $plans: [DayPlanInput!]!) {{
  answer: makeTimetable(project: $p, name: "宿舍熄灯", plans: $plans) {{
    __typename ... on Timetable {{ id name plans {{ kind slots {{ start on }} }} }} {_PROBLEM} }} }}"""
FOLLOW = f"""mutation($t: ID, $m: [ID!]!) {{
  answer: followTimetable(timetable: $t, meters: $m, reason: "lights out") {{
    ... on Timing {{ state timetable meters }} {_PROBLEM} }} }}"""
SAVE = f"""mutation($p: ID!, $g: LoadGuardInput!) {{
  answer: saveLoadGuard(project: $p, guard: $g) {{
    ... on LoadGuard {{ id name mostW stepW factorPermille allowed {{ low high }} restoreMinutes
      tripsADay byMeter }} {_PROBLEM} }} }}"""
GUARD = f"""mutation($g: ID, $m: [ID!]!) {{
  answer: guardMeters(guard: $g, meters: $m, reason: "a room of students") {{
    ... on GuardedMeters {{ meters }} {_PROBLEM} }} }}"""
UNLOCK = f"""mutation($m: ID!) {{ answer: unlockCircuit(meter: $m, note: "the kettle is gone") {{
    ... on SafetyTrip {{ lock endedBy note }} {_PROBLEM} }} }}"""
CIRCUIT = """query($m: ID!) { node(id: $m) { ... on Meter { circuit { on until
  timetable { name } guard { name } locked { lock detail restoreAt } } } } }"""
NIGHT = [
    {"start": "00:00", "on": False},
    {"start": "06:00", "on": True},
    {"start": "23:00", "on": False},
]


async def test_a_window_is_set_and_shown_and_one_that_makes_no_sense_is_told_by_field(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]  # a Sunday noon in China
    token, project = await operator_token(world), ref("Project", world.project.id)
    assert (await api.data(WINDOW, {"p": project}, token=token))["answer"] == {
        "__typename": "CutCalendar",
        "opens": "10:00",
        "closes": "16:30",
        "weekdays": [1, 5],
        "noticeHours": 48,
        "mayCutNow": False,
        "noCutDay": True,
        "nextWindow": "2026-11-23T02:00:00+00:00",
        "dayKind": "WEEKEND",
    }
    for wrong, field in (
        ({"o": "05:59"}, "closes"),
        ({"o": "25:00"}, "opens"),
        ({"d": [8]}, "weekdays"),
        ({"n": 0}, "noticeHours"),
    ):
        refused = (await api.data(WINDOW, {"p": project, **wrong}, token=token))["answer"]
        assert (refused["__typename"], refused["field"]) == ("InvalidInputProblem", field)
    marked = await api.data(MARK, {"p": project, "d": ["2026-11-23"]}, token=token)
    assert [day["name"] for day in marked["answer"]["days"]] == ["寒潮"]
    query = "query($p: ID!) { cutCalendar(project: $p) { opens nextWindow } }"
    assert (await api.data(query, {"p": project}, token=token))["cutCalendar"] == {
        "opens": "10:00",
        "nextWindow": "2026-11-27T02:00:00+00:00",
    }


async def test_a_meter_shows_its_timetable_its_guard_and_its_lock(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    token = await operator_token(world)
    project, meter = ref("Project", world.project.id), ref("Meter", world.meter.id)
    assert (await api.data(CIRCUIT, {"m": meter}, token=token))["node"] == {"circuit": None}
    plans = [{"kind": "WORKDAY", "slots": NIGHT}]
    made = (await api.data(MAKE, {"p": project, "plans": plans}, token=token))["answer"]
    assert made["plans"] == plans
    followed = await api.data(FOLLOW, {"t": made["id"], "m": [meter]}, token=token)
    assert followed["answer"] == {"state": "DONE", "timetable": made["id"], "meters": [meter]}
    guard = {"name": "宿舍", "stepW": 800, "allowed": [{"low": 1000, "high": 1200}]}
    saved = (await api.data(SAVE, {"p": project, "g": guard}, token=token))["answer"]
    assert saved == {
        "id": saved["id"],
        "name": "宿舍",
        "mostW": None,
        "stepW": 800,
        "factorPermille": 950,
        "allowed": [{"low": 1000, "high": 1200}],
        "restoreMinutes": 10,
        "tripsADay": 3,
        "byMeter": False,
    }
    under = await api.data(GUARD, {"g": saved["id"], "m": [meter]}, token=token)
    assert under["answer"] == {"meters": 1}
    async with unit_of_work(world.group_id) as work:
        flagged = {world.meter.id: SafetyLock.MALIGNANT_LOAD}
        await note_flagged(work, flagged=flagged, at=world.clock.now())
    assert (await api.data(CIRCUIT, {"m": meter}, token=token))["node"]["circuit"] == {
        "on": True,
        "until": "2026-11-22T15:00:00+00:00",
        "timetable": {"name": "宿舍熄灯"},
        "guard": {"name": "宿舍"},
        "locked": {
            "lock": "MALIGNANT_LOAD",
            "detail": {"told_by": "meter"},
            "restoreAt": "2026-11-22T04:10:00+00:00",
        },
    }
    foreign = await operator_token(other)
    hidden = await api.ask(CIRCUIT, {"m": meter}, token=foreign)
    assert hidden["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    unlocked = (await api.data(UNLOCK, {"m": meter}, token=token))["answer"]
    assert (unlocked["lock"], unlocked["note"]) == ("MALIGNANT_LOAD", "the kettle is gone")
    shown = (await api.data(CIRCUIT, {"m": meter}, token=token))["node"]["circuit"]
    assert shown["locked"] is None


@pytest.mark.parametrize(
    ("slots", "kinds"),
    [
        (NIGHT, ["WORKDAY", "WORKDAY"]),
        (NIGHT, ["WEEKEND"]),
        ([{"start": "24:00", "on": True}], ["WORKDAY"]),
        ([{"start": "00:00", "on": True}], ["WORKDAY"]),
    ],
)
async def test_a_timetable_that_makes_no_sense_is_told(
    api: Api, worlds: tuple[World, World], slots: list[dict[str, object]], kinds: list[str]
) -> None:
    token, project = await operator_token(worlds[0]), ref("Project", worlds[0].project.id)
    plans = [{"kind": kind, "slots": slots} for kind in kinds]
    refused = (await api.data(MAKE, {"p": project, "plans": plans}, token=token))["answer"]
    assert (refused["__typename"], refused["field"]) == ("InvalidInputProblem", "plans")
