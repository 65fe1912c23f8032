"""Messages to WeChat followers: one shared token, one retry, and refusals told apart."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from backend.alerts.ports import Outgoing, Undeliverable
from backend.integrations.wechat_account import (
    ProcessTokenStore,
    RedisTokenStore,
    WechatAccountConfig,
)
from backend.integrations.wechat_message import WechatMessenger
from backend.kernel.errors import InvalidInput, Unavailable
from backend.sandbox.embedded.valkey import RunningValkey, start_valkey

from .conftest import CLOCK
from .offices import LOW, Office


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningValkey]:
    """A real store that speaks Redis."""
    running = start_valkey(data_dir=tmp_path_factory.mktemp("tokens") / "valkey")
    yield running
    running.stop()


def _news(event: str = "topup_credited", **changes: Any) -> Outgoing:
    base = Outgoing("o-zhang", event, "充值 50.00 元已到账", {}, secrets.token_hex(8))
    return replace(base, **changes)


def _low(place: str = "A座1203", **changes: Any) -> Outgoing:
    params = {"place": place, "balance": "12.30"}
    return _news("balance_low", params=params, template=LOW, **changes)


async def test_an_event_without_template_goes_as_a_chat_text(office: Office) -> None:
    office.opens_chat()
    message = _news()
    assert await office.messenger().send(message) == message.key
    assert [(m["kind"], m["text"]) for m in office.inbox()] == [("custom", message.text)]


async def test_a_event_with_a_template_goes_by_it_even_when_the_chat_is_closed(
    office: Office,
) -> None:
    office.control("users", openid="o-zhang")
    number = await office.messenger().send(_low(place="一" * 30))
    (message,) = office.inbox()
    assert number == str(message["msgid"])
    assert message["body"]["template_id"] == "T-LOW"
    assert message["body"]["url"] == LOW.url
    values = {name: field["value"] for name, field in message["body"]["data"].items()}
    assert values == {"thing1": "一" * 19 + "…", "amount2": "12.30"}


async def test_the_same_news_sent_twice_arrives_once(office: Office) -> None:
    office.control("users", openid="o-zhang")
    messenger, message = office.messenger(), _low()
    assert await messenger.send(message) == await messenger.send(message)
    assert len(office.inbox()) == 1


async def test_a_value_the_template_cannot_hold_is_refused_before_it_is_sent(
    office: Office,
) -> None:
    office.control("users", openid="o-zhang")
    for params in ({"place": "A", "balance": "十二元"}, {"place": "A"}):
        with pytest.raises(Undeliverable):
            await office.messenger().send(_news("balance_low", params=params, template=LOW))
    assert office.fetches() == {"plain": 0, "forced": 0}


async def test_a_closed_window_a_used_up_quota_and_a_stranger_are_final(office: Office) -> None:
    with pytest.raises(Undeliverable, match="45015"):
        await office.messenger().send(_news())
    with pytest.raises(Undeliverable, match="43004"):
        await office.messenger().send(_low())
    office.opens_chat()
    messenger = office.messenger()
    for _ in range(5):
        await messenger.send(_news())
    with pytest.raises(Undeliverable, match="45047"):
        await messenger.send(_news())


@pytest.mark.parametrize("fault", ["busy", "http_500"])
async def test_a_busy_platform_is_tried_again_later(office: Office, fault: str) -> None:
    office.opens_chat()
    office.control("faults", **{fault: 1})
    messenger = office.messenger()
    with pytest.raises(Unavailable):
        await messenger.send(_news())
    await messenger.send(_news())


async def test_a_platform_that_is_away_is_unavailable_and_names_no_secret(office: Office) -> None:
    away = WechatMessenger(
        replace(office.config, base_url="http://127.0.0.1:9"),
        token_store=ProcessTokenStore(clock=CLOCK),
    )
    with pytest.raises(Unavailable) as unavailable:
        await away.send(_news())
    assert office.config.secret not in str(unavailable.value)
    assert office.config.secret not in repr(office.config)


async def test_eight_cold_workers_fetch_one_token(office: Office, valkey: RunningValkey) -> None:
    office.control("users", openid="o-zhang")
    prefix = secrets.token_hex(4)
    workers = [
        office.messenger(RedisTokenStore(Redis.from_url(valkey.url), prefix=prefix))
        for _ in range(8)
    ]
    await asyncio.gather(*(worker.send(_low()) for worker in workers))
    assert len(office.inbox()) == 8
    assert office.fetches() == {"plain": 1, "forced": 0}


async def test_two_cold_threads_of_one_process_fetch_one_token(office: Office) -> None:
    office.control("users", openid="o-zhang")
    store = ProcessTokenStore(clock=CLOCK)
    await asyncio.gather(*(office.messenger(store).send(_low()) for _ in range(2)))
    assert office.fetches()["plain"] == 1


async def test_without_the_store_messages_still_go(office: Office) -> None:
    office.control("users", openid="o-zhang")
    gone = RedisTokenStore(Redis(host="127.0.0.1", port=9, socket_connect_timeout=1))
    await office.messenger(gone).send(_low())
    assert len(office.inbox()) == 1


async def test_a_token_that_died_is_replaced_and_the_message_goes(office: Office) -> None:
    office.control("users", openid="o-zhang")
    messenger = office.messenger()
    await messenger.send(_low())
    office.control("tokens/revoke")
    await messenger.send(_low())
    assert len(office.inbox()) == 2
    assert office.fetches() == {"plain": 2, "forced": 0}


async def test_a_token_that_stays_bad_is_tried_once_more_and_no_more(office: Office) -> None:
    office.control("users", openid="o-zhang")
    left = office.control("faults", bad_token=5)["bad_token"]
    with pytest.raises(Unavailable, match="40001"):
        await office.messenger().send(_low())
    used = left - office.control("faults")["bad_token"]
    assert used == 2
    # stable_token gave the same token again, so one was forced; never more.
    assert office.fetches() == {"plain": 2, "forced": 1}


async def test_a_wrong_secret_is_an_error_of_the_account_not_of_the_message(
    office: Office,
) -> None:
    wrong = replace(office.config, secret="0" * 32)
    messenger = WechatMessenger(wrong, token_store=ProcessTokenStore(clock=CLOCK))
    with pytest.raises(Unavailable, match="40125"):
        await messenger.send(_low())


def test_plain_http_needs_to_be_allowed() -> None:
    with pytest.raises(InvalidInput):
        WechatAccountConfig(appid="wx1", secret="s", base_url="http://api.weixin.qq.com")
