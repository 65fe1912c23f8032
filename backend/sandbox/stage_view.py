"""What the stage shows: a tenant's chat and the till's orders, in the page's own words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.kernel.money import Money


@dataclass(frozen=True, slots=True)
class Tenant:
    """A test tenant: `openid` at the official account `app_id` of `group`; `phone` is the one on
    file for the account number `account_no`; `label` is what the page calls them."""

    group: str
    app_id: str
    openid: str
    phone: str
    account_no: str
    label: str

    def shown(self) -> dict[str, str]:
        """What the page needs to name the tenant and to offer words."""
        return {
            "group": self.group,
            "label": self.label,
            "phone": self.phone,
            "accountNo": self.account_no,
        }


@dataclass(frozen=True, slots=True)
class Spoken:
    """Words of a tenant; `at` zoned."""

    text: str
    at: datetime


def chat_of(
    messages: Sequence[Mapping[str, Any]], spoken: Sequence[Spoken], /
) -> list[dict[str, Any]]:
    """Received messages and own words as one conversation, oldest first.

    Each is {from: me|account, kind, text, at} and, for a template, {rows: [[name, value]], url}.
    """
    said = [
        {"from": "me", "kind": "said", "text": words.text, "at": words.at.isoformat()}
        for words in spoken
    ]
    # Stable: what was said at the same instant as its reply stands before it.
    return sorted([*said, *map(_received, messages)], key=lambda line: _instant(line["at"]))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _received(message: Mapping[str, Any]) -> dict[str, Any]:
    line = {
        "from": "account",
        "kind": message["kind"],
        "text": message.get("text") or "",
        "at": message["at"],
    }
    if message["kind"] == "template":
        body = message["body"]
        fields = body.get("data") or {}
        line["rows"] = [[name, str(field.get("value", ""))] for name, field in fields.items()]
        line["url"] = body.get("url") or ""
    return line


def order_of(order: Mapping[str, Any], /) -> dict[str, Any]:
    """An order of the till; `amount` is yuan with two decimals."""
    return {
        "mchid": order["mchid"],
        "out_trade_no": order["out_trade_no"],
        "description": order["description"],
        "kind": order["kind"],
        "amount": str(Money.of_fen(order["total"])),
        "state": order["state"],
        "paid": bool(order["paid_at"]),
        "paid_at": order["paid_at"] or None,
    }
