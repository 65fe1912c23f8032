"""Paying by Alipay, from the pay page to the meter's own wallet, and what must not credit twice."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx

from backend.bootstrap import build_ports
from backend.journeys.visitor import ALIPAY_COOKIE, seal_visitor
from backend.kernel.clock import SystemClock
from workers.models import meter_models

from .town import Town, until

PHONE = {"user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Mobile/15E148 Safari/604.1"}
INSIDE = {"user-agent": "Mozilla/5.0 (Linux; Android 14) Mobile AlipayClient/10.6"}
LINK = "query($t: String!) { payLink(token: $t) { ways { channel method } } }"
START = (
    "mutation($t: String!, $c: Channel!, $m: PayMethod!) {"
    ' startTopUpByLink(token: $t, amount: "50.00", channel: $c, method: $m,'
    ' idempotencyKey: "alipay-flow-1") { __typename'
    " ... on TopUpStarted { topUp { orderNo channel } page { key value } }"
    " ... on Problem { message } } }"
)


async def ask(client: httpx.AsyncClient, query: str, **variables: str) -> Any:
    """One answer of the pay page's own API."""
    answer = await client.post("/graphql", json={"query": query, "variables": variables})
    body = answer.json()
    assert not body.get("errors"), body
    return body["data"]


async def order_by(town: Town, browser: httpx.AsyncClient, token: str) -> tuple[str, str]:
    """An Alipay order as the page makes it, its cashier opened: (number, address of the cashier)."""
    started = (await ask(browser, START, t=token, c="ALIPAY", m="WAP"))["startTopUpByLink"]
    assert started["__typename"] == "TopUpStarted", started
    assert started["topUp"]["channel"] == "ALIPAY"
    (url,) = [item["value"] for item in started["page"] if item["key"] == "url"]
    opened = await browser.get(url)
    assert opened.status_code == 302, opened.text
    return started["topUp"]["orderNo"], opened.headers["location"]


async def test_who_pays_by_alipay_on_a_phone_ends_with_the_meter_credited_and_is_sent_back(
    town: Town,
) -> None:
    await town.bind()
    token = await town.link()
    async with httpx.AsyncClient(base_url=town.api, headers=PHONE, timeout=15) as browser:
        ways = (await ask(browser, LINK, t=token))["payLink"]["ways"]
        assert [way["channel"] for way in ways] == ["ALIPAY", "WECHAT_PAY"]
        number, cashier = await order_by(town, browser, token)
        assert "50.00" in (await browser.get(cashier)).text
        back = await browser.post(f"{cashier}/pay")
        assert back.headers["location"].startswith(f"{town.api}/p/{token}?back=1&")
        assert (await browser.get(back.headers["location"])).status_code == 200
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000
    assert await town.value("SELECT channel FROM topups_order WHERE order_no = $1", number) == (
        "ALIPAY"
    )


async def test_inside_alipay_the_visitor_is_told_by_oauth_only_to_the_browser_that_was_sent(
    town: Town,
) -> None:
    await town.bind()
    token = await town.link()
    page = f"/p/{token}"
    only_wap = [{"channel": "ALIPAY", "method": "WAP"}]

    async def ways(client: httpx.AsyncClient) -> Any:
        return (await ask(client, LINK, t=token))["payLink"]["ways"]

    async def back_from_oauth(client: httpx.AsyncClient, user: str) -> str:
        sent = await client.get(page)
        assert sent.status_code == 302
        to = httpx.URL(sent.headers["location"]).copy_merge_params({"as": user})
        location: str = (await client.get(to)).headers["location"]
        assert location.startswith(f"{town.api}{page}/alipay?")
        return location

    def inside() -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=town.api, headers=INSIDE, timeout=15)

    async with inside() as visitor, inside() as thief:
        # The way back of somebody else: with no state, and with one that was given to another browser.
        stolen = await back_from_oauth(thief, "2088000000000666")
        for state in ("", "state=", "state=0", f"state={'0' * 32}"):
            failed = await visitor.get(f"{page}/alipay?auth_code=00000000&{state}")
            assert failed.headers["location"] == f"{page}?login=failed"
        await visitor.get(page)
        assert (await visitor.get(stolen)).headers["location"] == f"{page}?login=failed"
        assert (await visitor.get(f"{page}?login=failed")).status_code == 200, "no second round"
        assert await ways(visitor) == only_wap
        refused = await ask(visitor, START, t=token, c="ALIPAY", m="JSAPI")
        assert "Problem" in str(refused["startTopUpByLink"])

        own = await back_from_oauth(visitor, "2088000000000007")
        assert (await visitor.get(own)).headers["location"] == page
        assert (await visitor.get(page)).status_code == 200
        assert await ways(visitor) == [{"channel": "ALIPAY", "method": "JSAPI"}]
        # Code and state are used up; whom we know already stays known.
        again = await visitor.get(own)
        assert again.headers["location"] == f"{page}?login=failed"
        started = (await ask(visitor, START, t=token, c="ALIPAY", m="JSAPI"))["startTopUpByLink"]
        assert [item["key"] for item in started["page"]] == ["tradeNO"]
        # What is sealed for another app of the group is nobody here: an open id is the app's own.
        ports = build_ports(town.settings, clock=SystemClock(), meter_models=meter_models())
        box, group = ports.box, await town.group_id()
        for app_id in ("2021000000000999", ""):
            sealed = seal_visitor(box, group_id=group, openid="2088000000000007", app_id=app_id)
            cookie = {"cookie": f"{ALIPAY_COOKIE}={sealed}"}
            async with httpx.AsyncClient(base_url=town.api, headers=INSIDE | cookie) as other:
                assert await ways(other) == only_wap


async def test_notices_that_come_twice_forged_late_or_of_a_refund_credit_once(town: Town) -> None:
    await town.bind()
    async with httpx.AsyncClient(base_url=town.api, headers=PHONE, timeout=15) as browser:
        number, _ = await order_by(town, browser, await town.link())
        credential = await town.value("SELECT id FROM tenancy_credential WHERE kind = 'ALIPAY'")
        path = f"/callbacks/alipay/{await town.group_id()}/{credential}"

        async def notice(**more: int) -> str:
            told = await town.control("/alipay/control/notice", {"out_trade_no": number} | more)
            return str(told["body"])

        async def post(body: str, where: str = path) -> tuple[int, str]:
            form = {"content-type": "application/x-www-form-urlencoded"}
            answer = await browser.post(where, content=body, headers=form)
            return answer.status_code, answer.text

        true = await notice()
        forged = urlencode(dict(parse_qsl(true)) | {"total_amount": "0.01"})
        assert (await post(forged))[0] == 401
        wechat = await town.value("SELECT id FROM tenancy_credential WHERE kind = 'WECHAT_PAY'")
        assert (await post(true, path.replace(str(credential), str(wechat))))[0] == 404
        kept = "SELECT count(*) FROM outbox_inbox WHERE channel = 'ALIPAY'"
        assert await town.value(kept) == 0
        await town.control("/alipay/control/faults", {"duplicate_notice": 2})
        paid = await town.control("/alipay/control/pay", {"out_trade_no": number})
        assert paid["notices"] == [200, 200, 200]
        assert await post(await notice()) == (200, "success")
        await town.vend_state("VERIFIED")
        assert await post(await notice(refund_fen=1200)) == (200, "success")
    assert await town.sold_fen() == await town.in_book_fen() == 5000
    assert await town.value(kept) == 1, "the same word four times, and a refund that is no payment"
    assert await town.value("SELECT count(*) FROM topups_order WHERE state = 'PAID'") == 1


async def test_a_lost_notice_is_made_good_by_asking(town: Town) -> None:
    await town.bind()
    async with httpx.AsyncClient(base_url=town.api, headers=PHONE, timeout=15) as browser:
        number, _ = await order_by(town, browser, await town.link())
    await town.control("/alipay/control/faults", {"lost_notice": 1})
    await town.control("/alipay/control/pay", {"out_trade_no": number})

    async def paid() -> bool | None:
        state = await town.value("SELECT state FROM topups_order WHERE order_no = $1", number)
        return True if state == "PAID" else None

    await until(paid, "the payment by query")
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == 5000
