"""Messages to followers of an official account: by the group's template, else as a chat text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import requests
from wechatpy.exceptions import WeChatClientException

from backend.alerts.ports import MessageChannel, Outgoing, TemplateRefused, Undeliverable
from backend.alerts.template_rules import MessageTemplate, Unfit, filled
from backend.integrations.wechat_account import (
    BAD_TOKEN,
    StableTokenClient,
    TokenStore,
    WechatAccountConfig,
)
from backend.kernel.errors import Unavailable

# Faults of the account or of the moment, not of this message: the next try may succeed. 40241 means
# "the same message within 60 s".
_LATER = BAD_TOKEN | {-1, -1000, 40013, 40125, 40164, 40241, 45009, 45011, 50002}

# The template or the account's right to it: no message of this event passes until an operator acts. 40037
# wrong id, 43116 banned, 47003 a wrong type of field (channels.md section 1.6).
_OF_TEMPLATE = frozenset({40037, 43116, 47003})


class WechatMessenger:
    """Implements backend.alerts.ports.Notifier for WECHAT. Blocking calls run in a thread.

    A chat text is only taken within 48 h of the follower's last message (else 45015); a template
    needs none, so events that matter should have one.
    """

    def __init__(self, config: WechatAccountConfig, /, *, token_store: TokenStore) -> None:
        self._client = StableTokenClient(config, token_store=token_store)

    async def send(self, message: Outgoing, /) -> str:
        """Send to the openid in `address`; returns the template's msgid, or `key` for a chat text.

        Raises Undeliverable (unfollowed, refused, window closed), TemplateRefused, Unavailable.
        """
        if message.template is None:
            await self._post(
                "message/custom/send",
                {"touser": message.address, "msgtype": "text", "text": {"content": message.text}},
            )
            return message.key
        answer = await self._post(
            "message/template/send", _template_body(message.template, message)
        )
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
            kind = TemplateRefused if code in _OF_TEMPLATE else Undeliverable
            raise kind(f"WeChat refused the message (errcode {code})") from None
        except (requests.RequestException, ValueError) as error:
            raise Unavailable(f"WeChat did not answer ({type(error).__name__})") from None
        if not isinstance(answer, dict):
            raise Unavailable("WeChat answered something unreadable")
        return answer


def _template_body(template: MessageTemplate, message: Outgoing) -> dict[str, Any]:
    """The body of template/send; `client_msg_id` makes a repeat within 10 minutes harmless. Raises
    Undeliverable for a value that does not fit its field (WeChat would answer 47003)."""
    try:
        values = filled(channel=MessageChannel.WECHAT, template=template, params=message.params)
    except Unfit as unfit:
        raise Undeliverable(unfit.message) from None
    body: dict[str, Any] = {
        "touser": message.address,
        "template_id": template.template_id,
        "data": {name: {"value": value} for name, value in values.items()},
        "client_msg_id": message.key[:32],
    }
    if template.url:
        body["url"] = template.url
    return body
