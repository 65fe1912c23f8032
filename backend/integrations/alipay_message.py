"""Messages of an Alipay life account (生活号) by a template: alipay.open.public.message.single.send.

An optional old channel: Alipay stopped updating its documents (reference/channels.md section 3.3 [mirror]);
the body is as its demo and SDK ports show it [own]. A chat text (message.custom.send) is not used: it is
only taken for a while after the user's own.
"""

from __future__ import annotations

import asyncio

from backend.alerts.ports import MessageChannel, Outgoing, TemplateRefused, Undeliverable
from backend.alerts.template_rules import Unfit, filled
from backend.integrations.alipay_config import AlipayConfig
from backend.integrations.alipay_wire import AlipayWire
from backend.kernel.clock import Clock
from backend.kernel.errors import Unavailable
from backend.topups.ports import ChannelRefused, ChannelUnavailable

METHOD = "alipay.open.public.message.single.send"
_COLOUR = "#333333"
# The template is wrong or not ours; other refusals are of the one user.
_OF_TEMPLATE = ("TEMPLATE", "template")


class AlipayMessenger:
    """Implements backend.alerts.ports.Notifier for ALIPAY. Blocking calls run in a thread."""

    def __init__(self, config: AlipayConfig, /, *, clock: Clock) -> None:
        self._wire = AlipayWire(config)
        self._clock = clock

    async def send(self, message: Outgoing, /) -> str:
        """Send to the Alipay user in `address`; returns Alipay's id of the message, or `key`.

        Raises Undeliverable (no template, not followed), TemplateRefused, Unavailable.
        """
        if message.template is None:
            raise Undeliverable(f"no Alipay template for {message.event}")
        try:
            values = filled(
                channel=MessageChannel.ALIPAY, template=message.template, params=message.params
            )
        except Unfit as unfit:
            raise Undeliverable(unfit.message) from None
        context: dict[str, object] = {
            name: {"value": value, "color": _COLOUR} for name, value in values.items()
        }
        context |= {"head_color": _COLOUR}
        if message.template.url:
            context |= {"url": message.template.url, "action_name": "查看"}
        content = {
            "to_user_id": message.address,
            "template": {"template_id": message.template.template_id, "context": context},
        }
        try:
            answer = await asyncio.to_thread(self._wire.call, METHOD, content, at=self._clock.now())
        except ChannelUnavailable as failure:
            raise Unavailable(failure.message) from None
        except ChannelRefused as refused:
            code = refused.code_at_channel or ""
            told = f"Alipay refused the message ({code})"
            if any(word in code for word in _OF_TEMPLATE):
                raise TemplateRefused(told) from None
            raise Undeliverable(told) from None
        return str(answer.get("msg_id") or message.key)
