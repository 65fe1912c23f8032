"""Messages to followers of an official account: a template when one is mapped, else a chat text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import requests
from wechatpy.exceptions import WeChatClientException

from backend.alerts.ports import Outgoing, Undeliverable
from backend.integrations.wechat_account import (
    BAD_TOKEN,
    StableTokenClient,
    TemplateMapping,
    TokenStore,
    WechatAccountConfig,
)
from backend.kernel.errors import Unavailable

# Faults of the account or of the moment, not of this message: the next try may succeed. 40241 means
# "the same message within 60 s".
_LATER = BAD_TOKEN | {-1, -1000, 40013, 40125, 40164, 40241, 45009, 45011, 50002}

# Field limits of template messages (channels.md section 1.6): cut what may be cut, refuse the rest.
_CUT = {"thing": 20, "phrase": 5, "name": 10}
_FORMS = {
    "character_string": re.compile(r"^[\x21-\x7e]{1,32}$"),
    "amount": re.compile(r"^[¥￥]?-?\d{1,10}(\.\d{1,4})?元?$"),
    "number": re.compile(r"^-?\d{1,24}(\.\d{1,8})?$"),
    "phone_number": re.compile(r"^[\d+\- ]{1,17}$"),
}
_KIND = re.compile(r"^([a-z_]+?)\d+$")


class WechatMessenger:
    """Implements backend.alerts.ports.Notifier for WECHAT. Blocking calls run in a thread.

    A chat text is only taken within 48 h of the follower's last message (else 45015); a template
    needs none, so events that matter should be mapped.
    """

    def __init__(self, config: WechatAccountConfig, /, *, token_store: TokenStore) -> None:
        self._templates = dict(config.templates)
        self._client = StableTokenClient(config, token_store=token_store)

    async def send(self, message: Outgoing, /) -> str:
        """Send to the openid in `address`; returns the template's msgid, or `key` for a chat text.

        Raises Undeliverable (unfollowed, refused, window closed, template wrong), Unavailable.
        """
        template = self._templates.get(message.event)
        if template is None:
            await self._post(
                "message/custom/send",
                {"touser": message.address, "msgtype": "text", "text": {"content": message.text}},
            )
            return message.key
        answer = await self._post("message/template/send", _template_body(template, message))
        return str(answer.get("msgid", message.key))

    async def publish_menu(self, menu: Mapping[str, Any]) -> None:
        """Replace the account's menu (menu/create). Raises Undeliverable, Unavailable."""
        await self._post("menu/create", dict(menu))

    async def _post(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        """One API call. Addresses hold the token, so provider errors are not chained."""
        try:
            answer = await asyncio.to_thread(self._client.post, endpoint, data=body)
        except WeChatClientException as error:
            code = error.errcode
            if code is None or code in _LATER:
                raise Unavailable(f"WeChat cannot send now (errcode {code})") from None
            raise Undeliverable(f"WeChat refused the message (errcode {code})") from None
        except (requests.RequestException, ValueError) as error:
            raise Unavailable(f"WeChat did not answer ({type(error).__name__})") from None
        if not isinstance(answer, dict):
            raise Unavailable("WeChat answered something unreadable")
        return answer


def _template_body(template: TemplateMapping, message: Outgoing) -> dict[str, Any]:
    """The body of template/send; `client_msg_id` makes a repeat within 10 minutes harmless."""
    data = {
        name: {"value": _value(name, message.params.get(param))}
        for name, param in template.fields.items()
    }
    body: dict[str, Any] = {
        "touser": message.address,
        "template_id": template.template_id,
        "data": data,
        "client_msg_id": message.key[:32],
    }
    if template.url:
        body["url"] = template.url
    return body


def _value(name: str, value: str | None) -> str:
    """`value` in the form its field demands. Raises Undeliverable (WeChat would answer 47003)."""
    match = _KIND.match(name)
    kind = match.group(1) if match else ""
    if not value:
        raise Undeliverable(f"the template field {name} has no value")
    limit = _CUT.get(kind)
    if limit is not None and len(value) > limit:
        return value[: limit - 1] + "…" if kind == "thing" else value[:limit]
    form = _FORMS.get(kind)
    if form is not None and form.match(value) is None:
        raise Undeliverable(f"the template field {name} cannot hold this value")
    return value
