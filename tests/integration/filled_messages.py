"""A group with a template, terms of its own, a webhook, and news that is on its way."""

from __future__ import annotations

from backend.alerts.message_rules import MessageTerms
from backend.alerts.ports import MessageChannel
from backend.alerts.template_rules import MessageTemplate
from backend.alerts.templates import Slot, save_template
from backend.alerts.terms import set_message_terms
from backend.alerts.webhooks import set_webhook
from backend.journeys.news import tell_customers
from backend.kernel.db import unit_of_work

from .world import APP_ID, BOX, World

SECRET = "a secret of sixteen and more"


async def fill_messages(world: World) -> None:
    """Set up everything that a message needs, and write one to whoever is bound."""
    at, scope = world.clock.now(), world.scope
    slot = Slot("low_1", MessageChannel.WECHAT, APP_ID)
    template = MessageTemplate("T-LOW", {"thing1": "account", "amount2": "amount"})
    async with unit_of_work(world.group_id) as work:
        await save_template(work, scope=scope, slot=slot, template=template, at=at)
        await set_message_terms(work, scope=scope, terms=MessageTerms(), at=at)
        await set_webhook(
            work,
            scope=scope,
            box=BOX,
            project_id=world.project.id,
            url="https://example.com/news",
            secret=SECRET,
            local=False,
            at=at,
        )
        await tell_customers(
            work,
            account_id=world.account.id,
            event="low_1",
            key="filled-low",
            params={"amount": "19.00", "days": "3", "time": "11-22 12:00"},
            at=at,
        )
