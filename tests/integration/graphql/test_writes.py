"""Every mutation: refused without its permission and leaving no trace; done and audited with it (C30)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backend.audit.queries import entries
from backend.kernel.db import unit_of_work
from backend.metering.readings import store_readings

from ..world import World, reading_of
from .doors import DOORS, PROBLEM, Door
from .edge import Api, operator_token
from .furnished import Furnished
from .things import make_things, nothing

WRITES = [door for door in DOORS if door.write]
ADD_PROJECT = f"""mutation($code: String!, $kind: String = "SHOPS") {{
  answer: addProject(code: $code, name: "New", kind: $kind) {{
    ... on Project {{ id code }} ... on InvalidInputProblem {{ field }} {PROBLEM} }} }}"""
ADD_OPERATOR = f"""mutation($login: String!, $password: String!) {{
  answer: addOperator(login: $login, name: "Li", password: $password) {{
    ... on Operator {{ id login }} ... on InvalidInputProblem {{ field }} {PROBLEM} }} }}"""


async def newest(world: World) -> Any:
    """The newest audit entry of the group."""
    async with unit_of_work(world.group_id) as work:
        (entry,) = await entries(work, before_seq=None, limit=1)
    return entry


@pytest.mark.parametrize("door", WRITES, ids=[door.name for door in WRITES])
async def test_an_auditor_may_write_nothing_and_learns_nothing_by_trying(
    door: Door, shown: Furnished
) -> None:
    mine, token = shown.mine, shown.auditor
    before = (await newest(shown.world)).seq
    answers = [
        (await shown.api.data(door.document, door.variables(mine, asked), token=token))["answer"]
        for asked in (mine, shown.foreign, nothing())
    ]
    assert answers[0]["__typename"] == "ForbiddenProblem"
    assert "needs the permission" in answers[0]["message"]
    assert answers == [answers[0]] * 3
    assert (await newest(shown.world)).seq == before


@pytest.mark.parametrize("door", WRITES, ids=[door.name for door in WRITES])
async def test_a_write_is_audited_with_who_did_it_from_where(
    door: Door, furnished: Furnished
) -> None:
    world, mine = furnished.world, furnished.mine
    before = (await newest(world)).seq
    await furnished.api.data(door.document, door.variables(mine, mine), token=furnished.group_token)
    async with unit_of_work(world.group_id) as work:
        written = [
            one for one in await entries(work, before_seq=None, limit=20) if one.seq > before
        ]
    # A closing takes meters down, a cancelled one hangs them again, a request that is granted acts, levels
    # are told to their meter by a command: each is told too.
    acts = {"Mutation.closeAccount": 2, "Mutation.cancelClosing": 1}
    more = acts | {"Mutation.ruleSupplyRequest": 1, "Mutation.setMeterAlarmLevels": 1}
    assert len(written) == 1 + more.get(door.field, 0)
    assert {(one.actor.kind, one.actor.address) for one in written} == {("operator", "203.0.113.9")}


@pytest.mark.parametrize("door", WRITES, ids=[door.name for door in WRITES])
async def test_a_write_in_one_project_needs_the_permission_there(
    door: Door, shown: Furnished
) -> None:
    before = (await newest(shown.world)).seq
    here = await shown.api.data(
        door.document, door.variables(shown.mine, shown.mine), token=shown.neighbour
    )
    assert here["answer"]["__typename"] == "ForbiddenProblem"
    assert (await newest(shown.world)).seq == before


async def test_who_has_the_permission_in_one_project_writes_there(furnished: Furnished) -> None:
    (refresh,) = [door for door in WRITES if door.field == "Mutation.refreshMeter"]
    there = await furnished.api.data(
        refresh.document, {"id": furnished.ungranted.Meter}, token=furnished.neighbour
    )
    assert there["answer"]["__typename"] == "MeterRefresh"


async def test_a_project_is_added_by_the_group_and_a_wrong_or_taken_code_is_told(
    api: Api, worlds: tuple[World, World]
) -> None:
    token = await operator_token(worlds[0])
    made = await api.data(ADD_PROJECT, {"code": "north"}, token=token)
    assert made["answer"]["code"] == "north"
    for variables, kind in (
        ({"code": "north"}, "ConflictProblem"),
        ({"code": "No Such!"}, "ConflictProblem"),
        ({"code": "east", "kind": "CASTLE"}, "InvalidInputProblem"),
        ({"code": "x" * 201}, "InvalidInputProblem"),
    ):
        refused = await api.data(ADD_PROJECT, variables, token=token)
        assert refused["answer"]["__typename"] == kind
    other = await api.data(ADD_PROJECT, {"code": "north"}, token=await operator_token(worlds[1]))
    assert other["answer"]["code"] == "north", "codes of one group do not block another's"


async def test_a_project_administrator_adds_no_projects_and_no_operators(
    api: Api, worlds: tuple[World, World]
) -> None:
    token = await operator_token(worlds[0], project_id=worlds[0].project.id)
    project = await api.data(ADD_PROJECT, {"code": "north"}, token=token)
    operator = await api.data(
        ADD_OPERATOR, {"login": "li", "password": "long enough 1"}, token=token
    )
    assert project["answer"]["__typename"] == operator["answer"]["__typename"] == "ForbiddenProblem"


async def test_an_operator_is_added_and_a_weak_password_or_taken_login_is_told(
    api: Api, worlds: tuple[World, World]
) -> None:
    token = await operator_token(worlds[0])
    good = {"login": "li.si", "password": "long enough 1"}
    assert (await api.data(ADD_OPERATOR, good, token=token))["answer"]["login"] == "li.si"
    weak = await api.data(ADD_OPERATOR, good | {"password": "short1"}, token=token)
    assert (weak["answer"]["__typename"], weak["answer"]["field"]) == (
        "InvalidInputProblem",
        "password",
    )
    taken = await api.data(ADD_OPERATOR, good, token=token)
    assert taken["answer"]["__typename"] == "ConflictProblem"


async def test_a_meter_is_assigned_only_from_a_reading_of_the_last_hour(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    things = await make_things(world)
    (assign,) = [d for d in WRITES if d.name == "Mutation.assignMeter(meter)"]
    variables = assign.variables(things, things)
    world.clock.advance(timedelta(minutes=60, seconds=1))
    token = await operator_token(world)
    refused = await api.data(assign.document, variables, token=token)
    assert refused["answer"]["__typename"] == "ConflictProblem"
    assert "read the meter first" in refused["answer"]["message"]
    async with unit_of_work(world.group_id) as work:
        meter_id = await work.fetchval(
            "SELECT id FROM metering_meter WHERE group_id = $1 AND serial = 'FREE-1'",
            work.group_id,
        )
        fresh = reading_of(meter_id, at=world.clock.now(), total=2_000_000, purchase_no=7)
        await store_readings(work, readings=[fresh])
    done = await api.data(assign.document, variables, token=token)
    assert done["answer"]["__typename"] == "Meter"
    async with unit_of_work(world.group_id) as work:
        opening = await work.fetchrow(
            "SELECT opening_total, opening_purchase_no, last_purchase_no"
            " FROM metering_assignment WHERE group_id = $1 AND meter_id = $2",
            work.group_id,
            meter_id,
        )
    assert opening is not None
    assert tuple(opening.values()) == (2_000_000, 7, 7)


async def test_a_refresh_asks_the_worker_once_a_minute(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    things, token = await make_things(world), await operator_token(world)
    document = (
        "mutation($id: ID!) { answer: refreshMeter(id: $id) { ... on MeterRefresh { queued } } }"
    )
    asked = [await api.data(document, {"id": things.Meter}, token=token) for _ in range(2)]
    world.clock.advance(timedelta(minutes=1))
    asked.append(await api.data(document, {"id": things.Meter}, token=token))
    assert [answer["answer"]["queued"] for answer in asked] == [True, False, True]
    async with unit_of_work(world.group_id) as work:
        events = await work.fetch(
            "SELECT payload FROM outbox_event WHERE group_id = $1 AND topic = 'meter.refresh'",
            work.group_id,
        )
    assert [dict(event["payload"]) for event in events] == [{"meter_id": str(world.meter.id)}] * 2


async def test_a_phone_number_is_shown_masked_even_to_who_typed_it(
    api: Api, worlds: tuple[World, World]
) -> None:
    things, token = await make_things(worlds[0]), await operator_token(worlds[0])
    body = await api.ask(
        """mutation($area: ID!) { openAccount(area: $area, no: "700001", name: "New",
          phone: "13700137000") { ... on Account { no phone place meters { id } ledger { purse } } } }""",
        {"area": things.Area},
        token=token,
    )
    assert body["data"]["openAccount"] == {
        "no": "700001",
        "phone": "137****7000",
        "place": "Building 1",
        "meters": [],
        "ledger": {"purse": "0.00"},
    }


async def test_the_audit_is_read_page_by_page_and_only_with_its_permission(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    document = """query($after: String) { audit(first: 2, after: $after) {
      edges { node { seq action actor address } } pageInfo { endCursor hasNextPage } } }"""
    token = await operator_token(world, role="auditor")
    first = (await api.data(document, token=token))["audit"]
    second = (await api.data(document, {"after": first["pageInfo"]["endCursor"]}, token=token))[
        "audit"
    ]
    numbers = [edge["node"]["seq"] for page in (first, second) for edge in page["edges"]]
    assert numbers == list(range(numbers[0], numbers[0] - 4, -1))
    in_one_project = await operator_token(world, project_id=world.project.id)
    refused = await api.ask(document, token=in_one_project)
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_who_may_not_see_money_gets_no_ledger_and_no_top_ups(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, things = worlds[0], await make_things(worlds[0])
    token = await operator_token(world, role="auditor")
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE tenancy_role SET permissions = ARRAY['project:read', 'account:read']"
            " WHERE group_id = $1 AND name = 'auditor'",
            work.group_id,
        )
    for part in (
        "ledger { purse }",
        "meters { id }",
        "topUps { edges { cursor } }",
        f'readings(meter: "{things.Meter}", from: "2026-11-01T00:00Z", to: "2026-11-02T00:00Z")'
        " { at }",
    ):
        document = f"query($id: ID!) {{ account(id: $id) {{ no {part} }} }}"
        body = await api.ask(document, {"id": things.Account}, token=token)
        assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN", part
    plain = await api.data(
        "query($id: ID!) { account(id: $id) { no } }", {"id": things.Account}, token=token
    )
    assert plain["account"] == {"no": "100001"}
