"""Who runs a load guard, its meter or the cloud, through the edge (A24)."""

from __future__ import annotations

from typing import Any

from backend.control.supply_rules import OwnCut
from backend.journeys.load_limits import tend_load_limits
from backend.journeys.own_cuts import note_told
from backend.kernel.db import unit_of_work
from schema.scalars import ref
from workers.models import meter_models

from ..dormitory import draws
from ..world import World
from .edge import Api, operator_token
from .test_dormitory import GUARD, SAVE, UNLOCK

RUNS = """query($p: ID!) { loadRuns(project: $p) { edges { node { meter guard { name byMeter } by why
    wanted { mostW stepW factorPermille trips restoreMinutes } held { mostW } heldAt tries } } } }"""
CIRCUIT = """query($m: ID!) { node(id: $m) { ... on Meter { circuit { runBy ownCut
    locked { lock byMeter restoreAt } } } } }"""


async def runs(api: Api, world: World, token: str) -> list[dict[str, Any]]:
    """The circuits under guards, as they are shown."""
    shown = await api.data(RUNS, {"p": ref("Project", world.project.id)}, token=token)
    return [edge["node"] for edge in shown["loadRuns"]["edges"]]


async def test_a_guard_says_which_of_its_circuits_the_meter_runs_and_why_not_the_others(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    token, theirs = await operator_token(world), await operator_token(other)
    project, meter = ref("Project", world.project.id), ref("Meter", world.meter.id)
    guard = {"name": "宿舍", "mostW": 2500, "stepW": 800, "byMeter": True}
    saved = (await api.data(SAVE, {"p": project, "g": guard}, token=token))["answer"]
    assert saved["byMeter"] is True
    await api.data(GUARD, {"g": saved["id"], "m": [meter]}, token=token)
    assert await runs(api, world, token) == [
        {
            "meter": meter,
            "guard": {"name": "宿舍", "byMeter": True},
            "by": "CLOUD",
            "why": "the meter was not read back to hold it yet",
            "wanted": None,
            "held": None,
            "heldAt": None,
            "tries": 0,
        }
    ]
    models, at = meter_models(), world.clock.now()
    assert await tend_load_limits(group_id=world.group_id, models=models, at=at) == 1
    (lagging,) = await runs(api, world, token)
    assert (lagging["by"], lagging["held"]) == ("CLOUD", None)
    assert lagging["wanted"] == {
        "mostW": 2500,
        "stepW": 800,
        "factorPermille": 950,
        "trips": 3,
        "restoreMinutes": 10,
    }
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE control_meter_limits SET actual = desired, actual_at = $2 WHERE group_id = $1",
            world.group_id,
            at,
        )
    (running,) = await runs(api, world, token)
    assert (running["by"], running["why"], running["held"]) == ("METER", None, {"mostW": 2500})
    circuit = {"runBy": "METER", "ownCut": None, "locked": None}
    assert (await api.data(CIRCUIT, {"m": meter}, token=token))["node"]["circuit"] == circuit
    listed = {**guard, "allowed": [{"low": 1000, "high": 1200}]}
    await api.data(SAVE, {"p": project, "g": listed}, token=token)
    (listed_run,) = await runs(api, world, token)
    assert (listed_run["by"], listed_run["why"]) == ("CLOUD", "a meter knows no white list")
    assert await runs(api, other, theirs) == []


async def test_what_a_meter_cut_is_shown_and_no_operator_unlocks_it(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    token, meter = await operator_token(world), ref("Meter", world.meter.id)
    await draws(world, 0, closed=False)
    async with unit_of_work(world.group_id) as work:
        told = {world.meter.id: OwnCut.MALIGNANT_LOAD}
        await note_told(work, told=told, at=world.clock.now())
    assert (await api.data(CIRCUIT, {"m": meter}, token=token))["node"]["circuit"] == {
        "runBy": None,
        "ownCut": "MALIGNANT_LOAD",
        "locked": {"lock": "MALIGNANT_LOAD", "byMeter": True, "restoreAt": None},
    }
    refused = (await api.data(UNLOCK, {"m": meter}, token=token))["answer"]
    assert (refused["code"], "locked itself" in refused["message"]) == ("CONFLICT", True)


async def test_load_limits_are_no_command_of_an_operator(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    token = await operator_token(world)
    order = """mutation($m: ID!) { answer: commandMeter(meter: $m, kind: LOAD_LIMITS,
        reason: "a test of it") { __typename ... on InvalidInputProblem { field } } }"""
    refused = (await api.data(order, {"m": ref("Meter", world.meter.id)}, token=token))["answer"]
    assert refused == {"__typename": "InvalidInputProblem", "field": "kind"}
