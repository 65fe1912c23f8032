"""Messages of a life account: signed by us, and only an answer that is signed is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from backend.alerts.ports import Outgoing, TemplateRefused, Undeliverable
from backend.alerts.template_rules import MessageTemplate
from backend.integrations.alipay_message import AlipayMessenger
from backend.kernel.errors import Unavailable
from backend.sandbox.pay_keys import new_private_pem

from .alipay_till import APP, CLOCK, MODES, AlipayTill

USER = "2088000000000007"
LOW = MessageTemplate(
    "LOW-1", {"first": "account", "keyword1": "amount"}, url="https://a.example/p"
)


def news(**changes: Any) -> Outgoing:
    """A warning to a follower."""
    params = {"account": "301室", "amount": "4.20"}
    return replace(Outgoing(USER, "low_1", "text", params, "low-1", LOW), **changes)


def follows(till: AlipayTill) -> AlipayMessenger:
    """The user follows, the template exists."""
    till.control("followers", {"app_id": APP, "user_id": USER})
    till.control("life-templates", {"app_id": APP, "template_id": LOW.template_id})
    return AlipayMessenger(till.config, clock=CLOCK)


def inbox(till: AlipayTill) -> list[dict[str, Any]]:
    """What the stand-in took."""
    answer = httpx.get(f"{till.url}/control/life-inbox", trust_env=False)
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


@MODES
async def test_news_arrives_by_its_template_with_its_own_fields(alipay: AlipayTill) -> None:
    number = await follows(alipay).send(news())
    (message,) = inbox(alipay)
    assert (message["to_user_id"], message["msg_id"]) == (USER, number)
    assert message["template"]["template_id"] == "LOW-1"
    context = message["template"]["context"]
    assert (context["first"]["value"], context["keyword1"]["value"]) == ("301室", "4.20")
    assert context["url"] == "https://a.example/p"


async def test_a_stranger_an_unknown_template_and_none_are_final(alipay: AlipayTill) -> None:
    messenger = follows(alipay)
    with pytest.raises(Undeliverable, match="USER_NOT_FOLLOW") as stranger:
        await messenger.send(news(address="2088000000000008"))
    assert not isinstance(stranger.value, TemplateRefused)
    with pytest.raises(TemplateRefused, match="TEMPLATE_NOT_EXIST"):
        await messenger.send(news(template=replace(LOW, template_id="LOW-2")))
    with pytest.raises(Undeliverable, match="no Alipay template"):
        await messenger.send(news(template=None))
    with pytest.raises(Undeliverable, match="no value"):
        await messenger.send(news(params={"account": "301室"}))
    assert inbox(alipay) == []


@pytest.mark.parametrize(
    "fault", ["busy", "http_500", "drop_answer", "unsigned_answer", "bad_answer_signature"]
)
async def test_an_answer_that_proves_nothing_is_tried_again_later(
    alipay: AlipayTill, fault: str
) -> None:
    messenger = follows(alipay)
    alipay.control("faults", {fault: 1})
    with pytest.raises(Unavailable):
        await messenger.send(news())


async def test_a_call_that_another_key_signed_is_not_taken(alipay: AlipayTill) -> None:
    follows(alipay)
    stranger = replace(alipay.config, private_key=new_private_pem())
    with pytest.raises(Unavailable):
        await AlipayMessenger(stranger, clock=CLOCK).send(news())
    assert inbox(alipay) == []
