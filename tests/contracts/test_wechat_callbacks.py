"""The WeChat stand-in as a sender: what it posts is what wechatpy accepts, or rightly refuses."""

from __future__ import annotations

import binascii
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from wechatpy import create_reply, parse_message
from wechatpy.crypto import WeChatCrypto
from wechatpy.exceptions import InvalidSignatureException
from wechatpy.utils import check_signature

from .serving import control, serving

TOKEN, APPID = "callback-token", "wx0000000000000001"
AES_KEY = secrets.token_hex(22)[:43]


class Bot:
    """A minimal account server: echoes texts, stays silent on events, keeps what it understood."""

    def __init__(self) -> None:
        self.understood: list[Any] = []
        self.refused: list[str] = []
        routes = [Route("/wx", self._verify), Route("/wx", self._take, methods=["POST"])]
        self.app = Starlette(routes=routes)

    async def _verify(self, request: Request) -> Response:
        query = request.query_params
        check_signature(TOKEN, query["signature"], query["timestamp"], query["nonce"])
        return PlainTextResponse(query["echostr"])

    async def _take(self, request: Request) -> Response:
        query, body = request.query_params, await request.body()
        crypto = WeChatCrypto(TOKEN, AES_KEY, APPID)
        check_signature(TOKEN, query["signature"], query["timestamp"], query["nonce"])
        try:
            xml = crypto.decrypt_message(
                body, query["msg_signature"], query["timestamp"], query["nonce"]
            )
        except (InvalidSignatureException, ValueError, binascii.Error, IndexError) as error:
            self.refused.append(type(error).__name__)
            return Response(status_code=403)
        message = parse_message(xml)
        self.understood.append(message)
        if message.type == "event":
            return PlainTextResponse("success")
        reply = create_reply(f"听到：{message.content}", message).render()
        return Response(crypto.encrypt_message(reply, query["nonce"], query["timestamp"]))


@pytest.fixture
def bot(sandbox: str) -> Iterator[tuple[Bot, str]]:
    """A bot on a socket, registered; with the stand-in's address."""
    bot, url = Bot(), f"{sandbox}/wechat"
    with serving(bot.app) as address:
        control(
            f"{url}/control/apps",
            {
                "appid": APPID,
                "secret": "secret",
                "token": TOKEN,
                "aes_key": AES_KEY,
                "callback_url": f"{address}/wx",
            },
        )
        yield bot, f"{url}/control"


def test_a_text_reaches_the_bot_and_the_reply_reaches_the_user(bot: tuple[Bot, str]) -> None:
    server, url = bot
    said = "余额 <b>&"
    heard = control(f"{url}/say", {"openid": "o-li", "text": said})
    assert (heard["status"], heard["reply"]) == (200, f"听到：{said}")
    assert server.understood[0].source == "o-li"
    assert server.understood[0].id == heard["msg_id"]


def test_a_reply_that_lets_the_user_write_xml_is_caught(bot: tuple[Bot, str]) -> None:
    """wechatpy does not split `]]>`: a bot that echoes must, and the stand-in shows when it did not."""
    said = {"openid": "o-li", "text": "]]></Content><X>"}
    answer = httpx.post(f"{bot[1]}/say", json=said, trust_env=False)
    assert answer.status_code == 400
    assert "unusable" in answer.json()["message"]


def test_the_same_message_can_come_again_with_the_same_id(bot: tuple[Bot, str]) -> None:
    server, url = bot
    first = control(f"{url}/say", {"openid": "o-li", "text": "1"})
    again = {"openid": "o-li", "text": "1", "msg_id": first["msg_id"]}
    control(f"{url}/say", again)
    assert len({message.id for message in server.understood}) == 1
    assert len(server.understood) == 2


def test_following_and_menu_clicks_arrive_as_events(bot: tuple[Bot, str]) -> None:
    server, url = bot
    heard = control(f"{url}/say", {"openid": "o-li", "event": "subscribe"})
    assert (heard["status"], heard["reply"]) == (200, None)
    control(f"{url}/say", {"openid": "o-li", "event": "CLICK", "event_key": "BALANCE"})
    assert [message.event for message in server.understood] == ["subscribe", "click"]
    assert server.understood[1].key == "BALANCE"


@pytest.mark.parametrize("fault", ["bad_signature", "broken_encrypt"])
def test_a_forged_or_broken_message_is_not_understood(bot: tuple[Bot, str], fault: str) -> None:
    server, url = bot
    control(f"{url}/faults", {fault: 1})
    assert control(f"{url}/say", {"openid": "o-li", "text": "1"})["status"] == 403
    assert server.understood == []
    assert len(server.refused) == 1
    assert control(f"{url}/say", {"openid": "o-li", "text": "1"})["status"] == 200


def test_the_callback_address_is_verified_as_in_the_console(bot: tuple[Bot, str]) -> None:
    assert control(f"{bot[1]}/verify", {}) == {"ok": True}
