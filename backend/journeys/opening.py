"""Opening an account with all that belongs to it (开户): meters, thresholds and the first credit (A13).

One commit opens the account, hangs its meters by what they say themselves, sends each its thresholds as a
command, and gives the first credit where it is a grant. Cash is taken by the desk's own journey, with a key
of its own: a repeat takes it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from backend.accounts import operations as accounts
from backend.accounts import queries as places
from backend.accounts.models import Account
from backend.accounts.openings import fingerprint, keep_opening, opened_by
from backend.alerts.levels import keep_thresholds
from backend.audit.operations import record
from backend.control.command_rules import CommandKind, Given, order_of
from backend.control.rules import VendSource
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger import operations as ledger
from backend.metering import queries as meters
from backend.metering.rules import CreditMode, MeterModel
from backend.metering.takedown_rules import check_key
from backend.tenancy.rules import Permission
from backend.topups.refunds import alone_fen
from backend.topups.rules import Channel

from .cashier import take_money
from .command import ask as ask_command
from .occupancy import hang
from .purse_vend import send_on

_WHY = "set at the opening of the account"


@dataclass(frozen=True, slots=True)
class OpenedMeter:
    """A meter that is to serve, and what it is to warn at (hao by name, overload_w in W)."""

    meter_id: UUID
    thresholds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FirstCredit:
    """What the account begins with: `grant` is given by the project, `cash` is taken at the desk."""

    grant: Money = ZERO
    cash: Money = ZERO


@dataclass(frozen=True, slots=True)
class NewHousehold:
    """What is opened: the place, the account's number, name and registered phone, meters, first credit."""

    area_id: UUID
    no: str
    name: str
    phone: str
    meters: Sequence[OpenedMeter]
    credit: FirstCredit = FirstCredit()


async def open_household(
    *,
    scope: Scope,
    new: NewHousehold,
    idempotency_key: str,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> Account:
    """Open an account with its meters, thresholds and first credit; a repeat answers the same account.

    Raises NotFound, Forbidden, InvalidInput (also: a grant above the project's limit), Conflict (number
    taken, a meter was not read within the hour, serves another account or cannot do it; no open shift for
    cash: the account is then open, and a repeat takes the cash).
    """
    key, asked = check_key(idempotency_key), fingerprint(new)
    _check_credit(new.credit)
    async with unit_of_work(scope.group_id) as work:
        area = await places.area(work, scope=scope, area_id=new.area_id)
        scope.require(Permission.ACCOUNT_WRITE, area.project_id)
        known = await opened_by(work, project_id=area.project_id, idempotency_key=key, asked=asked)
        if known is None:
            known = await _open(work, scope, area.project_id, new, models, at)
            await keep_opening(
                work,
                project_id=area.project_id,
                idempotency_key=key,
                account_id=known,
                asked=asked,
            )
    if new.credit.cash:
        await take_money(
            scope=scope,
            account_id=known,
            amount=new.credit.cash,
            channel=Channel.CASH,
            slip_no=None,
            idempotency_key=f"{key}:first",
            at=at,
        )
    async with unit_of_work(scope.group_id) as work:
        return await places.account_by_id(work, account_id=known)


def _check_credit(credit: FirstCredit) -> None:
    for amount, name in ((credit.grant, "grant"), (credit.cash, "cash")):
        if amount < ZERO or amount.hao % 100:
            raise InvalidInput("a first credit is whole fen, and not below 0", field=name)


async def _open(
    work: UnitOfWork,
    scope: Scope,
    project_id: UUID,
    new: NewHousehold,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> UUID:
    account = await accounts.open_account(
        work,
        scope=scope,
        project_id=project_id,
        area_id=new.area_id,
        no=new.no,
        name=new.name,
        phone=new.phone,
        at=at,
    )
    holds_money = False
    for each in new.meters:
        meter = await meters.meter(work, scope=scope, meter_id=each.meter_id)
        await hang(work, scope=scope, meter=meter, account_id=account.id, at=at)
        holds_money = holds_money or meter.credit_mode != CreditMode.NONE
        if each.thresholds:
            order = order_of(
                kind=CommandKind.THRESHOLDS, reason=_WHY, given=Given(thresholds=each.thresholds)
            )
            await ask_command(
                work, meter=meter, order=order, models=models, actor=scope.actor, at=at
            )
            await keep_thresholds(
                work,
                actor=scope.actor,
                meter_ids=[meter.id],
                thresholds=each.thresholds,
                at=at,
            )
    if (new.credit.grant or new.credit.cash) and not holds_money:
        raise Conflict("no meter that is sold to serves this account: nothing can be credited")
    if new.credit.grant:
        await _grant(work, scope, account, new.credit.grant, at)
    return account.id


async def _grant(
    work: UnitOfWork, scope: Scope, account: Account, grant: Money, at: datetime
) -> None:
    """Give the first credit, and send it to the meter as its own numbered vend. One operator alone gives
    no more than the project lets one operator pay back alone (C30)."""
    alone = Money.of_fen(await alone_fen(work, project_id=account.project_id))
    if grant > alone:
        raise InvalidInput(f"one operator gives at most {alone} yuan at an opening", field="grant")
    await ledger.give_grant(
        work,
        project_id=account.project_id,
        account_id=account.id,
        source=f"first:{account.id}",
        amount=grant,
        at=at,
    )
    await send_on(
        work,
        project_id=account.project_id,
        account_id=account.id,
        purse=account.id,
        amount=grant,
        source=VendSource.OPENING,
        source_id=account.id,
        at=at,
    )
    await record(
        work,
        actor=scope.actor,
        action="account:grant:give",
        subject=str(account.id),
        at=at,
        project_id=account.project_id,
        after={"amount": str(grant)},
    )
