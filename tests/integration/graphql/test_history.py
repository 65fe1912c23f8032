"""Operators see use by hour and day, and what of the field cannot be read, through GraphQL."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.journeys.watch import roll_up_history, watch_lines, watch_meters
from backend.kernel.db import unit_of_work
from backend.metering.operations import note_gateway
from backend.metering.readings import store_readings
from schema.scalars import ref

from ..world import START, World, make_account, make_meter, reading_of
from .edge import Api, operator_token

HALF_HOUR = timedelta(minutes=30)
USE = """query($m: ID!, $by: UseBy!) { meterUse(meter: $m, from: "2026-11-22", to: "2026-11-23",
  by: $by) { day hour epoch opening closing used bands { band total } maxPower samples gaps
  backward } }"""
LOST = """query($p: ID!, $after: String) { lostMeters(project: $p, first: 2, after: $after) {
  edges { node { meter { serial lostSince } gateway { serial silentSince } since
    becauseOfGateway } } pageInfo { hasNextPage endCursor } } }"""
EPISODES = """query($p: ID!, $open: Boolean!) { fieldEpisodes(project: $p, onlyOpen: $open) {
  edges { node { kind gatewaySerial meterSerial startedAt endedAt metersBehind } } } }"""


async def test_use_is_shown_by_hour_and_by_day(api: Api, worlds: tuple[World, World]) -> None:
    world, other = worlds
    async with unit_of_work(world.group_id) as work:
        totals = [0, 500, 1200, 1100]
        made = [
            reading_of(world.meter.id, at=START + (n + 1) * HALF_HOUR, total=total)
            for n, total in enumerate(totals)
        ]
        await store_readings(work, readings=made)
    await roll_up_history(group_id=world.group_id, at=START + timedelta(days=1))
    token = await operator_token(world)
    asked = {"m": ref("Meter", world.meter.id)}
    data = await api.data(USE, asked | {"by": "DAY"}, token=token)
    assert data["meterUse"] == [
        {
            "day": "2026-11-22",
            "hour": None,
            "epoch": 1,
            "opening": "0.000",
            "closing": "1.100",
            "used": "1.100",
            "bands": [],
            "maxPower": 0,
            "samples": 4,
            "gaps": 0,
            "backward": 1,
        }
    ]
    data = await api.data(USE, asked | {"by": "HOUR"}, token=token)
    # 12:00 in China to 13:00, and to 14:00: a reading at the hour ends it.
    assert [(use["hour"], use["used"]) for use in data["meterUse"]] == [
        (12, "0.500"),
        (13, "0.600"),
    ]
    theirs = await operator_token(other)
    body = await api.ask(USE, asked | {"by": "DAY"}, token=theirs)
    assert body["errors"][0]["extensions"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("first", "last", "by"),
    [
        ("2026-11-22", "2026-11-21", "DAY"),
        ("2025-01-01", "2026-11-21", "DAY"),
        ("2026-10-01", "2026-11-21", "HOUR"),
    ],
)
async def test_a_span_that_is_none_or_too_long_is_refused(
    api: Api, worlds: tuple[World, World], first: str, last: str, by: str
) -> None:
    world = worlds[0]
    token = await operator_token(world)
    document = f"""query($m: ID!) {{ meterUse(meter: $m, from: "{first}", to: "{last}", by: {by})
        {{ used }} }}"""
    body = await api.ask(document, {"m": ref("Meter", world.meter.id)}, token=token)
    assert body["errors"][0]["extensions"]["code"] == "INVALID_INPUT"


async def test_lost_meters_are_reported_with_their_reason_and_gateways_with_their_silence(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    token, project = await operator_token(world), ref("Project", world.project.id)
    meters = [world.meter]
    for number in (2, 3):
        account = await make_account(world, no=f"10000{number}")
        meter, _ = await make_meter(
            world, serial=f"M-000{number}", bus_address=number, account=account
        )
        meters.append(meter)
    now = START

    async def later(minutes: int, *, line: bool) -> None:
        nonlocal now
        now += timedelta(minutes=minutes)
        async with unit_of_work(world.group_id) as work:
            await note_gateway(work, gateway_id=world.gateway.id, answered=line, at=now)
            read = [reading_of(meter.id, at=now, late_s=0) for meter in meters[:2]]
            await store_readings(work, readings=read if line else [])
        for watch in (watch_lines, watch_meters):
            await watch(group_id=world.group_id, at=now)

    for _ in range(12):
        await later(10, line=True)
    data = await api.data(LOST, {"p": project}, token=token)
    (edge,) = data["lostMeters"]["edges"]
    assert edge["node"]["meter"]["serial"] == "M-0003"
    assert edge["node"]["meter"]["lostSince"] == edge["node"]["since"]
    assert edge["node"]["becauseOfGateway"] is False
    assert edge["node"]["gateway"]["silentSince"] is None

    await later(30, line=False)
    await later(3, line=False)
    found: list[tuple[str, bool]] = []
    after, more = None, True
    while more:
        data = await api.data(LOST, {"p": project, "after": after}, token=token)
        page = data["lostMeters"]
        nodes = [edge["node"] for edge in page["edges"]]
        assert all(node["gateway"]["silentSince"] for node in nodes)
        found += [(node["meter"]["serial"], node["becauseOfGateway"]) for node in nodes]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == [("M-0002", True), ("M-0003", True), ("M-100001", True)]
    data = await api.data(EPISODES, {"p": project, "open": False}, token=token)
    told = [edge["node"] for edge in data["fieldEpisodes"]["edges"]]
    assert [(e["kind"], e["meterSerial"], e["metersBehind"]) for e in told] == [
        ("SILENT", None, 3),
        ("LOST", "M-0003", None),
    ]


async def test_lost_since_of_a_page_of_meters_is_one_statement_more(
    api: Api, worlds: tuple[World, World]
) -> None:
    from .test_page_cost import fifty_accounts, statements

    world = worlds[0]
    await fifty_accounts(world)
    token = await operator_token(world)
    document = """query($first: Int!) { projects { accounts(first: $first) { edges { node {
        meters { serial lostSince } } } } } }"""
    counts = []
    for first in (1, 50):
        with statements() as seen:
            await api.data(document, {"first": first}, token=token)
        counts.append(len([sql for sql in seen if "metering_episode" in sql]))
    assert counts == [1, 1]


async def test_how_a_project_is_collected_is_set_and_audited(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, other = worlds
    token, project = await operator_token(world), ref("Project", world.project.id)
    document = """mutation($p: ID!, $m: Int!, $n: Int!) { setCollection(project: $p,
        sweepMinutes: $m, lostAfterSweeps: $n) { __typename
        ... on Project { sweepMinutes lostAfterSweeps } ... on Problem { code message } } }"""
    data = await api.data(document, {"p": project, "m": 15, "n": 4}, token=token)
    assert data["setCollection"] == {
        "__typename": "Project",
        "sweepMinutes": 15,
        "lostAfterSweeps": 4,
    }
    for minutes, sweeps in ((4, 3), (15, 49)):
        data = await api.data(document, {"p": project, "m": minutes, "n": sweeps}, token=token)
        assert data["setCollection"]["code"] == "INVALID_INPUT"
    data = await api.data("{ projects { sweepMinutes lostAfterSweeps } }", token=token)
    assert data["projects"] == [{"sweepMinutes": 15, "lostAfterSweeps": 4}]
    data = await api.data(
        "{ audit(first: 1) { edges { node { action before { key value } after { key value } } } } }",
        token=token,
    )
    (entry,) = data["audit"]["edges"]
    assert entry["node"]["action"] == "project:collection:set"
    data = await api.data("{ projects { sweepMinutes } }", token=await operator_token(other))
    assert data["projects"] == [{"sweepMinutes": 30}]
