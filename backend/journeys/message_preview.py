"""What would this customer get: by which channels, in which words, held until when (A23). Nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts.models import Account
from backend.accounts.queries import account as account_of
from backend.accounts.rules import mask_phone
from backend.alerts.message_rules import held_until
from backend.alerts.messages import footing
from backend.alerts.ports import MessageChannel
from backend.alerts.template_rules import MessageTemplate, Unfit, filled, samples_of
from backend.alerts.templates import Slot, template_for
from backend.alerts.texts import text
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Forbidden
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .message_chain import Person, Route, people
from .news import china_instant


@dataclass(frozen=True, slots=True)
class Step:
    """One channel of a chain. `address` is masked; `text`: what goes by chat, when there is no template;
    `fault`: why the channel would not take it as things stand."""

    channel: MessageChannel
    address: str
    template: MessageTemplate | None
    values: Mapping[str, str]
    text: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Each person's chain in the order of trying; `held_until` None: it would go out now."""

    held_until: datetime | None
    chains: tuple[tuple[Step, ...], ...]


async def preview(
    work: UnitOfWork, *, scope: Scope, account_id: UUID, event: str, at: datetime
) -> Preview:
    """With sample values of the event. Raises NotFound, Forbidden, InvalidInput (no such event)."""
    account = await account_of(work, scope=scope, account_id=account_id)
    if not scope.may(Permission.MESSAGE_READ, account.project_id):
        raise Forbidden(f"this needs the permission {Permission.MESSAGE_READ}")
    params = {**samples_of(event), "account": account.name, "when": china_instant(at)}
    base = await footing(work, project_id=account.project_id, event=event)
    chains = [
        await _chain(work, account, person, event, params)
        for person in await people(work, account=account, sms=base.sms)
    ]
    return Preview(held_until(base.terms.quiet, event=event, at=at), tuple(chains))


async def _chain(
    work: UnitOfWork, account: Account, person: Person, event: str, params: Mapping[str, str]
) -> tuple[Step, ...]:
    return tuple([await _step(work, route, event, params) for route in person.routes])


async def _step(work: UnitOfWork, route: Route, event: str, params: Mapping[str, str]) -> Step:
    app_id = route.app_id if route.channel is MessageChannel.WECHAT else ""
    template = await template_for(work, slot=Slot(event, route.channel, app_id))
    values: Mapping[str, str] = {}
    fault: str | None = None
    if template is not None:
        try:
            values = filled(channel=route.channel, template=template, params=params)
        except Unfit as unfit:
            fault = unfit.message
    elif route.channel is not MessageChannel.WECHAT:
        fault = "the group has no template for this event here"
    return Step(
        route.channel,
        _masked(route),
        template,
        values,
        text(event, **params),
        fault,
    )


def _masked(route: Route) -> str:
    if route.channel is MessageChannel.SMS:
        return mask_phone(route.address)
    return f"{route.address[:4]}…{route.address[-2:]}"
