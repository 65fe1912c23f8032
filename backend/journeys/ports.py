"""What journeys need from outside, chosen once by backend.bootstrap and never changed after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from backend.alerts.ports import MessageChannel, Notifier, WebhookSender
from backend.kernel.clock import Clock
from backend.kernel.errors import DomainError
from backend.kernel.secrets import SecretBox
from backend.metering.rules import MeterModel
from backend.tenancy.queries import Credential
from backend.topups.ports import PaymentChannel


class LoginRefused(DomainError):
    """The code is wrong, used or old, or the visitor is a snapshot without a real id."""

    code = "LOGIN_REFUSED"


class VisitorLogin(Protocol):
    """Finds out who opened our page inside an app: WeChat (of one official account) or Alipay (of the
    app that collects)."""

    def authorize_url(self, *, redirect_uri: str, state: str) -> str:
        """Where to send the browser; it comes back to `redirect_uri` with a code and `state`."""
        ...

    async def openid(self, code: str, /) -> str:
        """The visitor's id behind a single-use code. Raises LoginRefused, Unavailable."""
        ...


class MenuPublisher(Protocol):
    """Puts a menu on one official account."""

    async def publish_menu(self, menu: Mapping[str, Any]) -> None:
        """Replace the account's menu. Raises DomainError (refused), Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Clock, secrets and adapters. `payment_channel(group_id, credential)`,
    `notifier(channel, credential)`, `visitor_login(credential)`
    and `menu_publisher(credential)` give the adapter of one account
    at a provider. `local`: a sandbox, in which webhooks may be http and in private networks.
    `meter_models` are the models that have a profile, by name."""

    clock: Clock
    box: SecretBox
    public_url: str
    payment_channel: Callable[[int, Credential], PaymentChannel]
    notifier: Callable[[MessageChannel, Credential], Notifier]
    visitor_login: Callable[[Credential], VisitorLogin]
    menu_publisher: Callable[[Credential], MenuPublisher]
    webhook_sender: WebhookSender
    local: bool = False
    meter_models: Mapping[str, MeterModel] = field(default_factory=dict)
