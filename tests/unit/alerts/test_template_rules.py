"""A template that a provider would refuse is refused when it is saved, with the field that is wrong."""

from __future__ import annotations

import pytest

from backend.alerts.ports import MessageChannel
from backend.alerts.template_rules import (
    SAMPLES,
    MessageTemplate,
    Unfit,
    check_template,
    filled,
    fit,
    params_of,
)
from backend.alerts.texts import sentences, text
from backend.kernel.errors import InvalidInput

WECHAT, ALIPAY, SMS = MessageChannel


def wechat(**fields: str) -> None:
    """Save a WeChat template of low_1 with these fields."""
    template = MessageTemplate("T-1", fields)
    check_template(channel=WECHAT, event="low_1", template=template)


@pytest.mark.parametrize("event", sorted(sentences()))
def test_every_sentence_can_be_told_by_every_channel_with_its_sample_values(event: str) -> None:
    names = params_of(event)
    assert names <= set(SAMPLES)
    assert "{" not in text(event, **SAMPLES)
    for number, param in enumerate(sorted(names), start=1):
        for channel, name, sign in ((WECHAT, f"thing{number}", ""), (SMS, f"v{number}", "某物业")):
            template = MessageTemplate("T-1", {name: param}, sign)
            check_template(channel=channel, event=event, template=template)


def test_a_template_whose_fields_fit_is_saved() -> None:
    wechat(thing1="account", amount2="amount", time3="when", date4="when", character_string5="days")
    template = MessageTemplate("T-1", {"time1": "when", "amount2": "amount"})
    shown = filled(channel=WECHAT, template=template, params=SAMPLES)
    assert shown == {"time1": "2026年11月28日 21:00", "amount2": "23.60"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"amount1": "account"}, "amount1 cannot hold"),
        ({"time1": "time"}, "time1 cannot hold"),
        ({"phrase1": "amount"}, "phrase1 cannot hold"),
        ({"character_string1": "account"}, "character_string1 cannot hold"),
        ({"phone_number1": "account"}, "phone_number1 cannot hold"),
        ({"number1": "account"}, "number1 cannot hold"),
        ({"thing1": "meter"}, "no value meter"),
        ({"thing": "account"}, "no field thing"),
        ({"first1": "account"}, "no type of field first"),
        ({}, "what goes into"),
    ],
)
def test_what_does_not_fit_a_wechat_field_is_named(fields: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        wechat(**fields)
    assert refused.value.field == "fields"


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("thing1", "一" * 20, "一" * 20),
        ("thing1", "一" * 21, "一" * 19 + "…"),
        ("phrase2", "余额不足了", "余额不足了"),
        ("phrase2", "余额不足了吧", "余额不足了"),
        ("name3", "张" * 11, "张" * 10),
        ("amount4", "¥1234567890.12", "¥1234567890.12"),
        ("character_string5", "x" * 32, "x" * 32),
    ],
)
def test_values_are_as_long_as_wechat_takes_them(name: str, value: str, kept: str) -> None:
    assert fit(channel=WECHAT, name=name, value=value) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("character_string1", "x" * 33),
        ("amount1", "12345678901"),
        ("amount1", "十元"),
        ("time1", "25:00"),
        ("phrase1", "ab"),
        ("thing1", ""),
    ],
)
def test_what_wechat_would_refuse_is_refused_before_it_is_sent(name: str, value: str) -> None:
    with pytest.raises(Unfit):
        fit(channel=WECHAT, name=name, value=value)


@pytest.mark.parametrize("value", ["https://a.cn/1", "见 www.a.com", "pay.example.com", "a.cn/x"])
def test_an_sms_variable_holds_no_address(value: str) -> None:
    with pytest.raises(Unfit, match="address"):
        fit(channel=SMS, name="room", value=value)


def test_an_sms_variable_is_cut_at_its_length_and_money_is_no_address() -> None:
    assert fit(channel=SMS, name="room", value="楼" * 36) == "楼" * 34 + "…"
    assert fit(channel=SMS, name="money", value="12.30") == "12.30"


@pytest.mark.parametrize(
    ("channel", "template", "field"),
    [
        (SMS, MessageTemplate("SMS_1", {"a": "amount"}), "signName"),
        (SMS, MessageTemplate("SMS_1", {"a": "amount"}, "某" * 33), "signName"),
        (SMS, MessageTemplate("SMS_1", {"1a": "amount"}, "某物业"), "fields"),
        (SMS, MessageTemplate("SMS_1", {"a": "amount"}, "某物业", "https://a.cn"), "url"),
        (WECHAT, MessageTemplate("T-1", {"thing1": "amount"}, "某物业"), "signName"),
        (WECHAT, MessageTemplate("T-1", {"thing1": "amount"}, "", "http://a.cn"), "url"),
        (WECHAT, MessageTemplate("no id", {"thing1": "amount"}), "templateId"),
        (ALIPAY, MessageTemplate("A-1", {"thing1": "amount"}), "fields"),
        (ALIPAY, MessageTemplate("A-1", {"keyword11": "amount"}), "fields"),
    ],
)
def test_each_channel_takes_its_own_form(
    channel: MessageChannel, template: MessageTemplate, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_template(channel=channel, event="low_1", template=template)
    assert refused.value.field == field


def test_an_unknown_event_has_no_template() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_template(channel=WECHAT, event="nothing", template=MessageTemplate("T-1"))
    assert refused.value.field == "event"


def test_a_template_is_filled_by_its_own_names() -> None:
    template = MessageTemplate("A-1", {"first": "account", "keyword1": "amount"})
    values = filled(channel=ALIPAY, template=template, params={"account": "101", "amount": "3.00"})
    assert values == {"first": "101", "keyword1": "3.00"}
