"""Monthly grants: given when the month begins, used before paid money, ended with the month (C4)."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.audit.operations import record
from backend.charges import credit
from backend.kernel.clock import business_day
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger import operations as ledger
from backend.tenancy.rules import Permission

_AT_ONCE = 500


async def give_monthly_grants(*, group_id: int, at: datetime) -> int:
    """End the grants of the months before and give those of this month, in China's calendar; how many
    accounts. Doing it again gives nothing twice."""
    month = business_day(at).replace(day=1)
    async with unit_of_work(group_id) as work:
        due = await credit.grants_due(work, month=month, limit=_AT_ONCE)
        purse_of = await accounts.purses(work, account_ids=[each.account_id for each in due])
        for each in sorted(due, key=lambda each: purse_of[each.account_id].int):
            purse = purse_of[each.account_id]
            if each.before is not None:
                await ledger.end_grant(
                    work,
                    project_id=each.project_id,
                    account_id=purse,
                    source=_source(each.account_id, each.before),
                    at=at,
                )
            if each.amount > ZERO:
                await ledger.give_grant(
                    work,
                    project_id=each.project_id,
                    account_id=purse,
                    source=_source(each.account_id, month),
                    amount=each.amount,
                    at=at,
                )
            given = month if each.amount > ZERO else None
            await credit.note_granted(work, account_id=each.account_id, month=given)
    return len(due)


def _source(account_id: UUID, month: date) -> str:
    return f"grant:{account_id}:{month:%Y-%m}"


async def draw_emergency(*, scope: Scope, account_id: UUID, at: datetime) -> Money:
    """Let an account go below zero by the emergency credit of its class; how much. Raises NotFound,
    Forbidden, Conflict (drawn already, or the class has none)."""
    async with unit_of_work(scope.group_id) as work:
        found = await accounts.account(work, scope=scope, account_id=account_id)
        scope.require(Permission.CREDIT_WRITE, found.project_id)
        drawn = await credit.draw_emergency(work, account_id=found.purse, at=at)
        await record(
            work,
            actor=scope.actor,
            action="credit:emergency:draw",
            subject=str(account_id),
            at=at,
            project_id=found.project_id,
            after={"amount": str(drawn)},
        )
    return drawn


async def set_class(*, scope: Scope, account_id: UUID, class_id: UUID, at: datetime) -> None:
    """Put an account into a credit class of its project. Raises NotFound, Forbidden, Conflict (it pays
    from another account's purse, whose class counts)."""
    async with unit_of_work(scope.group_id) as work:
        found = await accounts.account(work, scope=scope, account_id=account_id)
        scope.require(Permission.CREDIT_WRITE, found.project_id)
        if found.purse != found.id:
            raise Conflict("it pays from another account's purse: that account's class counts")
        await credit.put_in_class(
            work,
            scope=scope,
            project_id=found.project_id,
            account_id=account_id,
            class_id=class_id,
            at=at,
        )
