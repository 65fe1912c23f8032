"""Paying by UnionPay and ChinaPay: from the account set in the console to the meter's own wallet."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates

from backend.kernel.clock import SystemClock
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from backend.sandbox.unionpay_keys import issue
from tests.contracts.bank_tills import form_on

from .town import Town

DESKTOP = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0"}
PHONE = {"user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Mobile/15E148 Safari/604.1"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LOGIN = "mutation($l: String!, $p: String!) { login(login: $l, password: $p) { ... on SignedIn { token } } }"
PROJECTS = "{ projects { id } }"
UNIONPAY = (
    "mutation($project: ID!, $mer: String!, $pfx: String!, $pw: String!, $root: String!, $mid: String!) {"
    " answer: setUnionpay(project: $project, merId: $mer, pfx: $pfx, password: $pw,"
    " rootCertificate: $root, middleCertificate: $mid) { __typename ... on Problem { message } } }"
)
CHINAPAY = (
    "mutation($project: ID!, $mer: String!, $key: String!, $public: String!) {"
    " answer: setChinapay(project: $project, merId: $mer, privateKey: $key, publicKey: $public) {"
    " __typename ... on Problem { message } } }"
)
LINK = "query($t: String!) { payLink(token: $t) { ways { channel method } } }"
START = (
    "mutation($t: String!, $c: Channel!, $m: PayMethod!) {"
    ' startTopUpByLink(token: $t, amount: "50.00", channel: $c, method: $m,'
    ' idempotencyKey: "bank-flow-1") { __typename'
    " ... on TopUpStarted { topUp { orderNo } page { key value } } ... on Problem { message } } }"
)


async def set_up(town: Town, channel: str) -> None:
    """The administrator types the project's account at `channel` into the console."""
    login = f"admin@{town.ours.code}"
    signed = await town.graphql(LOGIN, l=login, p=town.secrets.passwords[login])
    token = str(signed["login"]["token"])
    (project,) = [one["id"] for one in (await town.graphql(PROJECTS, token))["projects"]]
    if channel == "UNIONPAY":
        mer_id, merchant = "777290058110048", issue(name="merchant", at=SystemClock().now())
        told = await town.control(
            "/unionpay/control/merchants", {"mer_id": mer_id, "certificate": merchant.pem}
        )
        pfx = serialize_key_and_certificates(
            b"merchant",
            merchant.key,
            merchant.certificate,
            None,
            BestAvailableEncryption(b"000000"),
        )
        given = {"pfx": base64.b64encode(pfx).decode(), "pw": "000000"}
        done = await town.graphql(
            UNIONPAY,
            token,
            project=project,
            mer=mer_id,
            root=told["root"],
            mid=told["middle"],
            **given,
        )
    else:
        mer_id, pem = "000001609120969", new_private_pem()
        told = await town.control(
            "/chinapay/control/merchants", {"mer_id": mer_id, "public_key": public_pem_of(pem)}
        )
        done = await town.graphql(
            CHINAPAY, token, project=project, mer=mer_id, key=pem, public=told["public_key"]
        )
    assert not done["answer"]["__typename"].endswith("Problem"), done


async def ask(client: httpx.AsyncClient, query: str, **variables: str) -> Any:
    """One answer of the pay page's own API."""
    answer = await client.post("/graphql", json={"query": query, "variables": variables})
    body = answer.json()
    assert not body.get("errors"), body
    return body["data"]


async def order_by(
    browser: httpx.AsyncClient, token: str, channel: str, method: str
) -> tuple[str, httpx.Response]:
    """An order as the page makes it and posts it: (number, the channel's cashier page)."""
    started = (await ask(browser, START, t=token, c=channel, m=method))["startTopUpByLink"]
    assert started["__typename"] == "TopUpStarted", started
    form = {item["key"]: item["value"] for item in started["page"]}
    return started["topUp"]["orderNo"], await browser.post(form.pop("action"), data=form)


@pytest.mark.parametrize(
    ("channel", "browser_of", "method"),
    [("UNIONPAY", DESKTOP, "PAGE"), ("CHINAPAY", PHONE, "WAP")],
)
async def test_who_pays_at_the_bank_ends_with_the_meter_credited_and_is_sent_back(
    town: Town, channel: str, browser_of: dict[str, str], method: str
) -> None:
    await set_up(town, channel)
    await town.bind()
    token = await town.link()
    async with httpx.AsyncClient(base_url=town.api, headers=browser_of, timeout=15) as browser:
        ways = (await ask(browser, LINK, t=token))["payLink"]["ways"]
        assert {"channel": channel, "method": method} in ways
        number, cashier = await order_by(browser, token, channel, method)
        assert "50.00" in cashier.text
        action, fields = form_on(cashier)
        paid = await browser.post(action, data=fields)
        assert "支付成功" in paid.text
        action, fields = form_on(paid)
        assert action == f"{town.api}/p/{token}?back=1"
        back = await browser.post(action, data=fields)
        assert (back.status_code, back.headers["location"]) == (303, f"/p/{token}?back=1")
        assert (await browser.get(back.headers["location"])).status_code == 200
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000
    kept = await town.value("SELECT channel FROM topups_order WHERE order_no = $1", number)
    assert kept == channel


async def test_notices_that_come_twice_forged_or_signed_by_anybody_credit_once(town: Town) -> None:
    await set_up(town, "UNIONPAY")
    await town.bind()
    async with httpx.AsyncClient(base_url=town.api, headers=DESKTOP, timeout=15) as browser:
        number, _ = await order_by(browser, await town.link(), "UNIONPAY", "PAGE")
        credential = await town.value("SELECT id FROM tenancy_credential WHERE kind = 'UNIONPAY'")
        path = f"/callbacks/unionpay/{await town.group_id()}/{credential}"

        async def notice(*faults: str) -> str:
            await town.control("/unionpay/control/faults", dict.fromkeys(faults, 1))
            told = await town.control("/unionpay/control/notice", {"order_no": number})
            return str(told["body"])

        async def post(body: str, where: str = path) -> int:
            return (await browser.post(where, content=body, headers=FORM)).status_code

        true = await notice()
        cheap = urlencode(dict(parse_qsl(true)) | {"txnAmt": "1"})
        assert await post(cheap) == 401
        assert await post(await notice("own_cert_notice")) == 401
        assert await post(await notice("stale_notice")) == 401
        wechat = await town.value("SELECT id FROM tenancy_credential WHERE kind = 'WECHAT_PAY'")
        assert await post(true, path.replace(str(credential), str(wechat))) == 404
        assert await town.value("SELECT count(*) FROM outbox_inbox WHERE channel = 'UNIONPAY'") == 0
        await town.control("/unionpay/control/faults", {"duplicate_notice": 2})
        paid = await town.control("/unionpay/control/pay", {"order_no": number})
        assert paid["notices"] == [200, 200, 200]
        await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000
    assert await town.value("SELECT count(*) FROM topups_order WHERE state = 'PAID'") == 1
