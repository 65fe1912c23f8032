"""Alarms at the edge: the live list and the past one, who acknowledges, who hears of a new one at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection

from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.alarms import NewAlarm, end_alarms, raise_alarms
from backend.kernel.db import unit_of_work
from backend.kernel.secrets import digest
from backend.tenancy.operations import close_session
from schema.scalars import ref

from ..world import START, World, make_project, new_id
from .edge import Api, Body, hear, live, operator_token, served, subscribe

LIST = """query($p: ID!, $live: Boolean!, $kind: AlarmKind, $level: AlarmLevel, $after: String) {
  alarms(project: $p, live: $live, kind: $kind, level: $level, first: 2, after: $after) {
    edges { node { kind level meter endedAt endedWhy detail { key value } } }
    pageInfo { hasNextPage endCursor } } }"""
RAISED = "subscription($p: ID!) { alarmRaised(project: $p) { kind detail { value } } }"
TAMPER, DRIFT = AlarmKind.TAMPER, AlarmKind.DRIFT


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    """The application on a socket, its bell listening."""
    await api.bell.ready()
    async with served(api.app) as number:
        yield number


async def raised(world: World, kind: AlarmKind, level: int = 3, says: str = "x") -> str:
    """An alarm of something; its subject."""
    subject, detail = str(new_id()), {"says": says}
    alarm = NewAlarm(world.project.id, kind, subject, None, world.meter.id, None, level, detail)
    async with unit_of_work(world.group_id) as work:
        await raise_alarms(work, alarms=[alarm], at=world.clock.now())
    return subject


def seen(page: Body) -> list[str]:
    """What a page says, newest first."""
    return [edge["node"]["detail"][0]["value"] for edge in page["alarms"]["edges"]]


async def test_what_stands_is_listed_by_kind_and_hurry_and_what_stood_page_by_page(
    api: Api, worlds: tuple[World, World]
) -> None:
    ours, theirs = worlds
    await raised(theirs, TAMPER, says="not ours")
    over = await raised(ours, TAMPER, says="over")
    await raised(ours, DRIFT, level=2, says="drift")
    await raised(ours, TAMPER, says="now")
    async with unit_of_work(ours.group_id) as work:
        await end_alarms(work, kind=TAMPER, subjects=[over], note="closed again", at=START)
    token = await operator_token(ours, project_id=ours.project.id, role="auditor")
    asked = {"p": ref("Project", ours.project.id), "live": True}

    async def page(**more: object) -> Body:
        return await api.data(LIST, asked | more, token=token)

    assert sorted(seen(await page())) == ["drift", "now"]
    assert seen(await page(kind="DRIFT")) == ["drift"]
    assert seen(await page(level="URGENT")) == ["now"]
    first = await page(live=False)
    assert first["alarms"]["pageInfo"]["hasNextPage"]
    rest = await page(live=False, after=first["alarms"]["pageInfo"]["endCursor"])
    assert sorted(seen(first) + seen(rest)) == ["drift", "now", "over"]
    ended = {
        edge["node"]["endedWhy"] for edge in [*first["alarms"]["edges"], *rest["alarms"]["edges"]]
    }
    assert ended == {None, "closed again"}


async def test_an_alarm_names_its_meter_and_whom_it_concerns(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    project, meter, account = world.project.id, world.meter.id, world.account.id
    alarms = [
        NewAlarm(project, TAMPER, "one", account, meter, None, 3, {}),
        NewAlarm(project, AlarmKind.GATEWAY_LOST, "two", None, None, world.gateway.id, 3, {}),
    ]
    async with unit_of_work(world.group_id) as work:
        await raise_alarms(work, alarms=alarms, at=world.clock.now())
    document = (
        """query($p: ID!) { alarms(project: $p) { edges { node { kind serial concerns } } } }"""
    )
    asked = {"p": ref("Project", project)}
    data = await api.data(document, asked, token=await operator_token(world))
    told = {
        e["node"]["kind"]: (e["node"]["serial"], e["node"]["concerns"])
        for e in data["alarms"]["edges"]
    }
    assert told == {
        "TAMPER": (world.meter.serial, f"{world.account.no} {world.account.name}"),
        "GATEWAY_LOST": (world.gateway.serial, None),
    }
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE tenancy_role SET permissions = '{project:read,alarm:read}'")
    data = await api.data(document, asked, token=await operator_token(world))
    assert {edge["node"]["concerns"] for edge in data["alarms"]["edges"]} == {None}


async def test_levels_are_shown_and_set_for_a_project_and_for_a_meter(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    token = await operator_token(world, project_id=world.project.id)
    asked = {"p": ref("Project", world.project.id), "m": ref("Meter", world.meter.id)}
    document = """mutation($p: ID!, $m: ID!) {
      project: setAlarmLevels(project: $p, low1: "30", low2: "10", overloadW: 3000) { ...of }
      meter: setMeterAlarmLevels(meter: $m, low1: "60", low2: "15") { ...of }
      half: setMeterAlarmLevels(meter: $m, low1: "60") { ... on Problem { code } } }
      fragment of on AlarmLevels { low1 low2 overloadW own }"""
    data = await api.data(document, asked, token=token)
    of_project = {"low1": "30.00", "low2": "10.00", "overloadW": 3000, "own": False}
    of_meter = {"low1": "60.00", "low2": "15.00", "overloadW": 3000, "own": True}
    assert data == {
        "project": of_project,
        "meter": of_meter,
        "half": {"code": "INVALID_INPUT"},
    }
    shown = """query($p: ID!, $m: ID!) { project: alarmLevels(project: $p) { ...of }
      meter: meterAlarmLevels(meter: $m) { ...of } }
      fragment of on AlarmLevels { low1 low2 overloadW own }"""
    assert await api.data(shown, asked, token=token) == {"project": of_project, "meter": of_meter}


async def test_who_may_only_read_acknowledges_nothing(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await raised(world, DRIFT)
    reader = await operator_token(world, project_id=world.project.id, role="auditor")
    manager = await operator_token(world, project_id=world.project.id, role="manager")
    listed = "query($p: ID!) { alarms(project: $p) { edges { node { id } } } }"
    found = await api.data(listed, {"p": ref("Project", world.project.id)}, token=reader)
    alarm = {"id": found["alarms"]["edges"][0]["node"]["id"]}
    document = """mutation($id: ID!) { answer: acknowledgeAlarm(id: $id, note: "on my way") {
      ... on Problem { code } ... on Alarm { acknowledgedBy note endedAt } } }"""
    said = (await api.data(document, alarm, token=reader))["answer"]
    assert said == {"code": "FORBIDDEN"}
    said = (await api.data(document, alarm, token=manager))["answer"]
    assert said.pop("acknowledgedBy").startswith("op")
    assert said == {"note": "on my way", "endedAt": None}


async def test_who_watches_hears_each_new_alarm_of_the_project_and_no_other(
    port: int, worlds: tuple[World, World]
) -> None:
    ours, theirs = worlds
    second = await make_project(ours)
    token = await operator_token(ours, project_id=ours.project.id)
    async with live(port, token=token) as ws:
        await subscribe(ws, RAISED, {"p": ref("Project", ours.project.id)})
        await raised(ours, TAMPER, says="first")
        for other in (theirs, second):
            await raised(other, DRIFT, says="not heard")
        await raised(ours, DRIFT, says="second")
        heard = [(await hear(ws))["payload"]["data"]["alarmRaised"] for _ in range(2)]
    assert {each["detail"][0]["value"] for each in heard} == {"first", "second"}


async def test_a_project_that_the_caller_may_not_see_is_not_watched_and_signing_out_ends_it(
    port: int, worlds: tuple[World, World]
) -> None:
    ours, theirs = worlds
    second = await make_project(ours)
    token = await operator_token(ours, project_id=ours.project.id)
    for hidden in (theirs.project.id, second.project.id, new_id()):
        async with live(port, token=token) as ws:
            await subscribe(ws, RAISED, {"p": ref("Project", hidden)})
            assert (await refusal(ws)) == ("NOT_FOUND", "no such project")
    async with live(port, token=token) as ws:
        await subscribe(ws, RAISED, {"p": ref("Project", ours.project.id)})
        await raised(ours, TAMPER)
        assert (await hear(ws))["type"] == "next"
        async with unit_of_work(ours.group_id) as work:
            await close_session(work, token_digest=digest(token))
        await raised(ours, DRIFT)
        assert (await refusal(ws))[0] == "UNAUTHENTICATED"


async def refusal(ws: ClientConnection) -> tuple[str, str]:
    """(code, message) of a subscription that is refused."""
    message = await hear(ws)
    (error,) = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
    return error["extensions"]["code"], error["message"]
