"""What a provider tells later of a message that it took: it arrived, or the next channel is tried (C28)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backend.alerts import messages
from backend.alerts.ports import MessageChannel
from backend.kernel.db import UnitOfWork, unit_of_work

from .message_chain import tell_next
from .ports import Ports


@dataclass(frozen=True, slots=True)
class Receipt:
    """`ids`: by what the provider may have named the message to us; `error` None: it arrived."""

    ids: tuple[str, ...]
    error: str | None


async def take_receipts(
    ports: Ports, *, group_id: int, channel: MessageChannel, receipts: Sequence[Receipt]
) -> int:
    """Keep receipts of one group, each once; how many were of messages that waited for one."""
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        taken = [await _take(work, channel, each, at) for each in receipts]
    return sum(taken)


def receipt_address(ports: Ports, *, group_id: int) -> str:
    """Where Aliyun pushes the receipts of a group's SMS: they are unsigned, so the path is a secret."""
    return f"{ports.public_url}/callbacks/aliyun-sms/{group_id}/{_token(ports, group_id)}"


def is_receipt_token(ports: Ports, *, group_id: int, token: str) -> bool:
    """Whether `token` stands in the group's secret path."""
    return secrets.compare_digest(token.encode(), _token(ports, group_id).encode())


def _token(ports: Ports, group_id: int) -> str:
    return ports.box.fingerprint(f"sms-receipts/{group_id}").hex()[:40]


async def _take(work: UnitOfWork, channel: MessageChannel, receipt: Receipt, at: datetime) -> bool:
    for provider_id in receipt.ids:
        delivery = await messages.receipt(
            work, channel=channel, provider_id=provider_id, error=receipt.error, at=at
        )
        if delivery is not None:
            if receipt.error is not None and delivery.message_id is not None:
                await tell_next(work, message_id=delivery.message_id, after=channel, at=at)
            return True
    return False
