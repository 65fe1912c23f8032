"""What messages need from outside: a notifier per channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backend.kernel.errors import DomainError


class MessageChannel(StrEnum):
    """By what a message travels."""

    WECHAT = "WECHAT"
    SMS = "SMS"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to one address.

    `address` is an openid or a phone number; `event` names the kind of news (`topup_credited`,
    `bind_code`); `text` is what a person reads (WeChat); `params` are the template's variables (SMS);
    `key` makes a repeat recognisable at the provider (SMS OutId).
    """

    address: str
    event: str
    text: str
    params: Mapping[str, str]
    key: str


class Undeliverable(DomainError):
    """The provider refused for good: another channel may be tried, this one must not be repeated."""

    code = "UNDELIVERABLE"


class Notifier(Protocol):
    """Sends one message by one channel of one group."""

    async def send(self, message: Outgoing, /) -> str:
        """Hand the message to the provider; returns the provider's id of it.

        Raises Undeliverable (final) or backend.kernel.errors.Unavailable (try again later).
        """
        ...
