"""The WeChat stand-in as the sender: encrypted messages and events to an account's callback."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import httpx
from wechatpy.crypto import WeChatCrypto
from wechatpy.exceptions import WeChatException
from wechatpy.utils import WeChatSigner

from backend.kernel.errors import InvalidInput
from backend.sandbox.answers import caller
from backend.sandbox.wechat_world import Account

_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a person did: `text`, or an `event` with its `event_key`; `message_id` of a text."""

    openid: str
    text: str
    event: str | None
    event_key: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back: HTTP status (0: nobody), the reply's text (None: no reply), its plain XML."""

    status: int
    reply: str | None
    xml: str


def plain_xml(*, account: Account, said: Said, at: datetime) -> str:
    """The message as XML, before encryption."""
    message = {
        "ToUserName": f"gh_{account.appid[-12:]}",
        "FromUserName": said.openid,
        "CreateTime": str(int(at.timestamp())),
    }
    if said.event is None:
        message |= {"MsgType": "text", "Content": said.text, "MsgId": str(said.message_id)}
    else:
        message |= {"MsgType": "event", "Event": said.event, "EventKey": said.event_key}
        if said.event == "TEMPLATESENDJOBFINISH":
            message |= {"MsgID": str(said.message_id), "Status": said.event_key}
    return _xml(message)


async def deliver(
    *, account: Account, xml: str, at: datetime, bad_signature: bool, broken: bool
) -> Heard:
    """POST `xml` in safe mode and decrypt the reply. Raises InvalidInput for an unusable reply."""
    crypto = WeChatCrypto(account.token, account.aes_key, account.appid)
    stamp, nonce = str(int(at.timestamp())), secrets.token_hex(8)
    sealed = _fields(crypto.encrypt_message(xml, nonce, stamp))
    encrypt, signature = sealed["Encrypt"], sealed["MsgSignature"]
    if broken:
        # Correctly signed, yet no ciphertext: the receiver's parser must stand it.
        encrypt = "AAAA" + encrypt[4:31]
        signature = _sign(account.token, stamp, nonce, encrypt)
    if bad_signature:
        signature = "0" * 40
    body = _xml({"ToUserName": f"gh_{account.appid[-12:]}", "Encrypt": encrypt})
    query = {
        "signature": _sign(account.token, stamp, nonce),
        "timestamp": stamp,
        "nonce": nonce,
        "encrypt_type": "aes",
        "msg_signature": signature,
    }
    async with caller(timeout_s=_ANSWER_S) as client:
        try:
            answer = await client.post(account.callback_url, params=query, content=body.encode())
        except httpx.HTTPError:
            return Heard(0, None, "")
    if answer.status_code != 200 or answer.text.strip() in ("", "success"):
        return Heard(answer.status_code, None, "")
    return Heard(200, *_opened(crypto, answer.text))


async def verify_url(*, account: Account, at: datetime) -> bool:
    """The console's check of a callback address: it must echo `echostr` of a signed GET."""
    stamp, nonce, echo = str(int(at.timestamp())), secrets.token_hex(8), secrets.token_hex(8)
    query = {
        "signature": _sign(account.token, stamp, nonce),
        "timestamp": stamp,
        "nonce": nonce,
        "echostr": echo,
    }
    async with caller(timeout_s=_ANSWER_S) as client:
        try:
            answer = await client.get(account.callback_url, params=query)
        except httpx.HTTPError:
            return False
    return answer.status_code == 200 and answer.text == echo


def _opened(crypto: Any, answer: str) -> tuple[str | None, str]:
    """(text, XML) of an encrypted reply, its signature checked. Raises InvalidInput."""
    try:
        sealed = _fields(answer)
        xml = crypto.decrypt_message(
            sealed, sealed["MsgSignature"], sealed["TimeStamp"], sealed["Nonce"]
        )
        return _fields(xml).get("Content"), str(xml)
    except (
        ElementTree.ParseError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        WeChatException,
    ) as error:
        raise InvalidInput(f"the callback's reply is unusable: {type(error).__name__}") from None


def _xml(fields: dict[str, str]) -> str:
    """A flat WeChat message."""
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    return f"<xml>{inside}</xml>"


def _fields(xml: str) -> dict[str, str]:
    """The fields of a flat WeChat message. Raises ElementTree.ParseError."""
    return {child.tag: child.text or "" for child in ElementTree.fromstring(xml)}


def _sign(*parts: str) -> str:
    """WeChat's sha1 over the sorted parts."""
    signer = WeChatSigner()
    signer.add_data(*parts)
    return str(signer.signature)
