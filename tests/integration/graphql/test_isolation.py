"""No id opens another group's or another project's door, and no answer says why (C29, O15)."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import GraphQLObjectType

from backend.audit.queries import entries
from backend.kernel.db import unit_of_work
from schema.objects import DOORS as NODE_DOORS
from schema.schema import make_schema

from ..world import World, make_project
from .doors import DOORS, ELSEWHERE, Door
from .edge import Api, Body, operator_token
from .furnished import Furnished
from .permissions import needs
from .things import WRONG_TYPE, malformed, nothing

NEEDS = needs()
READS = [door for door in DOORS if not door.write]
WRITES = [door for door in DOORS if door.write]
each_door = pytest.mark.parametrize("door", DOORS, ids=[door.name for door in DOORS])


def answer_of(body: Body, door: Door) -> Any:
    """(code, message) of a refusal, or what was answered."""
    if door.write:
        answer = body["data"]["answer"]
        return (answer["code"], answer["message"]) if "code" in answer else answer
    if "errors" in body:
        (error,) = body["errors"]
        return error["extensions"]["code"], error["message"]
    return body["data"]


async def audited(*worlds: World) -> list[int]:
    """How many audit entries each group has: every write makes one."""
    counts = []
    for world in worlds:
        async with unit_of_work(world.group_id) as work:
            newest = await entries(work, before_seq=None, limit=1)
        counts.append(newest[0].seq)
    return counts


@each_door
async def test_a_foreign_ungranted_missing_or_malformed_id_gets_one_and_the_same_answer(
    door: Door, shown: Furnished
) -> None:
    mine = shown.mine
    asked = {
        "of another group": shown.foreign,
        "that nothing has": nothing(),
        "that is malformed": malformed(mine, "%%%"),
        "that is another type's": malformed(mine, WRONG_TYPE),
    }
    if not door.group_wide:
        asked["of a project without a grant"] = shown.ungranted
    token = granted(door, shown)
    before = await audited(shown.world, shown.other)

    answers = {}
    for how, things in asked.items():
        body = await shown.api.ask(door.document, door.variables(mine, things), token=token)
        answers[how] = answer_of(body, door)

    assert {code for code, _ in answers.values()} == {"NOT_FOUND"}, answers
    assert len(set(answers.values())) == 1, answers
    assert await audited(shown.world, shown.other) == before, "a refused write left a trace"


@each_door
async def test_who_is_not_signed_in_is_told_so_whatever_the_id(
    door: Door, shown: Furnished
) -> None:
    mine = shown.mine
    before = await audited(shown.world, shown.other)
    for things in (mine, shown.foreign, nothing()):
        for token in (None, f"{shown.world.code}.not-a-session", "nonsense"):
            body = await shown.api.ask(door.document, door.variables(mine, things), token=token)
            assert answer_of(body, door)[0] == "UNAUTHENTICATED"
    assert await audited(shown.world, shown.other) == before, "a refused write left a trace"


@pytest.mark.parametrize("door", READS, ids=[door.name for door in READS])
async def test_ones_own_id_opens_the_door_to_see(door: Door, shown: Furnished) -> None:
    before = await audited(shown.world, shown.other)
    await expect_open(door, shown)
    assert await audited(shown.world, shown.other) == before, "to look is no write"


@pytest.mark.parametrize("door", WRITES, ids=[door.name for door in WRITES])
async def test_ones_own_id_opens_the_door_to_write(door: Door, furnished: Furnished) -> None:
    await expect_open(door, furnished)


async def expect_open(door: Door, there: Furnished) -> None:
    """One's own id is answered with what lies behind the door."""
    mine = there.mine
    body = await there.api.ask(
        door.document, door.variables(mine, mine), token=granted(door, there)
    )
    answer = answer_of(body, door)
    assert isinstance(answer, dict), answer
    assert not str(answer.get("__typename", "")).endswith("Problem")


def granted(door: Door, there: Furnished) -> str:
    """The session of who may come through this door and no further than it needs."""
    return there.holders[NEEDS[door.name], door.group_wide]


@pytest.mark.parametrize("kind", sorted(NODE_DOORS))
async def test_node_shows_each_type_to_its_own_group_and_to_who_is_granted_its_project_only(
    kind: str, shown: Furnished
) -> None:
    document = "query($id: ID!) { node(id: $id) { __typename id } }"
    mine = getattr(shown.mine, kind)
    for token, hidden in (
        (shown.group_token, shown.foreign),
        (shown.token, shown.ungranted),
    ):
        own = await shown.api.data(document, {"id": mine}, token=token)
        assert own["node"] == {"__typename": kind, "id": mine}
        refused = await shown.api.ask(document, {"id": getattr(hidden, kind)}, token=token)
        missing = await shown.api.ask(document, {"id": getattr(nothing(), kind)}, token=token)
        assert refused == missing
        assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_lists_of_one_group_show_nothing_of_the_other(shown: Furnished) -> None:
    body = await shown.api.ask(
        "{ projects { id accounts { edges { node { id meters { id } topUps { edges { node { id }"
        " } } } } } gateways { id meters { id } } areas { id } } }",
        token=shown.group_token,
    )
    text = str(body)
    assert "errors" not in body
    for kind in ("Project", "Area", "Account", "Gateway", "Meter", "FreeMeter", "TopUp"):
        assert getattr(shown.mine, kind) in text
        assert getattr(shown.foreign, kind) not in text


async def test_an_operator_of_one_project_sees_that_project_only(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    second = await make_project(world)
    token = await operator_token(world, project_id=second.project.id)
    data = await api.data("{ projects { code } me { projects { project { code } } } }", token=token)
    assert data["projects"] == [{"code": "second"}]
    assert data["me"]["projects"] == [{"project": {"code": "second"}}]
    by_no = "query($no: String!) { account(no: $no) { no } }"
    assert (await api.data(by_no, {"no": "200001"}, token=token))["account"]["no"] == "200001"
    hidden = await api.ask(by_no, {"no": world.account.no}, token=token)
    missing = await api.ask(by_no, {"no": "999999"}, token=token)
    assert hidden == missing
    assert hidden["errors"][0]["extensions"]["code"] == "NOT_FOUND"


def test_every_field_that_takes_an_id_is_in_the_table() -> None:
    schema = make_schema()._schema
    found = set()
    for kind in schema.type_map.values():
        if not isinstance(kind, GraphQLObjectType) or kind.name.startswith("__"):
            continue
        for name, field in kind.fields.items():
            for argument, taken in field.args.items():
                if str(taken.type).strip("[!]") == "ID":  # one, or a list of them
                    found.add(f"{kind.name}.{name}({argument})")
    assert found == {door.name for door in DOORS} | set(ELSEWHERE)


def test_every_node_type_can_be_reached_by_node_and_only_through_a_door() -> None:
    schema = make_schema()._schema
    node = schema.type_map["Node"]
    kinds = {
        kind.name
        for kind in schema.type_map.values()
        if isinstance(kind, GraphQLObjectType) and node in kind.interfaces
    }
    assert kinds == set(NODE_DOORS)
