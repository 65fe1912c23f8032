"""Send one queued message through its provider: commit, call, commit; refused for good, the next channel
is tried in that last commit (C28)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.alerts import messages
from backend.alerts.message_rules import CODES, LATEST, held_until, next_morning
from backend.alerts.messages import Delivery
from backend.alerts.operations import close_cases, mark_delivery, open_case
from backend.alerts.ports import (
    Limited,
    MessageChannel,
    Outgoing,
    OutOfMoney,
    TemplateRefused,
    Undeliverable,
)
from backend.alerts.templates import Slot, template_for
from backend.alerts.terms import message_terms, reserve_sms
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import DomainError, NotFound
from backend.tenancy import queries as tenancy
from backend.tenancy.queries import Credential

from .message_chain import tell_next
from .ports import Ports

_KINDS = {
    MessageChannel.WECHAT: "WECHAT_OFFICIAL",
    MessageChannel.ALIPAY: "ALIPAY",
    MessageChannel.SMS: "ALIYUN_SMS",
}
_NO_MONEY = "SMS_ACCOUNT_EMPTY"


@dataclass(frozen=True, slots=True)
class _Ready:
    """A try that may be made now."""

    delivery: Delivery
    credential: Credential
    message: Outgoing


async def deliver(ports: Ports, *, group_id: int, payload: Mapping[str, str]) -> datetime | None:
    """Hand a message to its provider, unless it was; returns when it wants to be tried again, None: never.

    Raises Unavailable (try again later), NotFound (a code, and the group has no account at this provider).
    """
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        ready = await _ready(ports, work, payload, at)
    if not isinstance(ready, _Ready):
        return ready
    channel = ready.delivery.channel
    provider_id: str | None = None
    refused: DomainError | None = None
    try:
        provider_id = await ports.notifier(channel, ready.credential).send(ready.message)
    except (Undeliverable, Limited, OutOfMoney) as refusal:
        refused = refusal
    at = ports.clock.now()
    async with unit_of_work(group_id) as work:
        if refused is None:
            await _sent(work, ready.delivery, provider_id, at)
            return None
        if isinstance(refused, Limited):
            return await _limited(work, ready.delivery, refused.message, at)
        detail = {"reason": refused.message}
        if isinstance(refused, TemplateRefused):
            subject = f"{channel} {ready.delivery.event}"
            await _case(work, payload, "MESSAGE_TEMPLATE", subject, detail, at)
        if isinstance(refused, OutOfMoney):
            await _case(work, payload, _NO_MONEY, str(channel), detail, at)
        else:
            await _refuse(work, ready.delivery, refused.message, at)
    if isinstance(refused, OutOfMoney):
        raise refused
    return None


async def given_up(
    work: UnitOfWork, *, payload: Mapping[str, str], error: str, at: datetime
) -> None:
    """Note that a message was tried for days at this channel and will not be tried there again."""
    delivery_id = UUID(payload["delivery_id"])
    waiting = await messages.delivery(work, delivery_id=delivery_id)
    await _refuse(work, waiting, f"given up: {error}", at)


async def _ready(
    ports: Ports, work: UnitOfWork, payload: Mapping[str, str], at: datetime
) -> _Ready | datetime | None:
    """What is needed to send; or until when it is held; or None: it has ended."""
    delivery = await messages.delivery(work, delivery_id=UUID(payload["delivery_id"]))
    if delivery.state != "QUEUED":
        return None
    terms = await message_terms(work)
    until = held_until(terms.quiet, event=delivery.event, at=at)
    if until is not None:
        await messages.hold(work, delivery_id=delivery.id, until=until, why=None)
        return until
    credential = await _credential(ports, work, delivery, payload)
    if credential is None:
        await _refuse(work, delivery, f"the group has no account at {delivery.channel}", at)
        return None
    address = payload["address"]
    if delivery.channel is MessageChannel.SMS and delivery.tried_at is None:
        over = await reserve_sms(
            work,
            delivery_id=delivery.id,
            event=delivery.event,
            address_digest=ports.box.fingerprint(f"sms/{work.group_id}/{address}"),
            limits=terms.limits,
            at=at,
        )
        if over is not None:
            await _over(work, delivery, payload, over, at)
            return None
    app_id = payload["app_id"] if delivery.channel is MessageChannel.WECHAT else ""
    outgoing = Outgoing(
        address=address,
        event=delivery.event,
        text=payload["text"],
        params={
            name.removeprefix("param_"): value
            for name, value in payload.items()
            if name.startswith("param_")
        },
        key=payload["key"],
        template=await template_for(work, slot=Slot(delivery.event, delivery.channel, app_id)),
        tried_at=delivery.tried_at,
    )
    return _Ready(delivery, credential, outgoing)


async def _credential(
    ports: Ports, work: UnitOfWork, delivery: Delivery, payload: Mapping[str, str]
) -> Credential | None:
    """The account that sends; None: there is none and another channel may do it. Raises NotFound when no
    other can: an operator may still set it up."""
    kind = _KINDS[delivery.channel]
    try:
        if delivery.channel is MessageChannel.WECHAT:
            return await tenancy.credential_by_key(
                work, box=ports.box, kind=kind, key=payload["app_id"]
            )
        project_id = None
        if delivery.channel is MessageChannel.ALIPAY:
            project_id = UUID(payload["project_id"])
        return await tenancy.credential(work, box=ports.box, kind=kind, project_id=project_id)
    except NotFound:
        if delivery.message_id is None:
            raise
        return None


async def _sent(
    work: UnitOfWork, delivery: Delivery, provider_id: str | None, at: datetime
) -> None:
    await mark_delivery(work, delivery_id=delivery.id, provider_id=provider_id, error=None, at=at)
    if delivery.channel is MessageChannel.SMS:
        note = "the account sends again"
        await close_cases(work, kind=_NO_MONEY, subjects=[str(delivery.channel)], note=note, at=at)


async def _refuse(work: UnitOfWork, delivery: Delivery, error: str, at: datetime) -> None:
    """End a try and begin the next one."""
    await mark_delivery(work, delivery_id=delivery.id, provider_id=None, error=error, at=at)
    if delivery.message_id is not None:
        await tell_next(work, message_id=delivery.message_id, after=delivery.channel, at=at)


async def _limited(work: UnitOfWork, delivery: Delivery, why: str, at: datetime) -> datetime | None:
    """The provider takes no more for this number today: tomorrow morning, on few mornings; a code ends."""
    if delivery.event in CODES or at >= delivery.created_at + LATEST:
        await _limit(work, delivery, why, at)
        return None
    morning = next_morning((await message_terms(work)).quiet, at=at)
    await messages.hold(work, delivery_id=delivery.id, until=morning, why=why)
    return morning


async def _limit(work: UnitOfWork, delivery: Delivery, why: str, at: datetime) -> None:
    await messages.limit(work, delivery_id=delivery.id, why=why)
    if delivery.message_id is not None:
        await tell_next(work, message_id=delivery.message_id, after=delivery.channel, at=at)


async def _over(
    work: UnitOfWork, delivery: Delivery, payload: Mapping[str, str], over: str, at: datetime
) -> None:
    """A limit of ours ends the try; when it is the group's own, a person must know."""
    await _limit(work, delivery, f"limit of SMS reached: {over}", at)
    if over == "group":
        detail = {"event": delivery.event, "wayOut": "see who sends so many, or raise the limit"}
        await _case(work, payload, "SMS_LIMIT", "group", detail, at)


async def _case(
    work: UnitOfWork,
    payload: Mapping[str, str],
    kind: str,
    subject: str,
    detail: Mapping[str, str],
    at: datetime,
) -> None:
    """A case of the whole group stands in the project whose message met it first."""
    given = payload.get("project_id")
    if given is None:
        projects = await tenancy.all_projects(work)
        project_id = projects[0].id
    else:
        project_id = UUID(given)
    await open_case(work, project_id=project_id, kind=kind, subject=subject, detail=detail, at=at)
