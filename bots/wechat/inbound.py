"""What WeChat's server sends: verify, decrypt, parse; nothing of it is believed before (C29, C5's way).

Safe mode only: a body without `Encrypt` is refused, so nobody can downgrade. The order is size,
freshness, plain signature, outer XML, message signature, cipher, inner XML: a stranger never
reaches a parser. Reference: channels.md section 1.1.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal
from xml.parsers.expat import ExpatError

import xmltodict
from wechatpy.exceptions import InvalidAppIdException, InvalidSignatureException

from .keys import CallbackKeys

MAX_BODY_BYTES = 64 * 1024
FRESH_FOR = timedelta(seconds=300)

_MAX_QUERY_CHARS = 256
_LONGEST_KEY = 128
_QRSCENE = "qrscene_"
_INSTANT = re.compile(r"[0-9]{1,10}")
_MESSAGE_ID = re.compile(r"[0-9]{1,20}")
_OPENID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# Whatever wechatpy, expat and base64 raise for bytes that a stranger can choose.
_BROKEN = (
    ValueError,  # also binascii.Error, UnicodeDecodeError and xmltodict's refusal of entities
    binascii.Error,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    ExpatError,
    InvalidSignatureException,
    InvalidAppIdException,
)


class Kind(StrEnum):
    """What happened."""

    TEXT = "text"
    SUBSCRIBE = "subscribe"
    SCAN = "scan"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    TEMPLATE_SENT = "templatesendjobfinish"
    OTHER = "other"


_EVENTS = {
    "subscribe": Kind.SUBSCRIBE,
    "scan": Kind.SCAN,
    "click": Kind.CLICK,
    "unsubscribe": Kind.UNSUBSCRIBE,
    "templatesendjobfinish": Kind.TEMPLATE_SENT,
}


class InboundRejected(Exception):
    """Not from WeChat or not readable: answer `status` with an empty body. `reason` is for the log."""

    def __init__(self, status: Literal[400, 403], reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message or event of one follower.

    `openid` wrote to `account` (the official account's original id, the sender of the reply).
    `text` is what was written (TEXT), or how a template ended (TEMPLATE_SENT: `success` or why not), else
    empty; `event_key` is the menu key, the QR scene, or the template message's number. `dedupe_key`
    is the same for each retry of one message: claim it before any side effect. `created_at` is
    WeChat's time, UTC.
    """

    openid: str
    account: str
    kind: Kind
    text: str
    event_key: str
    dedupe_key: str
    created_at: datetime


def receive(*, keys: CallbackKeys, query: Mapping[str, str], body: bytes, now: datetime) -> Inbound:
    """The verified message of one POST. `query` is the URL's, `now` is zoned.

    Raises InboundRejected: 403 when it is not proven to come from WeChat now, 400 when it is not a
    message.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InboundRejected(400, "body too large")
    _verify_plain(keys=keys, query=query, now=now)
    encrypted = _fields(body, status=403).get("Encrypt")
    if not encrypted:
        raise InboundRejected(403, "not in safe mode")
    return _message(_fields(_open(keys, query, encrypted), status=400))


def verify_endpoint(*, keys: CallbackKeys, query: Mapping[str, str], now: datetime) -> str:
    """The text to answer WeChat's GET when the callback URL is set up: `echostr`, opened in safe mode.

    Raises InboundRejected(403), also for an `echostr` that is not plain digits and letters.
    """
    _verify_plain(keys=keys, query=query, now=now)
    echo = query.get("echostr", "")
    if query.get("msg_signature"):
        echo = _open(keys, query, echo).decode()
    if not _OPENID.fullmatch(echo):
        raise InboundRejected(403, "no echostr")
    return echo


def _verify_plain(*, keys: CallbackKeys, query: Mapping[str, str], now: datetime) -> None:
    """Signature of token, timestamp and nonce, and the age that the library does not check."""
    stamp, nonce = _parameter(query, "timestamp"), _parameter(query, "nonce")
    if not _INSTANT.fullmatch(stamp):
        raise InboundRejected(403, "no timestamp")
    if abs(now - datetime.fromtimestamp(int(stamp), UTC)) > FRESH_FOR:
        raise InboundRejected(403, "stale timestamp")
    _compare(_signature(keys.token, stamp, nonce), _parameter(query, "signature"))


def _open(keys: CallbackKeys, query: Mapping[str, str], encrypted: str) -> bytes:
    """The inner XML after the message signature and the AppID inside agree."""
    given = _parameter(query, "msg_signature")
    stamp, nonce = _parameter(query, "timestamp"), _parameter(query, "nonce")
    _compare(_signature(keys.token, stamp, nonce, encrypted), given)
    try:
        opened = keys.crypto().decrypt_message({"Encrypt": encrypted}, given, stamp, nonce)
    except _BROKEN as error:
        raise InboundRejected(403, "cannot be decrypted") from error
    return str(opened).encode()


def _message(fields: Mapping[str, str]) -> Inbound:
    openid, account = fields.get("FromUserName", ""), fields.get("ToUserName", "")
    created, kind = fields.get("CreateTime", ""), fields.get("MsgType", "").lower()
    if not (_OPENID.fullmatch(openid) and _OPENID.fullmatch(account)):
        raise InboundRejected(400, "no sender or receiver")
    if not _INSTANT.fullmatch(created) or not kind:
        raise InboundRejected(400, "no type or time")
    at = datetime.fromtimestamp(int(created), UTC)
    if kind == "event":
        event, event_key = fields.get("Event", ""), fields.get("EventKey", "")
        dedupe = _bounded(f"e:{openid}:{created}:{event}:{event_key}")
        scene = event_key.removeprefix(_QRSCENE)
        what = _EVENTS.get(event.lower(), Kind.OTHER)
        if what is Kind.TEMPLATE_SENT:
            number, status = fields.get("MsgID", "")[:20], fields.get("Status", "")[:80]
            return Inbound(openid, account, what, status, number, f"t:{number}", at)
        return Inbound(openid, account, what, "", scene, dedupe, at)
    message_id = fields.get("MsgId", "")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise InboundRejected(400, "no message id")
    what = Kind.TEXT if kind == "text" else Kind.OTHER
    text = fields.get("Content", "") if what is Kind.TEXT else ""
    return Inbound(openid, account, what, text, "", f"m:{message_id}", at)


def _fields(xml: bytes, *, status: Literal[400, 403]) -> dict[str, str]:
    """The text children of `<xml>`. Entities and other trees are refused."""
    try:
        parsed = xmltodict.parse(xml.decode("utf-8"))
    except _BROKEN as error:
        raise InboundRejected(status, "not WeChat's XML") from error
    root = parsed.get("xml")
    if not isinstance(root, dict):
        raise InboundRejected(status, "not WeChat's XML")
    return {name: value for name, value in root.items() if isinstance(value, str)}


def _parameter(query: Mapping[str, str], name: str) -> str:
    value = query.get(name, "")
    if not value or len(value) > _MAX_QUERY_CHARS:
        raise InboundRejected(403, f"no {name}")
    return value


def _signature(*parts: str) -> str:
    # SHA-1 is WeChat's choice; the token in it is what proves the sender.
    joined = b"".join(sorted(part.encode("utf-8", "replace") for part in parts))
    return hashlib.sha1(joined, usedforsecurity=False).hexdigest()


def _compare(expected: str, given: str) -> None:
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise InboundRejected(403, "wrong signature")


def _bounded(key: str) -> str:
    if len(key) <= _LONGEST_KEY:
        return key
    return "e:" + hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
