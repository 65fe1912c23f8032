"""Imported into the product's processes by one test: a door that believes every notice it can read."""

from __future__ import annotations

from collections.abc import Mapping

from backend.integrations import wechat_pay_wire


def believe(*, headers: Mapping[str, str], body: bytes, key_of: object) -> int:
    """What require_signature returns, without looking at the signature."""
    given = {name.lower(): value for name, value in headers.items()}
    return int(given["wechatpay-timestamp"])


wechat_pay_wire.require_signature = believe
