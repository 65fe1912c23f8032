"""Accounts (户): who buys, with their meters and money read by a few statements a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.accounts import operations, queries
from backend.accounts.models import Account as AccountRow
from backend.accounts.rules import mask_phone
from backend.kernel.clock import Period
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger.queries import owed_by_kind
from backend.ledger.rules import KEPT, AccountKind
from backend.metering.queries import MeterState, meters_of_accounts
from backend.tenancy.rules import Permission

from .charges import AccountFigures, figures_of
from .context import Info
from .forecasts import AccountForecast, forecast_of
from .loaders import figures_for, forecast_for, readings_of, topups_of
from .lookahead import selected
from .meters import Meter, Reading, meter_of_state, reading_of
from .nodes import Node
from .paging import Connection, cut, key_of, page, size, uuid_key
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of
from .topups import TopUp, topup_of


@strawberry.type(description="Where the account's prepaid money is.")
class AccountLedger:
    """Three places, apart (C10)."""

    purse: Money = strawberry.field(
        description="Paid, and not on its way to a meter; of the purse that it draws from."
    )
    in_transit: Money = strawberry.field(description="On its way to a meter.")
    at_meters: Money = strawberry.field(description="Sold to the meters that serve it now.")


@strawberry.type(description="A household or shop that buys.")
class Account(Node):
    """户. `place`, `meters` and `ledger` are read with the page, and only when asked for."""

    key: strawberry.Private[UUID]
    project_key: strawberry.Private[UUID]
    no: str
    name: str
    phone: str = strawberry.field(description="Masked: 138****5678.")
    opened_at: datetime
    closed_at: datetime | None
    shares_purse_of: strawberry.ID | None = strawberry.field(
        description="The account whose purse it draws from; null: its own."
    )
    place: str = strawberry.field(description="The path of its area.")
    meters: list[Meter]
    ledger: AccountLedger | None

    @field(description="Its money in the cloud: balance, not yet charged, available.")
    async def figures(self, info: Info) -> AccountFigures:
        """The three figures; those of several accounts are one statement. Raises Forbidden."""
        info.context.caller().require(Permission.TOPUP_READ, self.project_key)
        return figures_of(await figures_for(info.context, self.key))

    @field(description="How long its money lasts: its purse or one of its meters, what ends first.")
    async def forecast(self, info: Info) -> AccountForecast:
        """Days left and the hour of zero. Raises Forbidden."""
        info.context.caller().require(Permission.TOPUP_READ, self.project_key)
        return forecast_of(await forecast_for(info.context, self.key))

    @field(description="Its top-ups, newest first.")
    async def top_ups(
        self, info: Info, first: int = 20, after: str | None = None
    ) -> Connection[TopUp]:
        """A page; the pages of several accounts are read by one statement."""
        info.context.caller().require(Permission.TOPUP_READ, self.project_key)
        views = await topups_of(info.context, self.key, uuid_key(after), size(first) + 1)
        rows, more = cut(views, first)
        return page([topup_of(view) for view in rows], more=more, key=lambda node: str(node.key))

    @field(description="Readings of a meter that serves it, newest first.")
    async def readings(
        self,
        info: Info,
        meter: strawberry.ID,
        start: Annotated[datetime, strawberry.argument(name="from")],
        end: Annotated[datetime, strawberry.argument(name="to")],
        first: int = 100,
    ) -> list[Reading]:
        """Readings of [from, to). Raises NotFound, InvalidInput, Forbidden."""
        info.context.caller().require(Permission.METER_READ, self.project_key)
        if end < start:
            raise InvalidInput("to is before from", field="to")
        pair, span = (self.key, uuid_of(meter, "Meter")), Period(start, end)
        found = await readings_of(info.context, pair, span, size(first))
        if found is None:
            raise NotFound("no such meter")
        return [reading_of(reading) for reading in found]


OpenAccountResult = Annotated[Account | AnyProblem, strawberry.union("OpenAccountResult")]


async def account_page(
    info: Info, *, project_id: UUID, first: int, after: str | None
) -> Connection[Account]:
    """Accounts of a project by number. Raises NotFound, Forbidden, InvalidInput."""
    wanted = selected(info, "edges", "node")
    async with info.context.work() as work:
        rows, more = cut(
            await queries.accounts_page(
                work,
                scope=info.context.caller(),
                project_id=project_id,
                after_no=key_of(after),
                limit=size(first) + 1,
            ),
            first,
        )
        nodes = await load_accounts(work, info, rows, wanted)
    return page(nodes, more=more, key=lambda node: node.no)


async def load_accounts(
    work: UnitOfWork, info: Info, rows: Sequence[AccountRow], wanted: frozenset[str]
) -> list[Account]:
    """Accounts with what is `wanted` of them: one statement each for places, meters and money.

    Raises Forbidden when the caller may not see the meters or the money of a project among them.
    """
    scope, ids = info.context.caller(), [row.id for row in rows]
    for row in rows:
        if "meters" in wanted:
            scope.require(Permission.METER_READ, row.project_id)
        if "ledger" in wanted:
            scope.require(Permission.TOPUP_READ, row.project_id)
    places: dict[UUID, str] = {}
    if "place" in wanted:
        places = await queries.area_paths(work, area_ids=list({row.area_id for row in rows}))
    meters: dict[UUID, list[MeterState]] = {}
    if wanted & {"meters", "ledger"}:
        meters = await meters_of_accounts(work, account_ids=ids)
    money: dict[tuple[AccountKind, UUID], Money] = {}
    if "ledger" in wanted:
        of_meters = [meter.id for served in meters.values() for meter in served]
        purses = [row.purse for row in rows]
        money = await owed_by_kind(work, kinds=list(KEPT), refs=[*ids, *purses, *of_meters])
    return [
        _account_of(row, places.get(row.area_id, ""), meters.get(row.id, []), money) for row in rows
    ]


def _account_of(
    row: AccountRow,
    place: str,
    meters: Sequence[MeterState],
    money: dict[tuple[AccountKind, UUID], Money],
) -> Account:
    def at_meters(kind: AccountKind) -> Money:
        return sum((money.get((kind, meter.id), ZERO) for meter in meters), start=ZERO)

    return Account(
        id=ref("Account", row.id),
        key=row.id,
        project_key=row.project_id,
        no=row.no,
        name=row.name,
        phone=mask_phone(row.phone),
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        shares_purse_of=(
            None if row.purse_account_id is None else ref("Account", row.purse_account_id)
        ),
        place=place,
        meters=[meter_of_state(meter) for meter in meters],
        ledger=AccountLedger(
            purse=money.get((AccountKind.PURSE, row.purse), ZERO),
            in_transit=at_meters(AccountKind.IN_TRANSIT),
            at_meters=at_meters(AccountKind.METER_WALLET),
        ),
    )


async def load_account(work: UnitOfWork, info: Info, account_id: UUID) -> Account:
    """One account by the operator's door. Raises NotFound, Forbidden."""
    row = await queries.account(work, scope=info.context.caller(), account_id=account_id)
    return (await load_accounts(work, info, [row], selected(info)))[0]


@strawberry.type
class AccountQueries:
    """Reads."""

    @field(description="One account, by its id or by its number (户号).")
    async def account(
        self, info: Info, id: strawberry.ID | None = None, no: str | None = None
    ) -> Account:
        """By id or number. Raises NotFound, InvalidInput unless just one is given."""
        if (id is None) == (no is None):
            raise InvalidInput("give the id or the number of the account")
        scope = info.context.caller()
        async with info.context.work() as work:
            if no is None:
                return await load_account(work, info, uuid_of(id or "", "Account"))
            row = await queries.account_by_no(work, scope=scope, no=no)
            return (await load_accounts(work, info, [row], selected(info)))[0]


@strawberry.type
class AccountMutations:
    """Writes."""

    @mutation(Permission.ACCOUNT_WRITE)
    async def open_account(
        self, info: Info, area: strawberry.ID, no: str, name: str, phone: str
    ) -> OpenAccountResult:
        """Open an account at a place (开户)."""
        scope, at = info.context.caller(), info.context.now
        where, given = uuid_of(area, "Area"), {"no": no, "name": name, "phone": phone}
        async with info.context.work() as work:
            place = await queries.area(work, scope=scope, area_id=where)
            row = await operations.open_account(
                work, scope=scope, project_id=place.project_id, area_id=place.id, at=at, **given
            )
            return (await load_accounts(work, info, [row], selected(info)))[0]
