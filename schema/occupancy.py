"""Life of an account: opened with all that belongs to it, moved to another room, closed (A13)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.accounts import closings as rows
from backend.accounts.closings import Closing as ClosingRow
from backend.accounts.closings import ClosingState
from backend.journeys import closing as journey
from backend.journeys.opening import FirstCredit, NewHousehold, OpenedMeter, open_household
from backend.journeys.takedown import move_account
from backend.kernel.db import UnitOfWork
from backend.kernel.money import ZERO, Money
from backend.metering.takedowns import takedowns_of_account
from backend.tenancy.rules import Permission

from .accounts import Account, load_account
from .audit import KeyValue, pairs
from .commands import ThresholdsInput, thresholds_by_name
from .context import Info
from .nodes import Node
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of
from .takedowns import Takedown, ask_of, takedown_of

strawberry.enum(
    ClosingState,
    description="METERS are taken down; REFUNDS are on their way; CLOSED; CANCELLED.",
)


@strawberry.type(description="How an account ends.")
class Closing(Node):
    """销户单."""

    key: strawberry.Private[UUID]
    account: strawberry.ID
    state: ClosingState
    cut: bool = strawberry.field(description="Relays are opened, and stay so.")
    reason: str
    requested_by: str
    started_at: datetime
    fraction: Money = strawberry.field(description="What was below a fen (C2).")
    owing: Money = strawberry.field(description="What stays in arrears.")
    statement: list[KeyValue] = strawberry.field(
        description="Once closed: opening + in - out = closing, and each line, in yuan."
    )
    finished_at: datetime | None
    outcome: str | None = strawberry.field(description="How it ended, or why it waits.")


@strawberry.type(description="A household on its way to another room.")
class MovedAccount:
    """转户."""

    account: strawberry.ID
    takedowns: list[Takedown] = strawberry.field(description="One for each of its meters.")


@strawberry.type(description="What changes of an account are under way, or were.")
class AccountChanges:
    """变更."""

    closing: Closing | None = strawberry.field(description="The one under way.")
    takedowns: list[Takedown] = strawberry.field(description="Of its meters, newest first.")


@strawberry.input(description="A meter that is to serve, and what it is to warn at.")
class HouseholdMeterInput:
    """开户挂表."""

    meter: strawberry.ID
    thresholds: ThresholdsInput | None = None


@strawberry.input(
    description="A meter of the old room, and the one of the new room that takes over."
)
class MeterMoveInput:
    """转户换表."""

    meter: strawberry.ID
    to: strawberry.ID


ClosingResult = Annotated[Closing | AnyProblem, strawberry.union("ClosingResult")]
OpenHouseholdResult = Annotated[Account | AnyProblem, strawberry.union("OpenHouseholdResult")]
MoveAccountResult = Annotated[MovedAccount | AnyProblem, strawberry.union("MoveAccountResult")]


def closing_of(row: ClosingRow) -> Closing:
    """A closing as the schema shows it."""
    return Closing(
        id=ref("Closing", row.id),
        key=row.id,
        account=ref("Account", row.account_id),
        state=row.state,
        cut=row.cut,
        reason=row.reason,
        requested_by=row.operator.name,
        started_at=row.started_at,
        fraction=row.fraction,
        owing=row.owing,
        statement=pairs(row.statement or {}),
        finished_at=row.finished_at,
        outcome=row.outcome,
    )


async def load_closing(work: UnitOfWork, info: Info, closing_id: UUID) -> Closing:
    """One closing by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return closing_of(await rows.closing(work, scope=scope, closing_id=closing_id))


def _meters(given: list[HouseholdMeterInput]) -> tuple[OpenedMeter, ...]:
    return tuple(
        OpenedMeter(uuid_of(each.meter, "Meter"), thresholds_by_name(each.thresholds))
        for each in given
    )


@strawberry.type
class OccupancyQueries:
    """Reads."""

    @field(description="Takedowns and the closing of an account.")
    async def account_changes(self, info: Info, account: strawberry.ID) -> AccountChanges:
        """By an account. Raises NotFound."""
        async with info.context.work() as work:
            found = await load_account(work, info, uuid_of(account, "Account"))
            info.context.caller().require(Permission.METER_READ, found.project_key)
            under_way = await rows.closing_of_account(work, account_id=found.key)
            taken = await takedowns_of_account(work, account_id=found.key)
        return AccountChanges(
            closing=None if under_way is None else closing_of(under_way),
            takedowns=[takedown_of(row) for row in taken],
        )


@strawberry.type
class OccupancyMutations:
    """Writes."""

    @mutation(Permission.ACCOUNT_WRITE)
    async def open_household(
        self,
        info: Info,
        area: strawberry.ID,
        no: str,
        name: str,
        phone: str,
        meters: list[HouseholdMeterInput],
        idempotency_key: str,
        grant: Money = ZERO,
        cash: Money = ZERO,
    ) -> OpenHouseholdResult:
        """Open an account with its meters, their thresholds, and the first credit."""
        context, models = info.context, info.context.ports.meter_models
        credit, place = FirstCredit(grant, cash), uuid_of(area, "Area")
        new = NewHousehold(place, no, name, phone, _meters(meters), credit)
        scope, key = context.caller(), idempotency_key
        row = await open_household(
            scope=scope, new=new, idempotency_key=key, models=models, at=context.now
        )
        async with context.work() as work:
            return await load_account(work, info, row.id)

    @mutation(Permission.ACCOUNT_WRITE)
    async def move_account(
        self,
        info: Info,
        account: strawberry.ID,
        area: strawberry.ID,
        meters: list[MeterMoveInput],
        reason: str,
        idempotency_key: str,
        cut: bool = True,
    ) -> MoveAccountResult:
        """Move a household with its money and customers; without meters only its place changes."""
        to = {uuid_of(each.meter, "Meter"): uuid_of(each.to, "Meter") for each in meters}
        taken = await move_account(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            area_id=uuid_of(area, "Area"),
            meters_to=to,
            cut=cut,
            ask=ask_of(info, reason, idempotency_key),
        )
        return MovedAccount(account=account, takedowns=[takedown_of(row) for row in taken])

    @mutation(Permission.ACCOUNT_CLOSE)
    async def close_account(
        self,
        info: Info,
        account: strawberry.ID,
        reason: str,
        idempotency_key: str,
        cut: bool = True,
    ) -> ClosingResult:
        """Close an account: meters' last word, final bill, money back by its lots."""
        row = await journey.close_account(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            cut=cut,
            ask=ask_of(info, reason, idempotency_key),
        )
        return closing_of(row)

    @mutation(Permission.ACCOUNT_CLOSE)
    async def resume_closing(self, info: Info, closing: strawberry.ID) -> ClosingResult:
        """Go on now; refunds that failed are asked for anew."""
        scope, at = info.context.caller(), info.context.now
        key = uuid_of(closing, "Closing")
        return closing_of(await journey.resume_closing(scope=scope, closing_id=key, at=at))

    @mutation(Permission.ACCOUNT_CLOSE)
    async def cancel_closing(self, info: Info, closing: strawberry.ID, note: str) -> ClosingResult:
        """The account goes on."""
        row = await journey.cancel_closing(
            scope=info.context.caller(),
            closing_id=uuid_of(closing, "Closing"),
            note=note,
            models=info.context.ports.meter_models,
            at=info.context.now,
        )
        return closing_of(row)
