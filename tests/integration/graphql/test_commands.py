"""Commands through the edge: typed refusals, the life as it stands, a page at the price of one meter."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from backend.control.command_rules import CommandKind, CommandState
from backend.control.command_steps import End, Writing
from backend.journeys import serve_command as journey
from backend.kernel.db import unit_of_work
from backend.metering import operations as metering
from schema.scalars import ref
from workers.models import meter_models

from ..world import World, ask_command, make_account, make_meter
from .edge import Api, operator_token
from .test_page_cost import statements

TELL = """mutation($m: ID!, $k: CommandKind!, $r: String = "the tenant moved out",
    $p: [BandPriceInput!], $t: ThresholdsInput, $c: MeterCalendarInput) {
  answer: commandMeter(meter: $m, kind: $k, reason: $r, prices: $p, thresholds: $t, calendar: $c) {
    __typename
    ... on Command { id kind state reason requestedBy issuedAt expiresAt finishedAt relayBefore
      relayAfter outcome }
    ... on InvalidInputProblem { field } ... on Problem { code message } } }"""
NEW_YEAR = {"month": 1, "day": 1, "table": 1}
NIGHT, LATE = {"start": "00:00", "band": "valley"}, {"start": "24:00", "band": "valley"}
MORNING = {"start": "07:30", "band": "peak"}
LIFE = """query($id: ID!, $n: Int!) { node(id: $id) { ... on Meter { commands(first: $n) {
  id kind state relayBefore relayAfter outcome } } } }"""
ME = "{ me { operator { login } } }"
PAGE = """{ projects { gateways { meters { serial commands(first: 2) { kind } } } } }"""


async def test_a_command_is_answered_as_it_stands_and_found_at_its_meter_newest_first(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    meter, token = ref("Meter", world.meter.id), await operator_token(world)
    told: list[Any] = []
    for kind in ("TRIP", "SYNC_CLOCK", "RELEASE"):
        told.append((await api.data(TELL, {"m": meter, "k": kind}, token=token))["answer"])
        world.clock.advance(timedelta(seconds=1))
    now, me = world.clock.now(), await api.data(ME, token=token)
    assert told[0] == {
        "__typename": "Command",
        "id": told[0]["id"],
        "kind": "TRIP",
        "state": "QUEUED",
        "reason": "the tenant moved out",
        "requestedBy": me["me"]["operator"]["login"],
        "issuedAt": (now - timedelta(seconds=3)).isoformat(),
        "expiresAt": (now + timedelta(seconds=117)).isoformat(),
        "finishedAt": None,
        "relayBefore": None,
        "relayAfter": None,
        "outcome": None,
    }
    listed = (await api.data(LIFE, {"id": meter, "n": 10}, token=token))["node"]["commands"]
    assert [(each["kind"], each["state"]) for each in listed] == [
        ("RELEASE", "QUEUED"),
        ("SYNC_CLOCK", "QUEUED"),
        ("TRIP", "SUPERSEDED"),
    ]
    two = (await api.data(LIFE, {"id": meter, "n": 2}, token=token))["node"]["commands"]
    assert two == listed[:2]


async def test_what_the_meter_showed_is_told_as_on_and_off(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    asked = await ask_command(world, kind=CommandKind.TRIP)
    group_id, at = world.group_id, world.clock.now()
    write = Writing(asked.id, writes=0, relay_closed=True, at=at)
    await journey.about_to_write(group_id=group_id, writes=[write])
    end = End(asked.id, CommandState.VERIFIED, "the relay is open", False, at)
    await journey.ended(group_id=group_id, ends=[(end, None)])
    token = await operator_token(world, role="auditor")
    data = await api.data(
        "query($id: ID!) { node(id: $id) { ... on Command { state relayBefore relayAfter outcome } } }",
        {"id": ref("Command", asked.id)},
        token=token,
    )
    assert data["node"] == {
        "state": "VERIFIED",
        "relayBefore": "ON",
        "relayAfter": "OFF",
        "outcome": "the relay is open",
    }


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"k": "TRIP", "r": " "}, "reason"),
        ({"k": "TRIP", "r": "x" * 201}, "reason"),
        ({"k": "PRICES"}, "prices"),
        ({"k": "PRICES", "p": [{"band": "night", "price": "0.60"}]}, "prices"),
        ({"k": "PRICES", "p": [{"band": "peak", "price": "60.00"}]}, "prices"),
        ({"k": "TRIP", "p": [{"band": "peak", "price": "0.60"}]}, "prices"),
        ({"k": "CALENDAR"}, "calendar"),
        ({"k": "CALENDAR", "c": {"zones": [], "tables": []}}, "zones"),
        ({"k": "CALENDAR", "c": {"zones": [NEW_YEAR], "tables": [[]]}}, "tables"),
        ({"k": "CALENDAR", "c": {"zones": [NEW_YEAR], "tables": [[LATE]]}}, "tables"),
        ({"k": "TRIP", "c": {"zones": [NEW_YEAR], "tables": [[NIGHT]]}}, "calendar"),
        ({"k": "THRESHOLDS", "t": {}}, "thresholds"),
        ({"k": "THRESHOLDS", "t": {"alarm1": "-1.00"}}, "thresholds"),
        ({"k": "THRESHOLDS", "t": {"overloadW": -1}}, "thresholds"),
    ],
)
async def test_an_order_that_makes_no_sense_names_what_is_wrong_and_leaves_no_trace(
    given: dict[str, object], field: str, api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    meter, token = ref("Meter", world.meter.id), await operator_token(world)
    answer = (await api.data(TELL, {"m": meter, **given}, token=token))["answer"]
    assert (answer["__typename"], answer["field"]) == ("InvalidInputProblem", field)
    listed = await api.data(LIFE, {"id": meter, "n": 10}, token=token)
    assert listed["node"]["commands"] == []


async def test_prices_and_thresholds_are_taken_in_yuan_and_hours_by_the_clock(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    meter, token = ref("Meter", world.meter.id), await operator_token(world)
    for given in (
        {"k": "PRICES", "p": [{"band": "peak", "price": "0.6123"}]},
        {"k": "THRESHOLDS", "t": {"alarm1": "20.50", "overloadW": 4400}},
        {"k": "CALENDAR", "c": {"zones": [NEW_YEAR], "tables": [[NIGHT, MORNING]]}},
    ):
        answer = (await api.data(TELL, {"m": meter, **given}, token=token))["answer"]
        assert (answer["__typename"], answer["kind"]) == ("Command", given["k"])
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch("SELECT settings FROM control_command ORDER BY kind")
    assert [row["settings"] for row in rows] == [
        {"zone1": 1_01_01, "table1_1": 4, "table1_2": 7_30_02},
        {"peak": 6_123},
        {"alarm1": 205_000, "overload_w": 4_400},
    ]


async def test_a_model_without_a_relay_is_refused_in_words(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    async with unit_of_work(world.group_id) as work:
        meter = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial="PLAIN-1",
            model=meter_models()["GENERIC-MODBUS"],
            bus_address="9",
            at=world.clock.now(),
        )
    asked = {"m": ref("Meter", meter.id), "k": "TRIP"}
    answer = (await api.data(TELL, asked, token=await operator_token(world)))["answer"]
    assert (answer["__typename"], answer["code"]) == ("ConflictProblem", "CONFLICT")
    assert "no relay" in answer["message"]


@pytest.mark.parametrize("role", ["manager", "auditor"])
async def test_a_manager_reads_commands_but_gives_none(
    role: str, api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await ask_command(world)
    meter, token = ref("Meter", world.meter.id), await operator_token(world, role=role)
    answer = (await api.data(TELL, {"m": meter, "k": "TRIP"}, token=token))["answer"]
    assert answer["__typename"] == "ForbiddenProblem"
    listed = await api.data(LIFE, {"id": meter, "n": 10}, token=token)
    assert [each["kind"] for each in listed["node"]["commands"]] == ["SYNC_CLOCK"]


async def test_the_commands_of_all_meters_of_a_page_are_one_statement(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await ask_command(world)
    await ask_command(worlds[1], kind=CommandKind.TRIP)
    token, costs = await operator_token(world), []
    for number in range(3):
        account = await make_account(world, no=f"{300000 + number}")
        await make_meter(world, serial=f"METER-{number}", bus_address=2 + number, account=account)
        await api.data(PAGE, token=token)
        with statements() as logged:
            data = await api.data(PAGE, token=token)
        costs.append(len([text for text in logged if "control_command" in text]))
        meters = data["projects"][0]["gateways"][0]["meters"]
        assert [each["commands"] for each in meters] == [
            [{"kind": "SYNC_CLOCK"}],
            *[[]] * (number + 1),
        ]
    assert costs == [1, 1, 1]


@pytest.mark.parametrize("first", [0, 101])
async def test_no_more_than_a_hundred_commands_are_shown(
    first: int, api: Api, worlds: tuple[World, World]
) -> None:
    meter, token = ref("Meter", worlds[0].meter.id), await operator_token(worlds[0])
    body = await api.ask(LIFE, {"id": meter, "n": first}, token=token)
    assert body["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
