"""A top-up of the wrong room is moved to the right one: what is left of its lot, by one entry (C4, A15).

Only money in a purse can be moved: what a meter holds is at that meter. Where the right room's meter
holds its money itself, the money goes on to it by a vend. Every move is audited, and a later refund of
the order takes the lot where it is then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.accounts.models import Account
from backend.audit.operations import record
from backend.control.rules import VendSource
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.money import Money
from backend.kernel.scope import Scope
from backend.ledger import operations as ledger
from backend.ledger.lots import LotState, lot_state
from backend.ledger.rules import AccountKey, AccountKind, LotKind, Overdrawn
from backend.metering import queries as metering
from backend.metering.rules import MeterModel
from backend.metering.takedowns import lock_assignment
from backend.tenancy.rules import Permission
from backend.topups import corrections, refunds
from backend.topups import operations as topups
from backend.topups.queries import Order
from backend.topups.rules import OrderState

from .purse_vend import send_on
from .refund import order_for, taken_back

_FEN = Money.of_fen(1)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A moved top-up: how much, and whose it is now."""

    order: Order
    account_id: UUID
    amount: Money


async def correct_topup(
    *,
    scope: Scope,
    order_id: UUID,
    account_id: UUID,
    reason: str,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> Corrected:
    """Move what is left of a top-up to the purse of the right account of the same project.

    Raises NotFound, Forbidden, InvalidInput, Conflict (not paid, a refund waits, used, at the meter,
    the same purse, another project's or a closed account).
    """
    told = reason.strip()
    if not 4 <= len(told) <= 200:
        raise InvalidInput("say in a few words why", field="reason")
    async with unit_of_work(scope.group_id) as work:
        order = await order_for(work, scope=scope, order_id=order_id)
        scope.require(Permission.REFUND_APPROVE, order.project_id)
        right = await _right_account(work, scope, order, account_id)
        locked = await topups.lock_order(work, order_no=order.order_no)
        assert locked is not None, "orders are never deleted"
        if locked.state is not OrderState.PAID:
            raise Conflict("nothing was paid by this order")
        place = await corrections.place_of(work, order=order)
        lot = await _whole(work, order, place, models)
        if lot.purse_ref == right.purse:
            raise Conflict("this top-up is in the purse of that account already")
        served = await metering.live_assignment_of_account(work, account_id=right.id)
        if served is not None:  # before the ledger's accounts, as every sale
            await lock_assignment(work, assignment_id=served.id)
        source = await corrections.add_correction(
            work,
            order=order,
            from_account=place.account_id,
            to_account=right.id,
            amount=lot.left,
            reason=told,
            actor=scope.actor,
            at=at,
        )
        await _move(work, order, lot, place.lot_source, right.purse, source.lot, at)
        if served is not None:
            await send_on(
                work,
                project_id=order.project_id,
                account_id=right.id,
                purse=right.purse,
                amount=lot.left,
                source=VendSource.TRANSFER,
                source_id=source.id,
                at=at,
            )
        await record(
            work,
            actor=scope.actor,
            action="topup:self:correct",
            subject=str(order.id),
            at=at,
            project_id=order.project_id,
            before={"account": str(place.account_id)},
            after={"account": str(right.id), "amount": str(lot.left), "reason": told},
        )
    return Corrected(order, right.id, lot.left)


async def _right_account(work: UnitOfWork, scope: Scope, order: Order, account_id: UUID) -> Account:
    account = await accounts.account(work, scope=scope, account_id=account_id)
    if account.project_id != order.project_id:
        raise NotFound("no such account")  # each project's money is its own (A2)
    if account.closed_at is not None:
        raise Conflict("the account is closed")
    return account


async def _whole(
    work: UnitOfWork, order: Order, place: corrections.Place, models: Mapping[str, MeterModel]
) -> LotState:
    """The order's lot, all of whose rest is in its purse and asked back by nobody. Raises Conflict."""
    lot = await lot_state(work, source=place.lot_source)
    if lot is None or lot.left < _FEN:  # a fraction can be neither sold nor given back
        raise Conflict("nothing is left of this top-up")
    if lot.purse_left < lot.left:
        why = await taken_back(work, account_id=place.account_id, models=models)
        raise Conflict(
            f"{lot.left - lot.purse_left} yuan of this top-up are at the meter, or were used there."
            f" Can a command lower its money? {why or 'no: its model holds none'}"
        )
    asked = await refunds.asked_of_order(work, order_no=order.order_no, lot_source=place.lot_source)
    if asked.waiting_fen:
        raise Conflict("a refund of this top-up waits to be decided")
    return lot


async def _move(
    work: UnitOfWork,
    order: Order,
    lot: LotState,
    lot_source: str,
    purse: UUID,
    source: str,
    at: datetime,
) -> None:
    """Both purses are held in one order before either moves: two moves crosswise wait, not hang."""
    to = AccountKey(AccountKind.PURSE, purse)
    ids = await ledger.account_ids(work, project_id=order.project_id, keys=[to], at=at)
    await ledger.hold(work, accounts=[lot.purse_id, ids[to]])
    try:
        await ledger.spend(
            work,
            project_id=order.project_id,
            account_id=lot.purse_ref,
            business_key=f"{source}:moved",
            amount=lot.left,
            at=at,
            kind="TOPUP_CORRECTED",
            to=to,
            source=lot_source,
        )
    except Overdrawn as error:
        raise Conflict("this top-up was used just now") from error
    await ledger.open_lot(
        work,
        project_id=order.project_id,
        account_id=purse,
        kind=LotKind.PAID,
        source=source,
        amount=lot.left,
        at=at,
    )
