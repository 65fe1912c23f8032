"""What messages need from outside: a notifier per channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from backend.kernel.errors import DomainError, Unavailable

if TYPE_CHECKING:
    from .template_rules import MessageTemplate


class MessageChannel(StrEnum):
    """By what a message travels, in the order in which a person is tried (C28)."""

    WECHAT = "WECHAT"
    ALIPAY = "ALIPAY"
    SMS = "SMS"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to one address.

    `address` is an openid, an Alipay user's id or a phone number; `event` names the kind of news
    (`topup_credited`, `bind_code`); `text` is what a person reads (WeChat); `params` are the template's
    variables; `key` makes a repeat recognisable at the provider (SMS OutId). `template`: the group's own for
    this event; None: the account's. `tried_at`: it was handed over before and no answer came: who can, asks
    before it is sent again.
    """

    address: str
    event: str
    text: str
    params: Mapping[str, str]
    key: str
    template: MessageTemplate | None = None
    tried_at: datetime | None = None


class Undeliverable(DomainError):
    """The provider refused for good: another channel may be tried, this one must not be repeated."""

    code = "UNDELIVERABLE"


class TemplateRefused(Undeliverable):
    """The template or the signature is wrong, banned or missing: no message of this event can pass."""


class Limited(Unavailable):
    """Too many messages to this number today: not before tomorrow."""


class OutOfMoney(Unavailable):
    """The account at the provider has no money: an operator must act, then trying again is right."""


class Notifier(Protocol):
    """Sends one message by one channel of one group."""

    async def send(self, message: Outgoing, /) -> str:
        """Hand the message to the provider; returns the provider's id of it.

        Raises Undeliverable or TemplateRefused (final), Limited (not today), OutOfMoney or
        backend.kernel.errors.Unavailable (try again later).
        """
        ...


class WebhookSender(Protocol):
    """Posts to the address of a project's own system."""

    async def post(self, url: str, /, *, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises Unavailable: no answer, none of 2xx, or an address that may not be called."""
        ...
