"""Forwarded links may pay, not look (channels.md 6.7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.control.operations import mark_sending, note_error
from backend.control.queries import next_vend
from backend.control.rules import Wallet
from backend.control.state_rules import MARKS, MeterState
from backend.journeys.visitor import COOKIE, seal_visitor
from backend.kernel.db import unit_of_work
from backend.kernel.money import ZERO, Money
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.queries import order_by_id
from schema.scalars import ref, uuid_of

from ..world import BOX, World, bind_customer, make_credential, make_meter, make_order, new_id, pay
from .edge import Api, Body, operator_token
from .things import WRONG_TYPE, Things, make_things, nothing, order_of_another_account
from .till import Till, open_till

OPERATIONS = Path(__file__).parents[3] / "schema" / "operations"
PAY_LINK = (OPERATIONS / "payLink.graphql").read_text(encoding="utf-8")
START = (OPERATIONS / "startTopUpByLink.graphql").read_text(encoding="utf-8")
TOP_UP = (OPERATIONS / "topUpByLink.graphql").read_text(encoding="utf-8")


@pytest.fixture
async def till(
    worlds: tuple[World, World], database: EmbeddedServices
) -> AsyncIterator[tuple[Till, Things]]:
    """The edge of a project that takes payments at the stand-in."""
    async with open_till(worlds[0], dsn=database.app_dsn()) as opened:
        things = await make_things(worlds[0])
        worlds[0].clock.advance(timedelta(seconds=1))
        await opened.set_up(things.Project, await operator_token(worlds[0]))
        yield opened, things


async def start(
    api: Api, token: str, *, cookie: str | None = None, **changes: str
) -> dict[str, Any]:
    """The pay page's own mutation."""
    variables = {"token": token, "amount": "50.00", "channel": "WECHAT_PAY", "method": "NATIVE"}
    variables |= changes
    variables.setdefault("idempotencyKey", "key-00000001")
    headers = {} if cookie is None else {"cookie": f"{COOKIE}={cookie}"}
    body: Body = (await api.post(START, variables, headers=headers)).json()
    assert "errors" not in body, body
    answer: dict[str, Any] = body["data"]["startTopUpByLink"]
    return answer


async def test_a_link_shows_what_it_pays_for_masked_and_no_balance(
    api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    data = await api.data(PAY_LINK, {"token": things.link})
    shown = dict(data["payLink"])
    meters = shown.pop("meters")
    assert meters[0] == {"id": things.Meter, "name": "0001", "kind": "ELECTRICITY", "state": None}
    assert all(len(meter["name"]) <= 4 for meter in meters), "a serial is not told whole"
    for field, hidden in (("accountName", "Shop 100001"), ("place", "Building 1")):
        masked = shown.pop(field)
        assert "*" in masked
        assert masked[0] == hidden[0]
        assert masked != hidden
    assert shown == {
        "amount": "50.00",
        "chips": ["20.00", "50.00", "100.00", "200.00"],
        "min": "1.00",
        "max": "5000.00",
        "ways": [{"channel": "WECHAT_PAY", "method": "H5"}],
    }


async def test_only_the_customer_himself_sees_his_meters_state_and_only_while_he_is_bound(
    api: Api, worlds: tuple[World, World]
) -> None:
    world = worlds[0]
    things = await make_things(world)
    await bind_customer(world, external_id="o-li")

    async def seen(openid: str, group_id: int = world.group_id) -> object:
        sealed = seal_visitor(BOX, group_id=group_id, openid=openid)
        asked = {"cookie": f"{COOKIE}={sealed}"}
        body = (await api.post(PAY_LINK, {"token": things.link}, headers=asked)).json()
        return body["data"]["payLink"]["meters"][0]["state"]

    async with unit_of_work(world.group_id) as work:
        made_for = await work.fetchval("SELECT customer_id FROM topups_link")
        him = await work.fetchval(
            "SELECT external_id FROM accounts_customer WHERE id = $1", made_for
        )
    assert await seen(him) is None, "he has no binding yet"
    await bind_customer(world, external_id=him)
    assert await seen(him) == MARKS[MeterState.OPENED]._asdict()
    assert await seen("o-li") is None, "bound as well, but it was not made for him"
    assert await seen(him, worlds[1].group_id) is None, "somebody of another group"
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE accounts_binding SET ended_at = bound_at")
    assert await seen(him) is None


async def test_a_payer_chooses_among_the_meters_of_the_link_and_no_other(
    till: tuple[Till, Things], worlds: tuple[World, World]
) -> None:
    opened, things = till
    foreign = await make_things(worlds[1])
    second, served = await make_meter(
        worlds[0], serial="SECOND-0042", bus_address=77, account=worlds[0].account
    )
    shown = (await opened.api.data(PAY_LINK, {"token": things.link}))["payLink"]["meters"]
    chosen = next(meter["id"] for meter in shown if meter["name"] == "0042")
    assert chosen == ref("Meter", second.id)
    assert things.FreeMeter not in [meter["id"] for meter in shown]
    started = await start(
        opened.api, things.link, meter=chosen, amount="31.00", idempotencyKey="the-second"
    )
    async with unit_of_work(worlds[0].group_id) as work:
        order = await order_by_id(work, order_id=uuid_of(started["topUp"]["id"], "TopUp"))
    assert order is not None
    assert order.assignment_id == served.id
    answers = {
        str(await start(opened.api, things.link, meter=id_, idempotencyKey=f"key-other-{n}"))
        for n, id_ in enumerate((foreign.Meter, things.FreeMeter, ref("Meter", new_id())))
    }
    assert len(answers) == 1
    assert "no such meter" in answers.pop()


async def test_a_wrong_foreign_or_old_link_gets_one_and_the_same_answer(
    api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    random = things.link.partition(".")[2]
    tokens = ["", "x", f"{worlds[0].code}.", f"{worlds[1].code}.{random}", f"none.{random}", random]
    worlds[0].clock.advance(timedelta(days=7, seconds=1))
    answers = {
        str(await api.ask(document, {"token": token, "id": things.TopUp}))
        for token in [*tokens, things.link]
        for document in ("query($token: String!) { answer: payLink(token: $token) { place } }",)
    }
    assert len(answers) == 1
    assert "NOT_FOUND" in answers.pop()
    started = {str(await start(api, token)) for token in [*tokens, things.link]}
    assert len(started) == 1
    assert "not valid" in started.pop()


async def test_a_link_follows_top_ups_of_its_own_account_only(
    api: Api, worlds: tuple[World, World]
) -> None:
    mine, foreign = await make_things(worlds[0]), await make_things(worlds[1])
    ids = [
        foreign.TopUp,
        await order_of_another_account(worlds[0]),
        nothing().TopUp,
        WRONG_TYPE,
        "%%",
    ]
    answers = {str(await api.ask(TOP_UP, {"token": mine.link, "id": id_})) for id_ in ids}
    assert len(answers) == 1
    assert "NOT_FOUND" in answers.pop()
    own = await api.data(TOP_UP, {"token": mine.link, "id": mine.TopUp})
    assert own["topUpByLink"]["money"] == "WAITING"
    by_foreign_link = await api.ask(TOP_UP, {"token": foreign.link, "id": mine.TopUp})
    assert by_foreign_link["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_a_link_never_tells_what_the_meter_holds(
    api: Api, worlds: tuple[World, World]
) -> None:
    world, things = worlds[0], await make_things(worlds[0])
    order = await make_order(world, credential_id=await make_credential(world))
    await pay(world, order)
    async with unit_of_work(world.group_id) as work:
        vend = await next_vend(work, meter_id=world.meter.id)
        assert vend is not None
        before, at = Wallet(0, ZERO + Money.of_fen(777)), world.clock.now()
        await mark_sending(work, vend_id=vend.id, before=before, at=at)
        await note_error(work, vend_id=vend.id, error="the meter holds 7.77 yuan")
    data = await api.data(TOP_UP, {"token": things.link, "id": ref("TopUp", order.id)})
    shown = data["topUpByLink"]
    assert (shown["money"], shown["meterCredit"]) == ("PAID", "SENDING")
    assert shown["waitingFor"] == "the meter has not answered yet"
    assert "7.77" not in str(data)


async def test_a_payment_is_started_at_the_channel_and_a_repeat_answers_the_same_order(
    till: tuple[Till, Things],
) -> None:
    edge, things = till
    first = await start(edge.api, things.link)
    assert first["__typename"] == "TopUpStarted", first
    assert first["topUp"] | {"id": ""} == {
        "id": "",
        "amount": "50.00",
        "money": "WAITING",
        "meterCredit": "WAITING",
        "power": "UNKNOWN",
    }
    assert [pair["key"] for pair in first["page"]] == ["url"]
    assert await start(edge.api, things.link) == first
    other = await start(edge.api, things.link, amount="20.00", idempotencyKey="key-00000002")
    assert other["topUp"]["id"] != first["topUp"]["id"]


async def test_paying_inside_wechat_takes_the_payer_from_the_sealed_cookie_only(
    till: tuple[Till, Things], worlds: tuple[World, World]
) -> None:
    edge, things = till
    refused = await start(edge.api, things.link, method="JSAPI")
    assert refused["__typename"] == "InvalidInputProblem"
    foreign = seal_visitor(BOX, group_id=worlds[1].group_id, openid="o-zhang")
    for cookie in ("o-zhang", foreign):
        answer = await start(edge.api, things.link, method="JSAPI", cookie=cookie)
        assert answer["__typename"] == "InvalidInputProblem"
    mine = seal_visitor(BOX, group_id=worlds[0].group_id, openid="o-zhang")
    started = await start(edge.api, things.link, method="JSAPI", cookie=mine)
    assert started["__typename"] == "TopUpStarted", started
    assert {"appId", "paySign"} <= {pair["key"] for pair in started["page"]}
    for cookie, offered in ((mine, ["JSAPI"]), (foreign, [])):
        headers = {"cookie": f"{COOKIE}={cookie}", "user-agent": "MicroMessenger/8.0"}
        link = await edge.api.post(PAY_LINK, {"token": things.link}, headers=headers)
        assert [way["method"] for way in link.json()["data"]["payLink"]["ways"]] == offered


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": "0.99"},
        {"amount": "5000.01"},
        {"amount": "50.001"},
        {"amount": "-50.00"},
        {"idempotencyKey": "short"},
        {"idempotencyKey": "x" * 300},
    ],
)
async def test_an_amount_or_key_out_of_bounds_is_a_typed_problem_and_makes_no_order(
    changed: dict[str, str], till: tuple[Till, Things], worlds: tuple[World, World]
) -> None:
    edge, things = till

    async def orders() -> object:
        async with unit_of_work(worlds[0].group_id) as work:
            return await work.fetchval(
                "SELECT count(*) FROM topups_order WHERE group_id = $1", work.group_id
            )

    before = await orders()
    answer = await start(edge.api, things.link, **changed)
    assert answer["__typename"] == "InvalidInputProblem", answer
    assert await orders() == before


@pytest.mark.parametrize("amount", ["50,00", "5e1", " 50", "+50", "", "50.00001"])
async def test_money_is_a_plain_decimal_string(
    amount: str, api: Api, worlds: tuple[World, World]
) -> None:
    body = await api.ask(
        START,
        {"token": "a.b", "amount": amount, "method": "NATIVE", "idempotencyKey": "key-00000001"},
    )
    assert "decimal string of yuan" in body["errors"][0]["message"]


@pytest.mark.parametrize("amount", [50, 50.0, True])
async def test_money_is_never_a_number(amount: object, api: Api) -> None:
    body = await api.ask(
        START,
        {"token": "a.b", "amount": amount, "method": "NATIVE", "idempotencyKey": "key-00000001"},
    )
    assert "decimal string of yuan" in body["errors"][0]["message"]


async def test_a_channel_that_does_not_answer_is_a_typed_problem(
    api: Api, worlds: tuple[World, World]
) -> None:
    things = await make_things(worlds[0])
    answer = await start(api, things.link)
    assert answer["__typename"] == "UnavailableProblem"
