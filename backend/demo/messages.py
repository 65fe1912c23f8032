"""The demo's SMS templates: what must be heard is told by SMS where WeChat and Alipay cannot."""

from __future__ import annotations

from datetime import datetime

from backend.alerts.ports import MessageChannel
from backend.alerts.template_rules import MessageTemplate
from backend.alerts.templates import Slot, save_template
from backend.kernel.db import UnitOfWork
from backend.kernel.scope import Scope

SIGN_NAME = "水电演示"
# By event: the template's code at the provider, and its text as approved there.
SMS_TEXTS = {
    "low_2": ("SMS_DEMO_LOW", "${account}余额仅剩${amount}元，用完后将停供，请尽快充值。"),
    "cut": ("SMS_DEMO_CUT", "${account}因${why}已于${time}停供，${back}。"),
    "restored": ("SMS_DEMO_BACK", "${account}已于${time}恢复供应。"),
}
_FIELDS = {
    "low_2": ("account", "amount"),
    "cut": ("account", "why", "time", "back"),
    "restored": ("account", "time"),
}


async def sms_templates(work: UnitOfWork, *, scope: Scope, at: datetime) -> None:
    """Keep the group's templates, each field under the name that the sentence has for it."""
    for event, (code, _) in SMS_TEXTS.items():
        fields = {name: name for name in _FIELDS[event]}
        template = MessageTemplate(code, fields, SIGN_NAME)
        slot = Slot(event, MessageChannel.SMS)
        await save_template(work, scope=scope, slot=slot, template=template, at=at)
