"""A project's own system hears the news of its customers: signed, again until it takes them (A23)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.accounts.models import Account
from backend.alerts.operations import close_cases, open_case
from backend.alerts.webhook_rules import DELIVERY, SIGNATURE, TIMESTAMP, signature
from backend.alerts.webhooks import note_webhook, opened_webhook
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import DomainError
from backend.outbox.operations import emit

from .ports import Ports

TOPIC = "webhook.send"
_CASE = "WEBHOOK_SILENT"


async def tell_webhook(
    work: UnitOfWork,
    *,
    account: Account,
    event: str,
    key: str,
    params: Mapping[str, str],
    at: datetime,
) -> None:
    """Queue news for the project's receiver, once for each `key`."""
    news_id = f"{key}-{account.id.hex[-8:]}"
    body = {
        "id": news_id,
        "event": event,
        "account": account.no,
        "at": at.isoformat(),
        "values": dict(params),
    }
    payload = {
        "project_id": str(account.project_id),
        "id": news_id,
        "body": json.dumps(body, ensure_ascii=False),
    }
    await emit(work, topic=TOPIC, key=news_id, payload=payload, at=at)


async def send_webhook(ports: Ports, *, group_id: int, payload: Mapping[str, str]) -> None:
    """Post one piece of news, signed anew at each try. Raises Unavailable (again later)."""
    project_id = UUID(payload["project_id"])
    async with unit_of_work(group_id) as work:
        kept = await opened_webhook(work, box=ports.box, project_id=project_id)
    if kept is None:
        return
    body = payload["body"].encode()
    stamp = str(int(ports.clock.now().timestamp()))
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        DELIVERY: payload["id"],
        TIMESTAMP: stamp,
        SIGNATURE: signature(secret=kept.secret, timestamp=stamp, body=body),
    }
    try:
        await ports.webhook_sender.post(kept.url, body=body, headers=headers)
    except DomainError as failure:
        async with unit_of_work(group_id) as work:
            at = ports.clock.now()
            await note_webhook(work, project_id=project_id, error=failure.message, at=at)
        raise
    async with unit_of_work(group_id) as work:
        at = ports.clock.now()
        await note_webhook(work, project_id=project_id, error=None, at=at)
        note = "the webhook takes news again"
        await close_cases(work, kind=_CASE, subjects=[str(project_id)], note=note, at=at)


async def webhook_given_up(
    work: UnitOfWork, *, payload: Mapping[str, str], error: str, at: datetime
) -> None:
    """The receiver took none of many tries: a person must know what it missed."""
    await open_case(
        work,
        project_id=UUID(payload["project_id"]),
        kind=_CASE,
        subject=payload["project_id"],
        detail={"reason": error, "firstMissed": payload["id"]},
        at=at,
    )
