"""A pay link for a bound account: a random token that pays and tells nothing else (channels.md 6.7)."""

from __future__ import annotations

from uuid import UUID

from backend.accounts.queries import is_bound
from backend.journeys.ports import Ports
from backend.kernel.db import unit_of_work
from backend.kernel.ids import token
from backend.kernel.money import Money
from backend.kernel.secrets import digest
from backend.metering.queries import live_assignment_of_account, meter_by_id
from backend.tenancy.queries import group_name
from backend.topups.operations import create_link
from bots.effects import EffectFailed, Outcome, PayLink, Refusal


async def make_pay_link(
    ports: Ports, *, group_id: int, customer_id: UUID, account_id: UUID, amount: Money | None
) -> Outcome:
    """A link that lives seven days; refused for an account that is not bound or cannot be sold to."""
    async with unit_of_work(group_id) as work:
        if not await is_bound(work, customer_id=customer_id, account_id=account_id):
            return EffectFailed(Refusal.NOT_FOUND)
        assignment = await live_assignment_of_account(work, account_id=account_id)
        if assignment is None:
            return EffectFailed(Refusal.UNAVAILABLE)
        meter = await meter_by_id(work, meter_id=assignment.meter_id)
        if meter.selling_stopped_at is not None:
            return EffectFailed(Refusal.SELLING_STOPPED)
        code, _ = await group_name(work)
        link = f"{code}.{token()}"
        await create_link(
            work,
            token_digest=digest(link),
            account_id=account_id,
            customer_id=customer_id,
            amount_fen=amount.fen if amount else None,
            at=ports.clock.now(),
        )
    return PayLink(f"{ports.public_url}/p/{link}")
