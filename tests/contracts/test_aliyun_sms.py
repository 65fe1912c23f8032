"""SMS by Aliyun's SDK against the stand-in that checks every signature."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from aliyunsdkcore.http import protocol_type

from backend.alerts.ports import (
    Limited,
    Outgoing,
    OutOfMoney,
    TemplateRefused,
    Undeliverable,
)
from backend.alerts.template_rules import MessageTemplate
from backend.integrations.aliyun_sms import AliyunSms, AliyunSmsConfig, SmsTemplate
from backend.kernel.errors import InvalidInput, Unavailable

from .serving import control

PHONE = "13800138000"


@dataclass(frozen=True)
class Desk:
    """An SMS account at the stand-in."""

    url: str
    config: AliyunSmsConfig

    @property
    def sms(self) -> AliyunSms:
        """The notifier under test."""
        return AliyunSms(self.config)

    def fault(self, name: str) -> None:
        """The next call meets this fault."""
        control(f"{self.url}/control/faults", {name: 1})

    def get(self, name: str) -> Any:
        """A control endpoint's answer."""
        return httpx.get(f"{self.url}/control/{name}", trust_env=False).json()


@pytest.fixture
def desk(sandbox: str) -> Desk:
    """A registered account with a template for codes and one for low balance."""
    url = f"{sandbox}/sms"
    config = AliyunSmsConfig(
        access_key_id="LTAI-" + secrets.token_hex(4),
        access_key_secret=secrets.token_hex(16),
        sign_name="水电服务",
        templates={
            "bind_code": SmsTemplate("SMS_1", ("code",), once=True),
            "balance_low": SmsTemplate("SMS_2", ("amount", "days")),
        },
        base_url=url,
        allow_http=True,
    )
    key = {
        "access_key_id": config.access_key_id,
        "access_key_secret": config.access_key_secret,
    }
    control(f"{url}/control/accounts", key)
    text = "验证码${code}，5分钟内有效。"
    control(f"{url}/control/templates", {"code": "SMS_1", "text": text})
    return Desk(url, config)


def _code(**changes: Any) -> Outgoing:
    base = Outgoing(PHONE, "bind_code", "", {"code": "482913", "other": "x"}, "key-1")
    return replace(base, **changes)


def _low() -> Outgoing:
    return Outgoing(PHONE, "balance_low", "", {"amount": "3.20", "days": "1"}, "key-2")


async def test_a_code_arrives_with_the_template_filled_in(desk: Desk) -> None:
    number = await desk.sms.send(_code())
    (message,) = desk.get("inbox")["messages"]
    assert message["text"] == "验证码482913，5分钟内有效。"
    assert (message["phone"], message["sign_name"]) == (PHONE, "水电服务")
    assert (message["out_id"], message["biz_id"]) == ("key-1", number)
    assert message["params"] == {"code": "482913"}


async def test_no_phone_number_and_no_code_stand_in_a_request_line(desk: Desk) -> None:
    await desk.sms.send(_code())
    (line,) = desk.get("requests")["lines"]
    assert line.startswith("POST /")
    assert "Signature=" in line
    for private in (PHONE, "482913", "SMS_1", "key-1"):
        assert private not in line


async def test_a_call_signed_with_another_secret_is_refused_by_the_stand_in(desk: Desk) -> None:
    stranger = AliyunSms(replace(desk.config, access_key_secret="0" * 30))
    with pytest.raises(Unavailable, match="SignatureDoesNotMatch"):
        await stranger.send(_code())
    assert desk.get("inbox")["messages"] == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("limit", Limited),
        ("throttle", Unavailable),
        ("out_of_money", OutOfMoney),
        ("bad_template", TemplateRefused),
        ("http_500", Unavailable),
        ("drop_answer", Unavailable),
    ],
)
async def test_final_refusals_are_told_from_passing_trouble(
    desk: Desk, fault: str, error: type[Exception]
) -> None:
    desk.fault(fault)
    with pytest.raises(error) as raised:
        await desk.sms.send(_low())
    assert PHONE not in str(raised.value)


@pytest.mark.parametrize("fault", ["drop_answer", "http_500"])
async def test_a_code_whose_answer_was_lost_is_not_sent_again(desk: Desk, fault: str) -> None:
    desk.fault(fault)
    with pytest.raises(Undeliverable, match="not repeated"):
        await desk.sms.send(_code())


@pytest.mark.parametrize("phone", ["", "12345", "0085298765432", "13800138000,13800138001"])
async def test_what_is_no_mobile_number_is_refused_without_a_call(desk: Desk, phone: str) -> None:
    with pytest.raises(Undeliverable):
        await desk.sms.send(_code(address=phone))
    assert desk.get("requests")["lines"] == []


async def test_an_event_without_template_or_a_missing_variable_is_final(desk: Desk) -> None:
    with pytest.raises(Undeliverable, match="template"):
        await desk.sms.send(_code(event="unheard_of"))
    with pytest.raises(Undeliverable, match="code"):
        await desk.sms.send(_code(params={}))


async def test_a_provider_that_is_away_is_unavailable(desk: Desk) -> None:
    away = AliyunSms(replace(desk.config, base_url="http://127.0.0.1:9"))
    with pytest.raises(Unavailable):
        await away.send(_low())


async def test_the_sdk_logs_nothing_of_a_message(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUG", "sdk")
    stranger = AliyunSms(replace(desk.config, access_key_secret="0" * 30))
    with pytest.raises(Unavailable):
        await stranger.send(_code())
    await desk.sms.send(_code())
    assert [record for record in caplog.records if record.name.startswith("aliyunsdkcore")] == []
    assert PHONE not in caplog.text


def test_production_goes_over_https_and_http_must_be_allowed(desk: Desk) -> None:
    production = AliyunSms(replace(desk.config, base_url="https://dysmsapi.aliyuncs.com"))
    # By identity: the SDK compares with `is`.
    assert production._protocol is protocol_type.HTTPS
    with pytest.raises(InvalidInput):
        replace(desk.config, allow_http=False)
    with pytest.raises(InvalidInput, match="sample"):
        replace(desk.config, access_key_id="testId")


async def test_the_groups_own_template_carries_its_own_signature_and_names(desk: Desk) -> None:
    template = MessageTemplate("SMS_9", {"room": "account", "money": "amount"}, "某物业")
    told = replace(_low(), params={"account": "楼" * 40, "amount": "3.20"}, template=template)
    await desk.sms.send(told)
    (message,) = desk.get("inbox")["messages"]
    assert (message["template"], message["sign_name"]) == ("SMS_9", "某物业")
    assert message["params"] == {"room": "楼" * 34 + "…", "money": "3.20"}
    with pytest.raises(Undeliverable, match="address"):
        await desk.sms.send(replace(told, params={"account": "a.cn/x", "amount": "1"}))


async def test_news_whose_answer_was_lost_is_looked_for_before_it_is_sent_again(desk: Desk) -> None:
    desk.fault("drop_answer")
    with pytest.raises(Unavailable):
        await desk.sms.send(_low())
    again = replace(_low(), tried_at=datetime.now(UTC))
    assert await desk.sms.send(again) == "out:key-2"
    assert len(desk.get("inbox")["messages"]) == 1
    other = replace(again, key="key-3")
    assert not (await desk.sms.send(other)).startswith("out:")
    assert len(desk.get("inbox")["messages"]) == 2


async def test_when_nobody_can_say_whether_it_went_out_nothing_is_sent(desk: Desk) -> None:
    desk.fault("http_500")
    with pytest.raises(Unavailable):
        await desk.sms.send(replace(_low(), tried_at=datetime.now(UTC)))
    with pytest.raises(Undeliverable, match="not repeated"):
        await desk.sms.send(_code(tried_at=datetime.now(UTC)))
    assert desk.get("inbox")["messages"] == []


async def test_the_template_values_are_json(desk: Desk) -> None:
    await desk.sms.send(_code())
    (message,) = desk.get("inbox")["messages"]
    assert message["params"] == {"code": "482913"}
