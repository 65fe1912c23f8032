"""What is answered to WeChat's server: one sealed text, or `success` for silence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from wechatpy.replies import TextReply

from .inbound import Inbound
from .keys import CallbackKeys

MAX_TEXT_BYTES = 2048
SILENCE = "success"

_MORE = "…"


def render(
    *, keys: CallbackKeys, inbound: Inbound, replies: Sequence[str], nonce: str, now: datetime
) -> str:
    """The encrypted XML that answers `inbound` with `replies` as one text; `success` for none.

    A passive reply is one message, so several are joined by a line break and trimmed to WeChat's
    2048 bytes. `nonce` is fresh and random; `now` is zoned.
    """
    text = fit("\n".join(reply for reply in replies if reply.strip()))
    if not text.strip():
        return SILENCE
    stamp = int(now.timestamp())
    reply = TextReply(source=inbound.account, target=inbound.openid, content=text, time=stamp)
    return str(keys.crypto().encrypt_message(reply.render(), nonce, str(stamp)))


def fit(text: str, *, limit: int = MAX_TEXT_BYTES) -> str:
    """`text` safe inside CDATA and at most `limit` UTF-8 bytes, cut at a line border where it can.

    wechatpy puts text into CDATA unsplit: `]]>` in a label would end it and add XML.
    """
    safe = _xml_text(text).replace("]]>", "]] >")
    if len(safe.encode()) <= limit:
        return safe
    room = limit - len(_MORE.encode()) - 1
    kept: list[str] = []
    for line in safe.split("\n"):
        if len("\n".join([*kept, line]).encode()) > room:
            break
        kept.append(line)
    if kept:
        return "\n".join([*kept, _MORE])
    return safe.encode()[:room].decode("utf-8", "ignore") + _MORE


def _xml_text(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return "".join(
        ch
        for ch in text
        if ch in "\t\n\r" or " " <= ch <= "\ud7ff" or "\ue000" <= ch <= "\ufffd" or ch > "\uffff"
    )
