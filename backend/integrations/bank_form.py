"""Forms as the bank gateways of UnionPay and ChinaPay take and send them, and the time in a number."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import requests

from backend.integrations.http_session import BoundedSession
from backend.kernel.clock import CHINA
from backend.topups.ports import ChannelUnavailable

# A notice is a form of a few kilobytes; a bill comes as base64 inside an answer.
NOTICE_LIMIT = 64 * 1024
_ANSWER_LIMIT = 64 * 1024 * 1024


def post_form(url: str, fields: Mapping[str, str], /, *, who: str) -> bytes:
    """POST a form (blocking, 3 s / 8 s) and give the body of a 200. Raises ChannelUnavailable."""
    try:
        with BoundedSession() as session:
            answer = session.post(url, data=dict(fields))
    except requests.RequestException as error:
        raise ChannelUnavailable(f"{who} did not answer ({type(error).__name__})") from error
    if answer.status_code != 200 or len(answer.content) > _ANSWER_LIMIT:
        raise ChannelUnavailable(f"{who} answered {answer.status_code}")
    return answer.content


def form_of(body: bytes, /) -> dict[str, str]:
    """The fields of a form body in UTF-8. Raises ValueError (bytes, encoding, a name that comes twice)."""
    pairs = parse_qsl(
        body.decode("ascii"),
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=100,
    )
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field comes twice")
    return fields


def made_time(number: str, /) -> str:
    """When an order or refund number of ours was made (China, yyyyMMddHHmmss), as the gateways want it.

    Both want an order's time again with every query and refund. Our numbers begin with the second they
    were made in (kernel.ids.order_no), so it is read from there and nothing is stored beside the order.
    Raises ValueError for a number of another kind.
    """
    if not 15 <= len(number) <= 32 or not (number.isascii() and number.isalnum()):
        raise ValueError("a number has 15 to 32 letters and digits")
    china_time(number[:14])
    return number[:14]


def china_time(text: str, /) -> datetime:
    """yyyyMMddHHmmss of China as an instant. Raises ValueError."""
    if len(text) != 14 or not (text.isascii() and text.isdigit()):
        raise ValueError("a time has 14 digits")
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=CHINA).astimezone(UTC)


def text_in(fields: Mapping[str, str], name: str, /) -> str:
    """The non-empty text under `name`. Raises ValueError."""
    value = fields.get(name, "")
    if not value:
        raise ValueError(f"{name} is missing")
    return value


def fen_in(fields: Mapping[str, str], name: str, /) -> int:
    """The whole number of fen under `name`. Raises ValueError."""
    value = text_in(fields, name)
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{name} is no whole number of fen")
    return int(value)
