"""The pay page's way: who opened it, what it shows, how it pays inside WeChat and outside."""

from __future__ import annotations

import asyncio
import os
import sys
from urllib.parse import urlsplit

import httpx

from .town import Town, environment

INSIDE = {"user-agent": "Mozilla/5.0 (Linux; Android 14) MicroMessenger/8.0.50"}
LINK = (
    "query($t: String!) { payLink(token: $t) { accountName place amount ways { channel method } } }"
)
START = (
    "mutation($t: String!, $m: PayMethod!, $k: String!) {"
    ' startTopUpByLink(token: $t, amount: "50.00", method: $m, idempotencyKey: $k) { __typename'
    " ... on TopUpStarted { topUp { id orderNo } page { key value } } ... on Problem { message } } }"
)


async def _ask(client: httpx.AsyncClient, query: str, **variables: str) -> dict[str, object]:
    answer = await client.post("/graphql", json={"query": query, "variables": variables})
    body = answer.json()
    assert not body.get("errors"), body
    data: dict[str, object] = body["data"]
    return data


def _as(address: str, openid: str) -> httpx.URL:
    """The stand-in's OAuth address with the test user chosen."""
    return httpx.URL(address).copy_merge_params({"as": openid})


async def test_inside_wechat_the_visitor_is_proved_by_oauth_and_pays_with_jsapi(town: Town) -> None:
    await town.bind()
    token = await town.link()
    async with httpx.AsyncClient(base_url=town.api, headers=INSIDE, timeout=15) as visitor:
        sent = await visitor.get(f"/p/{token}")
        assert sent.status_code == 302
        chosen = await visitor.get(_as(sent.headers["location"], town.shop.openid))
        assert chosen.status_code in (302, 303), chosen.text
        back = await visitor.get(chosen.headers["location"])
        assert back.status_code == 303
        page = await visitor.get(back.headers["location"])
        assert page.status_code == 200
        assert "充值" in page.text

        started = await _ask(visitor, START, t=token, m="JSAPI", k="jsapi-key-1")
        result = started["startTopUpByLink"]
        assert isinstance(result, dict)
        assert {item["key"] for item in result["page"]} >= {"paySign", "package", "timeStamp"}
        await town.pay(result["topUp"]["orderNo"], openid=town.shop.openid)
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000


async def test_outside_wechat_the_page_pays_by_h5_and_never_by_jsapi(town: Town) -> None:
    await town.bind()
    token = await town.link()
    async with httpx.AsyncClient(base_url=town.api, timeout=15) as browser:
        page = await browser.get(f"/p/{token}")
        assert page.status_code == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]
        link = (await _ask(browser, LINK, t=token))["payLink"]
        assert isinstance(link, dict)
        assert link["amount"] == "50.00"
        assert "JSAPI" not in [way["method"] for way in link["ways"]]
        refused = await _ask(browser, START, t=token, m="JSAPI", k="jsapi-key-2")
        assert "Problem" in str(refused["startTopUpByLink"])
        started = (await _ask(browser, START, t=token, m="H5", k="h5-key-0001"))["startTopUpByLink"]
        assert isinstance(started, dict)
        (url,) = [item["value"] for item in started["page"] if item["key"] == "url"]
        cashier = await browser.get(url)
        assert "50.00" in cashier.text
        assert urlsplit(url).netloc == urlsplit(town.sandbox).netloc


async def test_a_cookie_proves_nothing_to_another_group(town: Town) -> None:
    await town.bind()
    token = await town.link()
    async with httpx.AsyncClient(base_url=town.api, headers=INSIDE, timeout=15) as visitor:
        sent = await visitor.get(f"/p/{token}")
        chosen = await visitor.get(_as(sent.headers["location"], town.shop.openid))
        await visitor.get(chosen.headers["location"])
        theirs = token.replace(town.ours.code, town.theirs.code)
        answer = await visitor.post("/graphql", json={"query": LINK, "variables": {"t": theirs}})
        assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_the_same_tap_twice_is_one_order(town: Town) -> None:
    await town.bind()
    token = await town.link()
    first = await town.order(token, key="double-tap-1")
    assert await town.order(token, key="double-tap-1") == first
    assert await town.order(token, key="double-tap-2") == first, "an unpaid order is used again"
    assert await town.value("SELECT count(*) FROM topups_order") == 1


async def test_the_menu_button_leads_a_bound_tenant_to_the_pay_page_and_others_to_binding(
    town: Town,
) -> None:
    env = {**os.environ, **environment(town.settings, town.secrets)}
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backend.cli", "publish-menu", town.ours.code), env=env
    )
    assert await done.wait() == 0
    menu = await town.control(f"/wechat/control/menu?appid={town.ours.app_id}")
    button = menu["button"][0]
    assert button["name"] == "自助购电"

    async def tap() -> httpx.Response:
        async with httpx.AsyncClient(headers=INSIDE, timeout=15) as visitor:
            sent = await visitor.get(button["url"])
            chosen = await visitor.get(_as(sent.headers["location"], town.shop.openid))
            back = await visitor.get(chosen.headers["location"])
            return await visitor.get(town.api + back.headers["location"])

    assert "绑定 户号" in (await tap()).text
    await town.bind()
    landed = await tap()
    assert landed.status_code == 303
    assert "/p/" in landed.headers["location"]
    assert (
        await town.value("SELECT count(*) FROM audit_entry WHERE action = 'menu:self:publish'") == 1
    )


async def test_an_address_without_a_link_shows_the_page_and_no_error(town: Town) -> None:
    async with httpx.AsyncClient(base_url=town.api, headers=INSIDE, timeout=15) as visitor:
        for path in ("/p/", "/p/nobody.nothing", f"/p/{town.ours.code}.nothing"):
            page = await visitor.get(path)
            assert page.status_code == 200, path
            assert "pay.js" in page.text
