"""What journeys need from outside, chosen once by backend.bootstrap and never changed after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backend.alerts.ports import MessageChannel, Notifier
from backend.kernel.clock import Clock
from backend.kernel.secrets import SecretBox
from backend.tenancy.queries import Credential
from backend.topups.ports import PaymentChannel


@dataclass(frozen=True, slots=True)
class Ports:
    """Clock, secrets and adapters. `payment_channel(group_id, credential)` and
    `notifier(channel, credential)` give the adapter of one account at a provider."""

    clock: Clock
    box: SecretBox
    public_url: str
    payment_channel: Callable[[int, Credential], PaymentChannel]
    notifier: Callable[[MessageChannel, Credential], Notifier]
