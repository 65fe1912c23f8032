"""Send one queued message through its provider: commit, call, commit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.alerts.operations import mark_delivery
from backend.alerts.ports import MessageChannel, Outgoing, Undeliverable
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.tenancy import queries as tenancy

from .ports import Ports


async def deliver(ports: Ports, *, group_id: int, payload: Mapping[str, str]) -> bool:
    """Hand a message to its provider; False when the provider refused it for good.

    Raises Unavailable (try again later), NotFound (the group has no account at this provider yet).
    """
    channel = MessageChannel(payload["channel"])
    async with unit_of_work(group_id) as work:
        if channel is MessageChannel.WECHAT:
            credential = await tenancy.credential_by_key(
                work, box=ports.box, kind="WECHAT_OFFICIAL", key=payload["app_id"]
            )
        else:
            credential = await tenancy.credential(
                work, box=ports.box, kind="ALIYUN_SMS", project_id=None
            )
    message = Outgoing(
        address=payload["address"],
        event=payload["event"],
        text=payload["text"],
        params={
            name.removeprefix("param_"): value
            for name, value in payload.items()
            if name.startswith("param_")
        },
        key=payload["key"],
    )
    provider_id: str | None = None
    error: str | None = None
    try:
        provider_id = await ports.notifier(channel, credential).send(message)
    except Undeliverable as refused:
        error = refused.message
    async with unit_of_work(group_id) as work:
        await mark_delivery(
            work,
            delivery_id=UUID(payload["delivery_id"]),
            provider_id=provider_id,
            error=error,
            at=ports.clock.now(),
        )
    return error is None


async def given_up(
    work: UnitOfWork, *, payload: Mapping[str, str], error: str, at: datetime
) -> None:
    """Note that a message was tried for days and will not be tried again."""
    await mark_delivery(
        work,
        delivery_id=UUID(payload["delivery_id"]),
        provider_id=None,
        error=f"given up: {error}",
        at=at,
    )
