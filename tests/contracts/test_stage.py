"""The stage over HTTP with the real stand-ins and a real virtual site: what it shows and what it turns."""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from backend.alerts.ports import Outgoing
from backend.integrations.aliyun_sms import AliyunSms, AliyunSmsConfig, SmsTemplate
from backend.kernel.clock import SetClock
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.sandbox.stage import METER_FAULTS, NOTICE_FAULTS, stage_app
from backend.sandbox.stage_view import Tenant
from workers.drivers.modbus import ModbusDriver
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of
from workers.virtual.control import control_app
from workers.virtual.site import VirtualSite, parse_site

from .conftest import CLOCK, Till, an_order
from .serving import control, serving
from .test_wechat_callbacks import AES_KEY, APPID, TOKEN, Bot

ZHANG = Tenant("阳光物业", APPID, "o-zhang", "13800138001", "10010023", "张先生")
LI = Tenant("阳光物业", APPID, "o-li", "13900139002", "10010024", "李女士")
METER = {"serial": "230000000001", "unit": 1, "remaining": "20.00", "purchase_count": 4}
PLAN = {"gateways": [{"serial": "GW-1", "meters": [METER]}]}


@dataclass(frozen=True)
class Stage:
    """The stage as a browser reaches it, and the site behind it."""

    url: str
    site: VirtualSite
    bot: Bot

    def now(self, tenant: int = 0) -> Any:
        """All that the page shows."""
        answer = httpx.get(f"{self.url}/api/now", params={"tenant": tenant}, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """What the page sends."""
        return httpx.post(f"{self.url}/api/{path}", json=body, headers=headers, trust_env=False)

    def do(self, path: str, body: dict[str, Any]) -> Any:
        """The same, and it is taken."""
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def meter(self) -> Any:
        """The one meter as the wall shows it."""
        return self.now()["sites"][0]["meters"][0]


@pytest.fixture
def field(tmp_path: Path) -> Iterator[tuple[VirtualSite, str]]:
    """A virtual site that stands still in time, and its control page."""
    clock = SetClock(datetime(2026, 11, 22, 2, 0, tzinfo=UTC))
    site = VirtualSite(parse_site(PLAN), data_dir=tmp_path, clock=clock)

    @asynccontextmanager
    async def living(app: Starlette) -> AsyncIterator[None]:
        async with site:
            yield

    app = Starlette(routes=[Mount("/", control_app(site))], lifespan=living)
    with serving(app) as url:
        # The first answer comes when the site lives.
        assert httpx.get(f"{url}/meters", trust_env=False).status_code == 200
        yield site, url


@pytest.fixture
def stage(sandbox: str, field: tuple[VirtualSite, str]) -> Iterator[Stage]:
    """The stage with two tenants of one account, mounted as the demo mounts it."""
    site, site_url = field
    bot = Bot()
    inner = stage_app(
        sandbox_url=sandbox, site_control_urls=[site_url], tenants=[ZHANG, LI], clock=CLOCK
    )

    @asynccontextmanager
    async def living(app: Starlette) -> AsyncIterator[None]:
        async with inner.router.lifespan_context(inner):
            yield

    app = Starlette(routes=[Mount("/stage", inner)], lifespan=living)
    with serving(bot.app) as bot_url, serving(app) as url:
        account = {"appid": APPID, "secret": "s", "token": TOKEN, "aes_key": AES_KEY}
        control(f"{sandbox}/wechat/control/apps", {**account, "callback_url": f"{bot_url}/wx"})
        yield Stage(f"{url}/stage", site, bot)


def test_a_newcomer_finds_the_page_and_is_told_that_it_is_a_simulation(stage: Stage) -> None:
    page = httpx.get(stage.url, follow_redirects=True, trust_env=False)
    assert page.status_code == 200
    assert "模拟" in page.text
    assert "simulated" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    for name, kind in (("stage.js", "javascript"), ("stage.css", "text/css")):
        part = httpx.get(f"{stage.url}/{name}", trust_env=False)
        assert part.status_code == 200
        assert kind in part.headers["content-type"]
    tenants = httpx.get(f"{stage.url}/api/tenants", trust_env=False).json()["tenants"]
    assert [tenant["label"] for tenant in tenants] == ["张先生", "李女士"]


def test_what_a_tenant_writes_reaches_the_bot_and_both_stand_in_the_chat_in_order(
    stage: Stage,
) -> None:
    stage.do("say", {"tenant": 0, "event": "subscribe"})
    stage.do("say", {"tenant": 0, "text": "余额"})
    stage.do("say", {"tenant": 0, "text": "用电"})
    assert [message.type for message in stage.bot.understood] == ["event", "text", "text"]
    assert stage.bot.understood[1].source == ZHANG.openid
    told = [(line["from"], line["text"]) for line in stage.now()["chat"]]
    assert told[1:] == [
        ("me", "余额"),
        ("account", "听到：余额"),
        ("me", "用电"),
        ("account", "听到：用电"),
    ]
    assert stage.now(tenant=1)["chat"] == [], "the neighbour reads along"


def test_messages_pushed_to_the_tenant_stand_in_the_chat(stage: Stage, sandbox: str) -> None:
    stage.do("say", {"tenant": 0, "text": "帮助"})
    wanted = {"appid": APPID, "secret": "s", "grant_type": "client_credential"}
    token = control(f"{sandbox}/wechat/cgi-bin/stable_token", wanted)["access_token"]
    send = f"{sandbox}/wechat/cgi-bin/message"
    control(
        f"{send}/custom/send?access_token={token}",
        {"touser": ZHANG.openid, "msgtype": "text", "text": {"content": "已到表"}},
    )
    template = {
        "template_id": "T1",
        "url": "https://x.example/p/1",
        "data": {"amount1": {"value": "50.00"}},
    }
    control(f"{send}/template/send?access_token={token}", {"touser": ZHANG.openid, **template})
    custom, card = stage.now()["chat"][-2:]
    assert (custom["kind"], custom["text"]) == ("custom", "已到表")
    assert (card["kind"], card["rows"], card["url"]) == (
        "template", [["amount1", "50.00"]], "https://x.example/p/1",
    )  # fmt: skip


async def test_the_binding_code_is_in_the_inbox_of_the_tenants_own_phone_only(
    stage: Stage, sandbox: str
) -> None:
    config = AliyunSmsConfig(
        access_key_id="LTAI-" + secrets.token_hex(4),
        access_key_secret=secrets.token_hex(16),
        sign_name="水电服务",
        templates={"bind_code": SmsTemplate("SMS_1", ("code",), once=True)},
        base_url=f"{sandbox}/sms",
        allow_http=True,
    )
    key = {"access_key_id": config.access_key_id, "access_key_secret": config.access_key_secret}
    control(f"{sandbox}/sms/control/accounts", key)
    control(f"{sandbox}/sms/control/templates", {"code": "SMS_1", "text": "验证码${code}"})
    await AliyunSms(config).send(Outgoing(ZHANG.phone, "bind_code", "", {"code": "482913"}, "k1"))
    assert [message["text"] for message in stage.now()["sms"]] == ["验证码482913"]
    assert stage.now(tenant=1)["sms"] == []


async def test_paying_as_the_tenant_marks_the_order_paid_and_tells_the_shop(
    stage: Stage, till: Till
) -> None:
    request = an_order(fen=5000)
    await till.channel.prepay(request)
    [shown] = stage.now()["orders"]
    assert (shown["amount"], shown["state"], shown["paid"]) == ("50.00", "NOTPAY", False)
    named = {"mchid": shown["mchid"], "out_trade_no": shown["out_trade_no"]}
    assert stage.do("pay", {"tenant": 1, **named}) == {"notices": [204]}
    assert till.shop.wait_for(1)
    [paid] = stage.now()["orders"]
    assert (paid["state"], paid["paid"]) == ("SUCCESS", True)
    assert (await till.channel.query(request.order_no)).payer_id == LI.openid
    assert stage.post("pay", {"tenant": 1, **named}).status_code == 400


async def test_a_notice_fault_turned_on_the_stage_spoils_the_next_notice_only(
    stage: Stage, till: Till
) -> None:
    assert stage.now()["notices"] == dict.fromkeys(NOTICE_FAULTS, 0)
    assert stage.do("notices", {"lost_notice": 1})["lost_notice"] == 1
    for _ in range(2):
        await till.channel.prepay(an_order())
    told = [
        stage.do(
            "pay", {"tenant": 0, "mchid": order["mchid"], "out_trade_no": order["out_trade_no"]}
        )
        for order in stage.now()["orders"]
    ]
    assert told == [{"notices": []}, {"notices": [204]}]
    assert stage.now()["notices"]["lost_notice"] == 0


async def test_the_wall_shows_a_sale_as_soon_as_the_meter_has_taken_it(stage: Stage) -> None:
    before = stage.meter()
    assert (before["remaining"], before["purchase_count"], before["relay"]) == (
        "20.00", 4, "CLOSED",
    )  # fmt: skip
    link = TcpLink("127.0.0.1", stage.site.gateways["GW-1"].port)
    meter = ModbusDriver(profile_of("DDSY1352-NK"), 1, link.exchange)
    await meter.credit(amount=Money.parse("50.00"), purchase_count=5)
    await link.close()
    after = stage.meter()
    assert (after["remaining"], after["purchase_count"]) == ("70.00", 5)
    assert after["sales"][0]["amount"] == "50.00"


def test_the_stage_turns_the_faults_of_a_meter_and_shows_them(stage: Stage) -> None:
    path = "sites/0/meters/230000000001"
    assert stage.do(path, {"silent": True})["silent"] is True
    assert stage.do(path, {"drop_write_answers": 1})["drop_write_answers"] == 1
    assert {name: bool(stage.meter()["faults"][name]) for name in METER_FAULTS} == dict.fromkeys(
        METER_FAULTS, True
    )
    assert stage.do(path, {"silent": False})["silent"] is False


def test_a_gateway_taken_off_the_network_closes_its_port_and_comes_back_on_it(
    stage: Stage,
) -> None:
    port = stage.site.gateways["GW-1"].port
    stage.do("sites/0/gateways/GW-1", {"offline": True})
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    assert stage.now()["sites"][0]["gateways"][0]["faults"]["offline"] is True
    stage.do("sites/0/gateways/GW-1", {"offline": False})
    socket.create_connection(("127.0.0.1", port), timeout=2).close()


def test_the_stage_turns_nothing_that_it_does_not_show(stage: Stage) -> None:
    refused = [
        stage.post("sites/0/meters/230000000001", {"corrupt_answers": 1}),
        stage.post("sites/0/meters/999", {"silent": True}),
        stage.post("sites/1/meters/230000000001", {"silent": True}),
        stage.post("sites/0/wallets/230000000001", {"silent": True}),
        stage.post("notices", {"http_500": 1}),
        stage.post("say", {"tenant": 2, "text": "余额"}),
        stage.post("say", {"tenant": 0}),
        stage.post("pay", {"tenant": 0, "mchid": "1", "out_trade_no": "none"}),
    ]
    assert [answer.status_code for answer in refused] == [400] * len(refused)


def test_a_site_that_is_down_leaves_the_rest_of_the_page(sandbox: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    inner = stage_app(sandbox_url=sandbox, site_control_urls=[dead], tenants=[ZHANG], clock=CLOCK)
    with serving(inner) as url:
        now = httpx.get(f"{url}/api/now", trust_env=False).json()
    assert now["sites"] == [{"gateways": None, "meters": None}]
    assert now["sms"] == []
    assert now["orders"] == []


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_a_foreign_web_site_in_the_visitors_browser_cannot_speak_for_a_tenant(
    stage: Stage, headers: dict[str, str]
) -> None:
    answer = stage.post("say", {"tenant": 0, "text": "余额"}, **headers)
    assert answer.status_code == 403
    assert stage.bot.understood == []


async def test_a_caller_from_another_machine_is_refused(sandbox: str) -> None:
    app = stage_app(sandbox_url=sandbox, site_control_urls=[], tenants=[ZHANG], clock=CLOCK)
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/api/tenants")).status_code == 403


@pytest.mark.parametrize("url", ["http://192.0.2.7:9000", "https://127.0.0.1", "http://x.example"])
def test_the_stage_asks_servers_of_this_machine_only(sandbox: str, url: str) -> None:
    with pytest.raises(InvalidInput):
        stage_app(sandbox_url=url, site_control_urls=[], tenants=[ZHANG], clock=CLOCK)
    with pytest.raises(InvalidInput):
        stage_app(sandbox_url=sandbox, site_control_urls=[url], tenants=[ZHANG], clock=CLOCK)
