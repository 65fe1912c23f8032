"""A meter begins to serve an account, from what the meter itself said a short while ago (A13, C9)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.accounts import queries as accounts
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger import operations as ledger
from backend.ledger.operations import NewLot
from backend.ledger.queries import posted_keys
from backend.ledger.rules import AccountKey, AccountKind, LotKind, Posting, Transfer
from backend.metering import operations
from backend.metering import queries as metering
from backend.metering.models import Meter, MeterAssignment
from backend.metering.rules import CreditMode

# The opening count decides every later purchase number, so it must be what the meter says now.
OPENING_AT_MOST = timedelta(minutes=60)


async def assign_meter(
    *, scope: Scope, meter_id: UUID, account_id: UUID, at: datetime
) -> MeterAssignment:
    """Hang a meter on an account, with its latest reading as the opening.

    Raises NotFound, Forbidden, InvalidInput, Conflict (no reading of the last hour, the account is
    closed, the meter serves another account or is of another project).
    """
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        account = await accounts.account(work, scope=scope, account_id=account_id)
        if account.closed_at is not None:
            raise Conflict("the account is closed")
        if account.closing_at is not None:
            raise Conflict("the account is being closed")
        return await hang(work, scope=scope, meter=meter, account_id=account_id, at=at)


async def hang(
    work: UnitOfWork, *, scope: Scope, meter: Meter, account_id: UUID, at: datetime
) -> MeterAssignment:
    """Let a meter serve an account from now on; what it holds already is booked as taken over. Raises as
    `assign_meter`."""
    latest = (await metering.latest_of_meters(work, meter_ids=[meter.id])).get(meter.id)
    if latest is None or at - latest.at > OPENING_AT_MOST:
        raise Conflict("read the meter first: its latest reading is older than 60 minutes")
    await hold_purse(work, project_id=meter.project_id, account_id=account_id, at=at)
    served = await operations.assign(
        work, scope=scope, meter=meter, account_id=account_id, opening=latest, at=at
    )
    await operations.resume_selling(work, meter_id=meter.id)
    await take_over(work, served=served, at=at)
    return served


async def hold_purse(work: UnitOfWork, *, project_id: UUID, account_id: UUID, at: datetime) -> None:
    """Take turns on the purse that an account draws from until commit: before the audit's lock, which is the
    group's, or two could wait for each other crosswise."""
    ref = (await accounts.purses(work, account_ids=[account_id]))[account_id]
    purse = AccountKey(AccountKind.PURSE, ref)
    ids = await ledger.account_ids(work, project_id=project_id, keys=[purse], at=at)
    await ledger.hold(work, accounts=list(ids.values()))


async def take_over(work: UnitOfWork, *, served: MeterAssignment, at: datetime) -> None:
    """As `take_over_all`, for the meter of one assignment, if it holds money at all."""
    meter = await metering.meter_by_id(work, meter_id=served.meter_id)
    if meter.credit_mode != CreditMode.METER:
        return
    held = Money(served.opening_remaining_hao or 0)
    opened = [Opened(served.id, served.account_id, served.meter_id, held)]
    await take_over_all(work, project_id=served.project_id, opened=opened, at=at)


class Opened(NamedTuple):
    """A meter that holds money began to serve an account, `held` on it."""

    assignment_id: UUID
    account_id: UUID
    meter_id: UUID
    held: Money

    @property
    def source(self) -> str:
        """What the lot comes from."""
        return f"opening:{self.assignment_id}"


async def take_over_all(
    work: UnitOfWork, *, project_id: UUID, opened: Sequence[Opened], at: datetime
) -> None:
    """Book what meters held when they began to serve, so that book and meters agree from the start (C11): a
    grant to the purse that the household draws from, which stands at the meter. A handful of statements
    for all; twice books once. The purses are held."""
    held = {each.source: each for each in opened if each.held > ZERO}
    if not held:
        return
    given = {f"{source}:given": source for source in held}
    for key in await posted_keys(work, business_keys=list(given)):
        del held[given[key]]
    purses = await accounts.purses(work, account_ids=[each.account_id for each in held.values()])
    transfers: list[Transfer] = []
    for source, each in held.items():
        fund = AccountKey(AccountKind.GRANT_FUND, project_id)
        purse = AccountKey(AccountKind.PURSE, purses[each.account_id])
        wallet = AccountKey(AccountKind.METER_WALLET, each.meter_id)
        transfers += [
            Transfer(f"{source}:given", "GRANT_GIVEN", _moved(fund, purse, each.held)),
            Transfer(f"{source}:at-meter", "OPENING_AT_METER", _moved(purse, wallet, each.held)),
        ]
    await ledger.post_all(work, project_id=project_id, transfers=transfers, at=at)
    lots = [
        NewLot(purses[each.account_id], LotKind.GRANT, source, each.held)
        for source, each in held.items()
    ]
    await ledger.open_lots(work, project_id=project_id, lots=lots, at=at)


def _moved(debit: AccountKey, credit: AccountKey, amount: Money) -> tuple[Posting, Posting]:
    return Posting(debit, amount), Posting(credit, -amount)
