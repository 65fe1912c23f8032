"""Subscriptions: the present state first, then every change, and not a moment longer than allowed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from backend.kernel.db import unit_of_work
from backend.kernel.secrets import digest
from backend.tenancy.operations import close_session
from backend.topups.operations import BELL, Paid, mark_paid

from ..world import World, make_project
from .edge import Api, Body, hear, knock, live, operator_token, served, subscribe, tell
from .things import (
    WRONG_TYPE,
    Things,
    make_things,
    malformed,
    nothing,
    order_of_another_account,
)

OPERATOR = "subscription($id: ID!) { topUpChanged(id: $id) { id money meterCredit power } }"
PAYER = """subscription($token: String!, $id: ID!) {
  topUpByLinkChanged(token: $token, id: $id) { id money meterCredit power } }"""
WAITING = {"money": "WAITING", "meterCredit": "WAITING", "power": "UNKNOWN"}


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    """The application on a socket, its bell listening."""
    async with asyncio.timeout(10):
        await api.bell.ready()
    async with served(api.app) as number:
        yield number


async def pay_and_ring(world: World, things: Things) -> None:
    """What settle does to an order, as far as a listener sees."""
    async with unit_of_work(world.group_id) as work:
        transaction_id = f"42{things.order_id.hex[:20]}"
        paid = Paid(things.order_id, transaction_id, world.clock.now())
        await mark_paid(work, paid=[paid])
        work.notify(BELL, f"{world.group_id}:{things.order_id}")


async def until_closed(ws: ClientConnection, *, within_s: float = 5) -> tuple[int, list[Body]]:
    """The close code, and what was said before it."""
    said: list[Body] = []
    async with asyncio.timeout(within_s):
        with suppress(ConnectionClosed):
            while True:
                said.append(json.loads(await ws.recv()))
    assert ws.close_code is not None
    return ws.close_code, said


async def refusal(ws: ClientConnection) -> tuple[str, str]:
    """(code, message) of a subscription that is refused."""
    message = await hear(ws)
    (error,) = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
    return error["extensions"]["code"], error["message"]


async def test_an_operator_hears_the_present_state_and_then_each_change(
    port: int, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    token = await operator_token(worlds[0], project_id=worlds[0].project.id)
    async with live(port, token=token) as ws:
        await subscribe(ws, OPERATOR, {"id": things.TopUp})
        first = await hear(ws)
        assert first["payload"]["data"]["topUpChanged"] == {"id": things.TopUp} | WAITING
        await pay_and_ring(worlds[0], things)
        assert (await hear(ws))["payload"]["data"]["topUpChanged"]["money"] == "PAID"


async def test_the_payer_hears_the_order_of_the_link_without_signing_in(
    port: int, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    async with live(port) as ws:
        await subscribe(ws, PAYER, {"token": things.link, "id": things.TopUp})
        first = await hear(ws)
        assert first["payload"]["data"]["topUpByLinkChanged"] == {"id": things.TopUp} | WAITING
        await pay_and_ring(worlds[0], things)
        assert (await hear(ws))["payload"]["data"]["topUpByLinkChanged"]["money"] == "PAID"


async def test_a_ring_for_another_groups_order_wakes_nobody_here(
    port: int, worlds: tuple[World, World]
) -> None:
    mine, foreign = await make_things(worlds[0]), await make_things(worlds[1])
    async with live(port, token=await operator_token(worlds[0])) as ws:
        await subscribe(ws, OPERATOR, {"id": mine.TopUp})
        await hear(ws)
        await pay_and_ring(worlds[1], foreign)
        await tell(ws, {"type": "ping"})
        assert (await hear(ws))["type"] == "pong"


async def test_an_operators_subscription_opens_no_foreign_top_up(
    port: int, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    mine, foreign = await make_things(world), await make_things(worlds[1])
    ungranted = await make_things(await make_project(world), prefix="2")
    token = await operator_token(world, project_id=world.project.id)
    asked = [foreign, ungranted, nothing(), malformed(mine, "%%"), malformed(mine, WRONG_TYPE)]
    answers = set()
    async with live(port, token=token) as ws:
        for number, things in enumerate(asked):
            await subscribe(ws, OPERATOR, {"id": things.TopUp}, id_=str(number))
            answers.add(await refusal(ws))
            assert (await hear(ws))["type"] == "complete"
    assert answers == {("NOT_FOUND", "no such top-up")}
    async with live(port) as ws:
        await subscribe(ws, OPERATOR, {"id": mine.TopUp})
        assert (await refusal(ws))[0] == "UNAUTHENTICATED"


async def test_a_links_subscription_opens_only_top_ups_of_its_account(
    port: int, worlds: tuple[World, World]
) -> None:
    mine, foreign = await make_things(worlds[0]), await make_things(worlds[1])
    ids = [foreign.TopUp, await order_of_another_account(worlds[0]), nothing().TopUp, "%%"]
    answers = set()
    async with live(port) as ws:
        for number, id_ in enumerate(ids):
            asked = {"token": mine.link, "id": id_}
            await subscribe(ws, PAYER, asked, id_=str(number))
            answers.add(await refusal(ws))
            assert (await hear(ws))["type"] == "complete"
    assert answers == {("NOT_FOUND", "no such top-up")}


async def test_a_revoked_session_is_cut_within_five_seconds_though_nothing_happens(
    port: int, worlds: tuple[World, World]
) -> None:
    things, token = await make_things(worlds[0]), await operator_token(worlds[0])
    async with live(port, token=token) as ws:
        await subscribe(ws, OPERATOR, {"id": things.TopUp})
        await hear(ws)
        async with unit_of_work(worlds[0].group_id) as work:
            await close_session(work, token_digest=digest(token))
        code, said = await until_closed(ws, within_s=5)
    assert code == 4403
    assert not [message for message in said if message["type"] == "next"]


async def test_an_event_right_after_revocation_is_not_told(
    port: int, worlds: tuple[World, World]
) -> None:
    things, token = await make_things(worlds[0]), await operator_token(worlds[0])
    async with live(port, token=token) as ws:
        await subscribe(ws, OPERATOR, {"id": things.TopUp})
        await hear(ws)
        async with unit_of_work(worlds[0].group_id) as work:
            await close_session(work, token_digest=digest(token))
        await pay_and_ring(worlds[0], things)
        assert (await refusal(ws))[0] == "UNAUTHENTICATED"


async def test_a_grant_taken_away_ends_the_subscription_at_the_next_event(
    port: int, worlds: tuple[World, World]
) -> None:
    things, token = await make_things(worlds[0]), await operator_token(worlds[0])
    async with live(port, token=token) as ws:
        await subscribe(ws, OPERATOR, {"id": things.TopUp})
        await hear(ws)
        async with unit_of_work(worlds[0].group_id) as work:
            await work.execute("DELETE FROM tenancy_grant WHERE group_id = $1", work.group_id)
        await pay_and_ring(worlds[0], things)
        assert await refusal(ws) == ("NOT_FOUND", "no such top-up")


async def test_listening_does_not_keep_an_idle_session_alive(
    port: int, worlds: tuple[World, World]
) -> None:
    things, token = await make_things(worlds[0]), await operator_token(worlds[0])
    async with live(port, token=token) as ws:
        await subscribe(ws, OPERATOR, {"id": things.TopUp})
        await hear(ws)
        await pay_and_ring(worlds[0], things)
        await hear(ws)
        async with unit_of_work(worlds[0].group_id) as work:
            seen = await work.fetchval(
                "SELECT max(seen_at - created_at) FROM tenancy_session"
                " WHERE group_id = $1 AND token_digest = $2",
                work.group_id,
                digest(token),
            )
    assert seen.total_seconds() == 0


async def test_a_wrong_session_is_refused_at_the_door(
    port: int, worlds: tuple[World, World]
) -> None:
    for given in ("Bearer nonsense", f"Bearer {worlds[0].code}.x", "", 5, ["Bearer x"]):
        async with knock(port) as ws:
            payload = {"authorization": given}
            await tell(ws, {"type": "connection_init", "payload": payload})
            assert (await until_closed(ws))[0] == 4403


async def test_nothing_is_answered_before_connection_init(port: int) -> None:
    async with knock(port) as ws:
        await subscribe(ws, PAYER, {"token": "a", "id": "b"})
        assert (await until_closed(ws))[0] == 4401


async def test_the_legacy_protocol_is_not_spoken(port: int) -> None:
    async with knock(port, protocol="graphql-ws") as ws:
        assert ws.subprotocol is None
        assert (await until_closed(ws))[0] == 4406


async def test_a_page_of_another_origin_cannot_connect(port: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with knock(port, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_of_150_subscriptions_on_a_socket_only_twenty_run(
    port: int, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    async with live(port) as ws:
        asked = {"token": things.link, "id": things.TopUp}
        for number in range(150):
            await subscribe(ws, PAYER, asked, id_=str(number))
        heard = [await hear(ws, within_s=20) for _ in range(150)]
    refused = [m for m in heard if m["type"] == "error"]
    assert len(refused) == 130
    assert refused[0]["payload"][0]["message"] == "Subscription limit reached"


async def test_queries_and_mutations_do_not_travel_by_socket(
    port: int, worlds: tuple[World, World]
) -> None:
    async with live(port, token=await operator_token(worlds[0])) as ws:
        for number, document in enumerate(("{ __typename }", "mutation { logout { __typename } }")):
            await subscribe(ws, document, {}, id_=str(number))
            message = await hear(ws)
            assert message["type"] == "error"
            assert "not allowed" in message["payload"][0]["message"]


@pytest.mark.parametrize(
    "frame",
    [
        "5",
        "[]",
        "{}",
        "{",
        '{"type":5}',
        '{"type":"subscribe","id":[],"payload":{"query":"{x}"}}',
        '{"type":"subscribe","id":"1","payload":[]}',
        '{"type":"subscribe","id":"1","payload":{"query":5}}',
        '{"type":"subscribe","id":"1","payload":{"query":"{x}","variables":[]}}',
        '{"type":"complete","id":{}}',
        '{"type":"nonsense"}',
        "[" * 100_000,
        '{"type":"ping","payload":"' + "x" * 300_000 + '"}',
    ],
)
async def test_a_malformed_or_oversized_frame_ends_the_connection(
    frame: str, port: int, worlds: tuple[World, World], caplog: pytest.LogCaptureFixture
) -> None:
    async with live(port, token=await operator_token(worlds[0])) as ws:
        await ws.send(frame)
        code, _ = await until_closed(ws)
    assert code in (1009, 4400)
    assert "Traceback" not in caplog.text


async def test_the_bell_comes_back_after_its_connection_was_killed_and_nothing_is_missed(
    port: int,
    api: Api,
    worlds: tuple[World, World],
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    things, token = await make_things(worlds[0]), await operator_token(worlds[0])
    async with live(port, token=token) as ws:
        await subscribe(ws, OPERATOR, {"id": things.TopUp})
        await hear(ws)
        killed = await superuser.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'shuidian topup bell'"
        )
        assert killed >= 1
        await pay_and_ring(worlds[0], things)
        heard = await hear(ws, within_s=10)
        assert heard["payload"]["data"]["topUpChanged"]["money"] == "PAID"


async def test_a_closed_connection_leaves_nobody_waiting_at_the_bell(
    api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    async with served(api.app) as port, live(port) as ws:
        await subscribe(ws, PAYER, {"token": things.link, "id": things.TopUp})
        await hear(ws)
        assert api.bell.waiting == 1
    assert api.bell.waiting == 0
