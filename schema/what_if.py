"""What a draft price would have cost whom (电价试算): asked before anybody approves it."""

from __future__ import annotations

from datetime import date

import strawberry

from backend.journeys import what_if as journey
from backend.kernel.money import Money

from .context import Info
from .paging import size
from .resolvers import field
from .scalars import DecimalText, ref, thousandths, uuid_of


@strawberry.type(description="An account's month by the price that held, and by the draft.")
class AccountWhatIf:
    """一户试算."""

    account: strawberry.ID
    no: str
    name: str
    used: DecimalText = strawberry.field(description="kWh or m³ of the month.")
    before: Money
    after: Money
    more: Money = strawberry.field(description="Negative when it would have paid less.")
    doubtful: bool = strawberry.field(
        description="Some of the use was read after a pause, or a register went back."
    )


@strawberry.type(
    description="A version run over a month, for the accounts of its tariff or of a proposed change."
)
class TariffWhatIf:
    """电价试算."""

    version: strawberry.ID
    month: date
    counted: int
    pay_more: int
    pay_less: int
    unpriced: int = strawberry.field(description="Accounts that had no price in that month.")
    before: Money
    after: Money
    accounts: list[AccountWhatIf] = strawberry.field(description="Who would pay more comes first.")


def _account_of(found: journey.AccountCompared) -> AccountWhatIf:
    return AccountWhatIf(
        account=ref("Account", found.account_id),
        no=found.no,
        name=found.name,
        used=thousandths(found.used),
        before=Money(found.compared.before),
        after=Money(found.compared.after),
        more=Money(found.compared.more),
        doubtful=found.doubtful,
    )


def _what_if_of(found: journey.WhatIf) -> TariffWhatIf:
    return TariffWhatIf(
        version=ref("TariffVersion", found.version.id),
        month=found.month,
        counted=found.counted,
        pay_more=found.pay_more,
        pay_less=found.pay_less,
        unpriced=found.unpriced,
        before=Money(found.before),
        after=Money(found.after),
        accounts=[_account_of(each) for each in found.accounts],
    )


@strawberry.type
class WhatIfQueries:
    """Reads."""

    @field(
        description="A version, approved or not, run over a month that is over (by default the last"
        " one): who would have paid how much more. Nothing is charged."
    )
    async def tariff_what_if(
        self, info: Info, version: strawberry.ID, month: date | None = None, first: int = 50
    ) -> TariffWhatIf:
        """Raises NotFound, Forbidden, InvalidInput."""
        context, wanted = info.context, uuid_of(version, "TariffVersion")
        found = await journey.what_if(
            scope=context.caller(),
            version_id=wanted,
            month=month,
            first=size(first),
            at=context.now,
        )
        return _what_if_of(found)

    @field(
        description="A proposed change run over a month that is over: who would have paid how much more."
    )
    async def tariff_change_what_if(
        self, info: Info, change: strawberry.ID, month: date | None = None, first: int = 50
    ) -> TariffWhatIf:
        """Raises NotFound, Forbidden, InvalidInput."""
        context, wanted = info.context, uuid_of(change, "TariffChange")
        found = await journey.what_if_changed(
            scope=context.caller(),
            change_id=wanted,
            month=month,
            first=size(first),
            at=context.now,
        )
        return _what_if_of(found)
