"""The menu of an official account (channels.md 6.2), and what a tap or a scan says to the dialogue."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from bots.intents import (
    Balance,
    Bind,
    Help,
    Human,
    Intent,
    PowerOut,
    Records,
    Switch,
    TopUp,
    Usage,
    Welcome,
    account_number,
)
from bots.texts import say

from .inbound import Inbound, Kind

CLICKS: dict[str, Intent] = {
    "BALANCE": Balance(),
    "TOPUP": TopUp(),
    "USAGE": Usage(),
    "RECORDS": Records(),
    "BIND": Bind(),
    "SWITCH": Switch(),
    "POWER_OUT": PowerOut(),
    "HUMAN": Human(),
    "HELP": Help(),
}
BIND_SCENE = "bind_"


def build_menu(
    *, top_up_url: str, elder_url: str | None = None, allow_http: bool = False
) -> dict[str, Any]:
    """The body of menu/create: three buttons, 自助购电 first, one tap to the pay page.

    `top_up_url` and `elder_url` are https pages of this product; `allow_http` is for stand-ins.
    Raises ValueError else.
    """
    service = [
        _click(say("menu.power_out"), "POWER_OUT"),
        _click(say("menu.human"), "HUMAN"),
        _click(say("menu.switch"), "SWITCH"),
        _click(say("menu.help"), "HELP"),
    ]
    if elder_url is not None:
        service.insert(2, _view(say("menu.elder"), elder_url, allow_http))
    mine = [
        _click(say("menu.balance"), "BALANCE"),
        _click(say("menu.usage"), "USAGE"),
        _click(say("menu.records"), "RECORDS"),
        _click(say("menu.bind"), "BIND"),
    ]
    return {
        "button": [
            _view(say("menu.top_up"), top_up_url, allow_http),
            {"name": say("menu.mine"), "sub_button": mine},
            {"name": say("menu.service"), "sub_button": service},
        ]
    }


def said(inbound: Inbound) -> Intent | str | None:
    """What the follower says to the dialogue; None when nothing is to be answered.

    A QR code with the scene `bind_<account number>` starts binding, still by a code to the
    registered phone.
    """
    if inbound.kind is Kind.TEXT:
        return inbound.text
    if inbound.kind is Kind.CLICK:
        return CLICKS.get(inbound.event_key)
    if inbound.kind in (Kind.SUBSCRIBE, Kind.SCAN):
        scene = inbound.event_key
        number = (
            account_number(scene.removeprefix(BIND_SCENE)) if scene.startswith(BIND_SCENE) else None
        )
        return Bind(number) if number else Welcome()
    return None


def _click(name: str, key: str) -> dict[str, Any]:
    return {"type": "click", "name": name, "key": key}


def _view(name: str, url: str, allow_http: bool) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in (("https", "http") if allow_http else ("https",)) or not parts.hostname:
        raise ValueError("a menu page is an https URL")
    return {"type": "view", "name": name, "url": url}
