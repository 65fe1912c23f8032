"""Whom a meter serves now, as a list of meters shows it."""

from __future__ import annotations

from uuid import UUID

import strawberry

from backend.journeys.meter_choice import Served
from backend.kernel.money import Money
from backend.metering.readings import Reading
from backend.tenancy.rules import Permission

from .context import Context
from .loaders import figures_for, served_of
from .scalars import ref


@strawberry.type(description="The account that a meter serves now.")
class MeterAccount:
    """用户."""

    account: strawberry.ID
    no: str
    name: str
    place: str = strawberry.field(description="The path of its area.")


async def account_as_shown(context: Context, meter_id: UUID) -> MeterAccount | None:
    """Whom a meter serves; None for nobody. Raises Forbidden."""
    found = await served_of(context, meter_id)
    if found is None:
        return None
    context.caller().require(Permission.ACCOUNT_READ, found.project_id)
    return account_of(found)


def account_of(found: Served) -> MeterAccount:
    """It, as the schema shows it."""
    return MeterAccount(
        account=ref("Account", found.account_id), no=found.no, name=found.name, place=found.place
    )


async def money_left(context: Context, meter_id: UUID, latest: Reading | None) -> Money | None:
    """What is left of a meter's money: in itself, or of its account in the cloud; None where neither is
    known. Raises Forbidden."""
    found = await served_of(context, meter_id)
    if found is None or not found.cloud:
        return (
            None if latest is None or latest.remaining_hao is None else Money(latest.remaining_hao)
        )
    context.caller().require(Permission.TOPUP_READ, found.project_id)
    return (await figures_for(context, found.account_id)).available
