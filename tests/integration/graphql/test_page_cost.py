"""A page costs the same number of SQL statements whatever its size (look-ahead prefetch)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
from asyncpg.connection import LoggedQuery
from tortoise.connection import get_connection

from backend.kernel.db import ALIAS, unit_of_work
from backend.metering.readings import store_readings

from ..world import World, make_account, make_credential, make_meter, make_order, pay, reading_of
from .edge import Api, Body, operator_token
from .things import make_things

PAGE = """query($first: Int!) { projects { accounts(first: $first) { edges { node {
  no name phone place
  ...served
  ledger { purse inTransit atMeters }
} } pageInfo { hasNextPage endCursor } } } }
fragment served on Account {
  meters { serial online latest { at total remaining relay voltage } }
}"""
PLAIN = "query($first: Int!) { projects { accounts(first: $first) { edges { node { no } } } } }"
TOPUPS = """query($first: Int!) { projects { accounts(first: $first) { edges { node {
  no topUps(first: 3) { edges { node { orderNo money meterCredit } } }
} } } } }"""
SIZES = (1, 10, 50)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement that reaches PostgreSQL by the process's pool meanwhile."""
    seen: list[str] = []

    def note(query: LoggedQuery) -> None:
        seen.append(query.query)

    pool = cast("Any", get_connection(ALIAS))._pool
    connections = [holder._con for holder in pool._holders if holder._con is not None]
    for connection in connections:
        connection.add_query_logger(note)
    try:
        yield seen
    finally:
        for connection in connections:
            connection.remove_query_logger(note)


async def fifty_accounts(world: World) -> None:
    """Fifty-one accounts and more; each of the new ones has a meter that was read."""
    await make_things(world)
    for number in range(50):
        account = await make_account(world, no=f"{300000 + number}")
        meter, _ = await make_meter(
            world, serial=f"M-{number}-300", bus_address=60 + number, account=account
        )
        async with unit_of_work(world.group_id) as work:
            reading = reading_of(meter.id, at=world.clock.now(), total=number)
            await store_readings(work, readings=[reading])


async def warmed(api: Api, document: str, token: str) -> None:
    """Ask until every connection of the pool that will serve the question is open."""
    for _ in range(3):
        await api.data(document, {"first": 2}, token=token)


@pytest.mark.parametrize(
    ("document", "of_the_page"),
    [(PLAIN, 1), (PAGE, 4), (TOPUPS, 5)],
    ids=["numbers only", "with meters, places and money", "with top-ups"],
)
async def test_one_ten_and_fifty_accounts_cost_the_same_statements(
    document: str, of_the_page: int, api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    await fifty_accounts(world)
    token = await operator_token(world)
    await warmed(api, document, token)
    seen: dict[int, list[str]] = {}
    for size in SIZES:
        with statements() as logged:
            data = await api.data(document, {"first": size}, token=token)
        assert len(data["projects"][0]["accounts"]["edges"]) == size
        seen[size] = [
            text
            for text in logged
            if any(table in text for table in ("accounts_", "metering_", "ledger_", "topups_"))
            or "control_vend" in text
        ]
    # The first account alone has no top-up that stayed in its purse: two questions less about arrears.
    of_one = of_the_page - 2 if document == TOPUPS else of_the_page
    assert [len(seen[size]) for size in SIZES] == [of_one, of_the_page, of_the_page], seen
    assert seen[10] == seen[50]
    assert [text for text in seen[50] if text in seen[1]] == seen[1]


async def test_what_is_not_asked_for_is_not_read(api: Api, worlds: tuple[World, World]) -> None:
    token = await operator_token(worlds[0])
    await warmed(api, PLAIN, token)
    with statements() as logged:
        await api.data(PLAIN, {"first": 5}, token=token)
    assert logged
    assert not [text for text in logged if "metering_" in text or "ledger_" in text]


async def test_the_page_shows_what_the_meter_said_and_where_the_money_is(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    things = await make_things(world)
    paid = await make_order(world, credential_id=await make_credential(world), amount_fen=5000)
    await pay(world, paid)
    token = await operator_token(world)
    data = await api.data(PAGE, {"first": 50}, token=token)
    nodes = [edge["node"] for edge in data["projects"][0]["accounts"]["edges"]]
    (node,) = [each for each in nodes if each["no"] == world.account.no]
    assert (node["no"], node["phone"], node["place"]) == ("100001", "138****8000", "Building 1")
    assert node["ledger"] == {"purse": "0.00", "inTransit": "50.00", "atMeters": "0.00"}
    (meter,) = node["meters"]
    assert meter["latest"] == {
        "at": world.clock.now().isoformat(),
        "total": "1234.567",
        "remaining": "20.00",
        "relay": "ON",
        "voltage": "220.000",
    }
    top = await api.data(
        "query($id: ID!) { account(id: $id) { topUps { edges { node {"
        " amount money meterCredit power purchaseNo } } } } }",
        {"id": things.Account},
        token=token,
    )
    nodes = [edge["node"] for edge in top["account"]["topUps"]["edges"]]
    assert {
        "amount": "50.00",
        "money": "PAID",
        "meterCredit": "WAITING",
        "power": "UNKNOWN",
        "purchaseNo": 1,
    } in nodes


async def test_pages_follow_each_other_without_gap_or_repeat(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    for number in range(6):
        await make_account(world, no=f"{300000 + number}")
    token = await operator_token(world)
    document = """query($after: String) { projects { accounts(first: 3, after: $after) {
        edges { node { no } } pageInfo { hasNextPage endCursor } } } }"""
    found: list[str] = []
    after: str | None = None
    more = True
    while more:
        data = await api.data(document, {"after": after}, token=token)
        page = data["projects"][0]["accounts"]
        found += [edge["node"]["no"] for edge in page["edges"]]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found == ["100001", *(f"{300000 + number}" for number in range(6))]


async def test_readings_of_a_period_come_newest_first_and_only_of_the_accounts_own_meter(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    things, at = await make_things(world), world.clock.now()
    async with unit_of_work(world.group_id) as work:
        earlier = [
            reading_of(world.meter.id, at=at - timedelta(minutes=30 * n), total=1000 - n)
            for n in (1, 2, 3)
        ]
        await store_readings(work, readings=earlier)
    token = await operator_token(world)
    document = """query($a: ID!, $m: ID!, $from: DateTime!, $to: DateTime!) {
        account(id: $a) { readings(meter: $m, from: $from, to: $to, first: 2) { total } } }"""
    span = {"from": (at - timedelta(minutes=90)).isoformat(), "to": at.isoformat()}
    asked = {"a": things.Account, "m": things.Meter} | span
    data = await api.data(document, asked, token=token)
    assert [r["total"] for r in data["account"]["readings"]] == ["0.999", "0.998"]
    not_serving: Body = await api.ask(document, asked | {"m": things.FreeMeter}, token=token)
    assert not_serving["errors"][0]["extensions"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "arguments", ["first: 0", "first: 101", "first: -1", 'after: "x"', 'after: "YWZ0ZXI6"']
)
async def test_a_page_of_no_or_more_than_a_hundred_and_a_foreign_cursor_are_refused(
    arguments: str, api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    token = await operator_token(worlds[0])
    for field in (f"audit({arguments})", f'cases(project: "{things.Project}", {arguments})'):
        body = await api.ask(f"{{ {field} {{ edges {{ cursor }} }} }}", token=token)
        assert body["errors"][0]["extensions"]["code"] == "INVALID_INPUT", body
