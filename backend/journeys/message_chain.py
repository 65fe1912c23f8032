"""Whom news of an account reaches: by WeChat, then Alipay, then SMS to the registered phone (C28)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts.identities import Identity, bound_identities
from backend.accounts.models import Account
from backend.accounts.queries import account_by_id
from backend.alerts import messages
from backend.alerts.message_rules import MessageTerms, held_until
from backend.alerts.messages import Message
from backend.alerts.operations import open_case, queue_delivery
from backend.alerts.ports import MessageChannel
from backend.alerts.texts import text
from backend.kernel.db import UnitOfWork

_ORDER = tuple(MessageChannel)
# Whoever is not reached with these is switched off without a word, or never: a person must look.
_MUST_REACH = frozenset({"low_2", "in_arrears", "cut"})


@dataclass(frozen=True, slots=True)
class Route:
    """A channel and the address there; `app_id`: the official account or app that knows it."""

    channel: MessageChannel
    address: str
    app_id: str
    customer_id: UUID | None


@dataclass(frozen=True, slots=True)
class Person:
    """One who is told: the ways in the order of trying. `id` None: nobody is bound, the phone is all."""

    id: UUID | None
    routes: tuple[Route, ...]


async def people(work: UnitOfWork, *, account: Account, sms: bool) -> list[Person]:
    """Everybody bound to the account, each by what he has bound; SMS last, when the group can send it."""
    persons: dict[UUID, list[Identity]] = {}
    for identity in await bound_identities(work, account_id=account.id):
        persons.setdefault(identity.person, []).append(identity)
    phone = (
        (Route(MessageChannel.SMS, account.phone, "", None),)
        if sms and account.phone and account.closed_at is None
        else ()
    )
    if not persons:
        return [Person(None, phone)] if phone else []
    return [Person(id_, (*_routes(held), *phone)) for id_, held in persons.items()]


async def tell_first(
    work: UnitOfWork, *, told: Message, person: Person, account: Account, terms: MessageTerms
) -> None:
    """Queue the first try of a new message."""
    await _queue(work, told, account, person.routes, terms, told.created_at)


async def tell_next(
    work: UnitOfWork, *, message_id: UUID, after: MessageChannel, at: datetime
) -> MessageChannel | None:
    """Queue the try that follows one that ended without success; by which channel, None: none is left. Of
    news that must not be missed a case says so then."""
    told = await messages.message(work, message_id=message_id)
    account = await account_by_id(work, account_id=told.account_id)
    base = await messages.footing(work, project_id=told.project_id, event=told.event)
    left: Sequence[Route] = ()
    for person in await people(work, account=account, sms=base.sms):
        if person.id == told.customer_id:
            place = _ORDER.index(after)
            left = [each for each in person.routes if _ORDER.index(each.channel) > place]
    queued = await _queue(work, told, account, left, base.terms, at)
    if queued is None and told.event in _MUST_REACH:
        await open_case(
            work,
            project_id=told.project_id,
            kind="CUSTOMER_UNREACHED",
            subject=str(told.account_id),
            detail={"event": told.event, "lastChannel": str(after), "message": str(told.id)},
            at=at,
        )
    return queued


async def _queue(
    work: UnitOfWork,
    told: Message,
    account: Account,
    routes: Sequence[Route],
    terms: MessageTerms,
    at: datetime,
) -> MessageChannel | None:
    if not routes:
        return None
    route = routes[0]
    # All who are bound share the registered phone: it hears each news once.
    shared = route.customer_id is None
    key = f"{told.key[:-8]}{account.id.hex[-8:]}" if shared else told.key
    await queue_delivery(
        work,
        channel=route.channel,
        event=told.event,
        key=key,
        customer_id=route.customer_id,
        content={
            "address": route.address,
            "app_id": route.app_id,
            "project_id": str(told.project_id),
            "text": text(told.event, **told.params),
            **{f"param_{name}": value for name, value in told.params.items()},
        },
        at=at,
        message_id=told.id,
        held_until=held_until(terms.quiet, event=told.event, at=at),
    )
    return route.channel


def _routes(held: Sequence[Identity]) -> list[Route]:
    by_channel = {each.channel: each for each in reversed(held)}
    return [
        Route(channel, found.external_id, found.app_id, found.customer_id)
        for channel in _ORDER
        if (found := by_channel.get(channel)) is not None
    ]
