"""Batches at the edge: made by one, ruled on by another, watched meter by meter while they go."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backend.control.state_rules import MARKS, MeterState
from backend.kernel.db import unit_of_work
from schema.scalars import ref

from ..batched import SECOND, WINDOW, Site, make_site
from ..world import World
from .edge import Api, Body, hear, live, operator_token, served, subscribe
from .things import WRONG_TYPE, nothing

PREPARE = """mutation($p: ID!, $text: String!, $kind: CommandKind!) { answer: prepareBatch(
  project: $p, kind: $kind, reason: "the riser is worked on", numbers: {text: $text}) {
    __typename ... on Problem { code message }
    ... on Batch { id state second mine counts { state meters }
      taken: items(states: [READY], first: 1) { edges { node { serial serves { no name } } } }
      items(states: [LEFT_OUT]) { edges { node { serial leftOut meter } } } } } }"""
STEP = """mutation($id: ID!) { answer: %s { __typename ... on Problem { code message }
  ... on Batch { state mine startsAt ruledBy } } }"""
CHANGED = """subscription($id: ID!) { batchChanged(id: $id) { batch { state }
  counts { state meters } changed { no serial state } } }"""


@pytest.fixture
async def site(worlds: tuple[World, World]) -> Site:
    """Ours."""
    worlds[1].clock = worlds[0].clock
    return await make_site(worlds[0], meters=6)


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    """The application on a socket, its bell listening."""
    await api.bell.ready()
    async with served(api.app) as number:
        yield number


async def step(api: Api, token: str, batch: str, call: str) -> Body:
    """One step of a batch."""
    answer: Body = (await api.data(STEP % call, {"id": batch}, token=token))["answer"]
    return answer


async def prepared(api: Api, site: Site, token: str, kind: str = "TRIP") -> Body:
    """A preview of all meters and a number that nobody has."""
    text = "\n".join([*(meter.serial for meter in site.meters), "NOBODY-1"])
    given = {"p": ref("Project", site.world.project.id), "text": text, "kind": kind}
    answer: Body = (await api.data(PREPARE, given, token=token))["answer"]
    return answer


def refusal(message: Body) -> tuple[str, str]:
    """(code, message) of a subscription that is refused."""
    payload = message["payload"]
    (error,) = payload if message["type"] == "error" else payload["errors"]
    return error["extensions"]["code"], error["message"]


def numbers(counts: list[Body]) -> dict[str, int]:
    """Counts without the empty ones."""
    return {each["state"]: each["meters"] for each in counts if each["meters"]}


async def test_a_large_batch_goes_from_preview_to_approval_by_two_sessions(
    api: Api, site: Site
) -> None:
    project_id = site.world.project.id
    one = await operator_token(site.world, project_id=project_id)
    other = await operator_token(site.world, project_id=project_id, role="manager")
    made = await prepared(api, site, one)
    assert (made["state"], made["second"]) == ("DRAFT", True)
    assert made["mine"]
    assert numbers(made["counts"]) == {"READY": 6, "LEFT_OUT": 1}
    (taken,) = made["taken"]["edges"]
    assert taken["node"]["serves"] == {"no": site.account.no, "name": site.account.name}
    (left,) = made["items"]["edges"]
    assert left["node"] == {"serial": "NOBODY-1", "leftOut": "UNKNOWN_NUMBER", "meter": None}
    by_manager = await step(api, other, made["id"], "confirmBatch(batch: $id)")
    assert by_manager["code"] == "FORBIDDEN"
    assert (await step(api, one, made["id"], "confirmBatch(batch: $id)"))["state"] == "WAITING"
    alone = await step(api, one, made["id"], "ruleBatch(batch: $id, approved: true)")
    assert alone["code"] == "CONFLICT"
    begun = await step(api, other, made["id"], "ruleBatch(batch: $id, approved: true)")
    assert begun["state"] == "RUNNING"
    assert not begun["mine"]
    assert begun["startsAt"] == (site.at + WINDOW).isoformat()
    assert await site.commands() == []


async def test_no_foreign_missing_or_malformed_batch_is_confirmed_or_watched(
    api: Api, port: int, site: Site, worlds: tuple[World, World]
) -> None:
    ours = await operator_token(site.world, project_id=site.world.project.id)
    theirs = await operator_token(worlds[1])
    made = (await prepared(api, site, ours))["id"]
    wrong = (made, nothing().Batch, "%%%", WRONG_TYPE)
    told = [await step(api, theirs, each, "confirmBatch(batch: $id)") for each in wrong]
    assert {(each["code"], each["message"]) for each in told} == {("NOT_FOUND", "no such batch")}
    async with live(port, token=theirs) as ws:
        for place, each in enumerate(wrong):
            await subscribe(ws, CHANGED, {"id": each}, id_=str(place))
            assert refusal(await hear(ws)) == ("NOT_FOUND", "no such batch")
            assert (await hear(ws))["type"] == "complete"


async def test_who_watches_hears_of_each_meter_as_it_is_asked_and_as_it_obeys(
    api: Api, port: int, site: Site
) -> None:
    token = await operator_token(site.world, project_id=site.world.project.id)
    batch = await site.confirmed(site.numbers())
    async with live(port, token=token) as ws:
        await subscribe(ws, CHANGED, {"id": ref("Batch", batch.id)})
        first = (await hear(ws))["payload"]["data"]["batchChanged"]
        assert numbers(first["counts"]) == {"READY": 6}
        assert first["changed"] == []
        await site.round(batch)
        asked = (await hear(ws))["payload"]["data"]["batchChanged"]
        assert [each["state"] for each in asked["changed"]] == ["ASKED"] * 6
        assert numbers(asked["counts"]) == {"ASKED": 6}
        assert await site.obey(most=2) == 2
        site.clock.advance(-SECOND)  # the next round is another worker's, whose clock is behind
        await site.round(batch)
        some = (await hear(ws))["payload"]["data"]["batchChanged"]
        assert [each["state"] for each in some["changed"]] == ["DONE"] * 2
        assert numbers(some["counts"]) == {"ASKED": 4, "DONE": 2}
        await site.obey()
        await site.round(batch)
        last = (await hear(ws))["payload"]["data"]["batchChanged"]
        while last["batch"]["state"] != "DONE":
            last = (await hear(ws))["payload"]["data"]["batchChanged"]
        assert numbers(last["counts"]) == {"DONE": 6}


async def test_a_grant_taken_away_ends_the_watching_at_the_next_event(
    api: Api, port: int, site: Site
) -> None:
    token = await operator_token(site.world, project_id=site.world.project.id)
    batch = await site.confirmed(site.numbers())
    async with live(port, token=token) as ws:
        await subscribe(ws, CHANGED, {"id": ref("Batch", batch.id)})
        await hear(ws)
        async with unit_of_work(site.world.group_id) as work:
            await work.execute("DELETE FROM tenancy_grant WHERE group_id = $1", work.group_id)
        await site.round(batch)
        assert refusal(await hear(ws)) == ("NOT_FOUND", "no such batch")


async def test_a_meter_tells_its_state_with_the_one_colour_and_mark_of_it(
    api: Api, site: Site
) -> None:
    token = await operator_token(site.world, project_id=site.world.project.id)
    document = "query($id: ID!) { node(id: $id) { ... on Meter { tags state { state color glyph word } } } }"
    given = {"id": ref("Meter", site.meters[0].id)}
    shown = (await api.data(document, given, token=token))["node"]
    opened = MARKS[MeterState.OPENED]
    assert shown == {"tags": [], "state": {"state": "OPENED", **opened._asdict()}}
    legend = await api.data("{ meterStateMarks { state color glyph word } }", token=token)
    assert legend["meterStateMarks"] == [
        {"state": str(state), **mark._asdict()} for state, mark in MARKS.items()
    ]
