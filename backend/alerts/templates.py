"""The groups' templates of messages, by event and channel; each is checked before it is kept (A23)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backend.audit.operations import record
from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import InvalidInput, NotFound
from backend.kernel.scope import Scope
from backend.tenancy.rules import Permission

from .ports import MessageChannel
from .template_rules import MessageTemplate, check_template

_KEEP = (
    "INSERT INTO alerts_template (group_id, event, channel, app_id, template_id, sign_name, url,"
    " fields, set_by, set_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    " ON CONFLICT (group_id, event, channel, app_id) DO UPDATE SET"
    " template_id = EXCLUDED.template_id, sign_name = EXCLUDED.sign_name, url = EXCLUDED.url,"
    " fields = EXCLUDED.fields, set_by = EXCLUDED.set_by, set_at = EXCLUDED.set_at"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a template belongs; `app_id`: the official account that owns it, "" at other channels."""

    event: str
    channel: MessageChannel
    app_id: str = ""


@dataclass(frozen=True, slots=True)
class KeptTemplate:
    """A template at its place, and who put it there."""

    slot: Slot
    template: MessageTemplate
    set_by: str
    set_at: datetime


async def template_for(work: UnitOfWork, *, slot: Slot) -> MessageTemplate | None:
    """The group's template for a message; None: it has none there."""
    row = await _row(work, slot)
    return None if row is None else _template(row)


async def templates(work: UnitOfWork, *, scope: Scope) -> list[KeptTemplate]:
    """All of the group's, by event and channel. Raises Forbidden."""
    scope.require(Permission.MESSAGE_READ)
    rows = await work.fetch(
        "SELECT * FROM alerts_template WHERE group_id = $1 ORDER BY event, channel, app_id",
        work.group_id,
    )
    return [_kept(row) for row in rows]


async def save_template(
    work: UnitOfWork, *, scope: Scope, slot: Slot, template: MessageTemplate, at: datetime
) -> KeptTemplate:
    """Put a template in its place. Raises Forbidden, InvalidInput that names the field that does not fit."""
    scope.require(Permission.MESSAGE_WRITE)
    if (slot.channel is MessageChannel.WECHAT) != bool(slot.app_id):
        raise InvalidInput("a WeChat template belongs to an official account", field="appId")
    check_template(channel=slot.channel, event=slot.event, template=template)
    before = await template_for(work, slot=slot)
    await work.execute(
        _KEEP,
        work.group_id,
        slot.event,
        slot.channel,
        slot.app_id,
        template.template_id,
        template.sign_name,
        template.url,
        dict(template.fields),
        scope.actor.name,
        at,
    )
    await _note(work, scope, "message:template:set", slot, before, template, at)
    return KeptTemplate(slot, template, scope.actor.name, at)


async def remove_template(
    work: UnitOfWork, *, scope: Scope, slot: Slot, at: datetime
) -> KeptTemplate:
    """Take a template away; returns it. Raises Forbidden, NotFound."""
    scope.require(Permission.MESSAGE_WRITE)
    row = await _row(work, slot)
    if row is None:
        raise NotFound("no such template")
    await work.execute(
        "DELETE FROM alerts_template"
        " WHERE group_id = $1 AND event = $2 AND channel = $3 AND app_id = $4",
        work.group_id,
        slot.event,
        slot.channel,
        slot.app_id,
    )
    await _note(work, scope, "message:template:remove", slot, _template(row), None, at)
    return _kept(row)


async def _row(work: UnitOfWork, slot: Slot) -> Row | None:
    return await work.fetchrow(
        "SELECT * FROM alerts_template"
        " WHERE group_id = $1 AND event = $2 AND channel = $3 AND app_id = $4",
        work.group_id,
        slot.event,
        slot.channel,
        slot.app_id,
    )


async def _note(
    work: UnitOfWork,
    scope: Scope,
    action: str,
    slot: Slot,
    before: MessageTemplate | None,
    after: MessageTemplate | None,
    at: datetime,
) -> None:
    await record(
        work,
        actor=scope.actor,
        action=action,
        subject=f"{slot.event} {slot.channel} {slot.app_id}".strip(),
        at=at,
        before=None if before is None else _told(before),
        after=None if after is None else _told(after),
    )


def _told(template: MessageTemplate) -> dict[str, str]:
    return {
        "template": template.template_id,
        "signName": template.sign_name,
        "url": template.url,
        **{f"field {name}": param for name, param in template.fields.items()},
    }


def _template(row: Row) -> MessageTemplate:
    return MessageTemplate(row["template_id"], row["fields"], row["sign_name"], row["url"])


def _kept(row: Row) -> KeptTemplate:
    slot = Slot(row["event"], MessageChannel(row["channel"]), row["app_id"])
    return KeptTemplate(slot, _template(row), row["set_by"], row["set_at"])
