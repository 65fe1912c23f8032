"""The list of meters that operators page through: whom it shows, how it is narrowed, what a page costs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from backend.accounts import operations as accounts
from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import NewAlarm, raise_alarms
from backend.control.state_rules import MARKS, MeterState
from backend.journeys import meter_choice
from backend.kernel.db import unit_of_work
from backend.metering.readings import store_readings
from backend.metering.rules import CreditMode
from backend.metering.tags import tag_meters
from schema.scalars import ref

from ..charged import make_home
from ..world import World, make_account, make_meter, make_project, reading_of
from .edge import Api, Body, operator_token
from .test_page_cost import statements

LIST = """query($p: ID!, $a: [ID!], $s: [MeterState!], $t: [String!], $q: String! = "",
    $n: Int! = 50, $after: String) {
  meters(project: $p, areas: $a, states: $s, tags: $t, search: $q, first: $n, after: $after) {
    edges { node { serial online balance tags state { state color glyph word } latest { total }
      serves { account no name place } model { name evidence } } }
    pageInfo { hasNextPage endCursor } } }"""


async def street(world: World, doors: int = 5) -> list[str]:
    """Meters `S-00`.. of a shop each, all read; their serials."""
    serials = []
    for number in range(doors):
        account = await make_account(world, no=f"{300000 + number}")
        serial = f"S-{number:02d}"
        meter, _ = await make_meter(world, serial=serial, bus_address=60 + number, account=account)
        async with unit_of_work(world.group_id) as work:
            at = world.clock.now()
            reading = reading_of(meter.id, at=at, total=1000 + number, remaining_hao=200_000)
            await store_readings(work, readings=[reading])
        serials.append(serial)
    return serials


async def listed(api: Api, world: World, token: str, **given: object) -> Body:
    """A page."""
    asked: Mapping[str, object] = {"p": ref("Project", world.project.id), **given}
    found: Body = (await api.data(LIST, asked, token=token))["meters"]
    return found


def serials_of(page: Body) -> list[str]:
    """Of a page, in its order."""
    return [edge["node"]["serial"] for edge in page["edges"]]


async def low_on_money(world: World, *serials: str) -> None:
    """The second alarm stands for the meters that serve somebody by these serials."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT m.id, s.id AS place FROM metering_meter m JOIN metering_assignment s"
            " ON s.meter_id = m.id WHERE m.serial = ANY($1) AND s.ended_at IS NULL",
            list(serials),
        )
        project, kind = world.project.id, AlarmKind.LOW_2
        alarms = [
            NewAlarm(project, kind, str(row["place"]), None, row["id"], None, 2, {}) for row in rows
        ]
        await raise_alarms(work, alarms=alarms, at=world.clock.now())


async def test_a_page_shows_each_meters_state_money_and_whom_it_serves(
    api: Api, worlds: tuple[World, World]
) -> None:
    ours, theirs = worlds
    await street(ours)
    await street(theirs)
    await low_on_money(ours, "S-01")
    token = await operator_token(ours, project_id=ours.project.id, role="auditor")
    page = await listed(api, ours, token, q="S-0")
    assert serials_of(page) == [f"S-{n:02d}" for n in range(5)]
    first, second = page["edges"][0]["node"], page["edges"][1]["node"]
    assert first["state"] == {"state": "OPENED", **MARKS[MeterState.OPENED]._asdict()}
    assert second["state"]["state"] == "ALARM_2"
    assert first["balance"] == "20.00"
    assert (first["serves"]["no"], first["serves"]["place"]) == ("300000", "Building 1")
    assert first["model"] == {"name": "DDSY1352-NK", "evidence": "UNVERIFIED"}
    assert first["online"]


async def test_the_list_is_narrowed_by_place_state_label_and_what_is_typed(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await street(world)
    await low_on_money(world, "S-01", "S-03")
    at, scope = world.clock.now(), world.scope
    async with unit_of_work(world.group_id) as work:
        floor = await accounts.add_area(
            work,
            scope=scope,
            project_id=world.project.id,
            parent_id=world.account.area_id,
            name="9F",
            at=at,
        )
        await work.execute(
            "UPDATE accounts_account SET area_id = $1, name = '花店 Rosa' WHERE no = '300003'",
            floor.id,
        )
        await work.execute("UPDATE accounts_account SET name = 'R_sa%' WHERE no = '300004'")
        await work.execute("UPDATE accounts_account SET name = 'Nora' WHERE no = '300002'")
        row = await work.fetchrow("SELECT id FROM metering_meter WHERE serial = 'S-04'")
        assert row is not None
        await tag_meters(work, scope=scope, meter_ids=[row["id"]], tag="corridor", on=True, at=at)
    token = await operator_token(world)
    whole = ref("Area", world.account.area_id)

    async def found(**given: object) -> list[str]:
        return serials_of(await listed(api, world, token, **given))

    assert await found(a=[ref("Area", floor.id)]) == ["S-03"]
    assert set(await found(a=[whole])) >= {f"S-{n:02d}" for n in range(5)}, "with all below"
    assert await found(s=["ALARM_2"]) == ["S-01", "S-03"]
    assert await found(s=["ALARM_2"], a=[ref("Area", floor.id)]) == ["S-03"]
    assert await found(t=["corridor"]) == ["S-04"]
    assert await found(q="rosa") == ["S-03"], "letters of the name, large or small"
    assert await found(q="s-02") == ["S-02"]
    assert await found(q="300001") == ["S-01"]
    assert await found(q="300002") == ["S-02"]
    assert await found(q="30000") == ["S-00", "S-01"], "Shop 30000x: a number is typed whole"
    assert await found(q="_sa%") == ["S-04"], "what is typed is no pattern"
    assert "S-02" in await found(s=["OPENED"])
    assert await found(s=["ARREARS", "LOST"]) == []


async def test_pages_of_one_state_follow_each_other_over_meters_of_others(
    api: Api, worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds[0]
    await street(world, doors=9)
    wanted = ["S-00", "S-02", "S-03", "S-07", "S-08"]
    await low_on_money(world, *wanted)
    monkeypatch.setattr(meter_choice, "_LOOKED_AT", 2)
    token, after, seen = await operator_token(world), None, []
    for _ in range(3):
        page = await listed(api, world, token, s=["ALARM_2"], n=2, after=after)
        seen.append(serials_of(page))
        after = page["pageInfo"]["endCursor"]
    assert seen == [["S-00", "S-02"], ["S-03", "S-07"], ["S-08"]]
    assert not page["pageInfo"]["hasNextPage"]


async def test_money_in_the_cloud_is_what_is_available_of_the_account(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    home = await make_home(world)
    await home.pay("30.00")
    assert home.meter.credit_mode == CreditMode.CLOUD
    token = await operator_token(world)
    page = await listed(api, world, token, q=home.meter.serial)
    (node,) = [edge["node"] for edge in page["edges"]]
    assert node["balance"] == "30.00"


async def test_who_may_not_read_accounts_or_money_sees_meters_without_them(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    far = await make_project(world)
    asked = {"p": ref("Project", world.project.id)}
    stranger = await operator_token(world, project_id=far.project.id)
    refused = await api.ask(LIST, asked, token=stranger)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE tenancy_role SET permissions = '{project:read,meter:read}'"
            " WHERE name = 'cashier'"
        )
    bare = await operator_token(world, project_id=world.project.id, role="cashier")
    body = await api.ask(LIST, asked, token=bare)
    nodes = [edge["node"] for edge in body["data"]["meters"]["edges"]]
    assert nodes
    assert all(node["serves"] is None for node in nodes)
    assert {error["extensions"]["code"] for error in body["errors"]} == {"FORBIDDEN"}
    body = await api.ask(LIST, asked | {"q": "shop"}, token=bare)
    assert body["data"] is None, "a search tells who lives where"
    assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_two_and_twenty_meters_cost_the_same_statements(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await street(world, doors=20)
    token = await operator_token(world)
    await listed(api, world, token)
    counted = []
    for size in (2, 20):
        with statements() as logged:
            page = await listed(api, world, token, q="S-", n=size)
        assert len(page["edges"]) == size
        counted.append(len([text for text in logged if "SELECT" in text]))
    assert counted[0] == counted[1], counted
