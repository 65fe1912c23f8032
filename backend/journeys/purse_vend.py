"""Money that waits in a purse goes on to the meter that holds the account's money (C8, C10)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.control.operations import NewVend, queue_vends
from backend.control.rules import VendSource
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.money import HAO_PER_FEN, Money
from backend.ledger import operations as ledger
from backend.ledger.rules import AccountKey, AccountKind, move
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.metering.rules import CreditMode
from backend.outbox.operations import emit


async def send_on(
    work: UnitOfWork,
    *,
    project_id: UUID,
    account_id: UUID,
    purse: UUID,
    amount: Money,
    source: VendSource,
    source_id: UUID,
    at: datetime,
) -> bool:
    """Reserve `amount` of a purse for the meter that serves the account, numbered, in the caller's
    transaction; False when there is nothing to send: the cloud holds the money, or it is less than a fen.

    Raises Conflict (no meter, selling is stopped), Overdrawn.
    """
    assignment = await meters.live_assignment_of_account(work, account_id=account_id)
    if assignment is None:
        raise Conflict("no meter that is sold to serves this account yet")
    meter = await meters.meter_by_id(work, meter_id=assignment.meter_id)
    fen = amount.hao // HAO_PER_FEN
    if meter.credit_mode != CreditMode.METER or fen <= 0:
        return False
    if meter.selling_stopped_at is not None:
        raise Conflict("selling to this meter is stopped until the manager has checked it")
    ((epoch, number),) = await metering.allocate_purchase_nos(work, assignment_ids=[assignment.id])
    vend = NewVend(
        project_id=project_id,
        meter_id=meter.id,
        assignment_id=assignment.id,
        counter_epoch=epoch,
        purchase_no=number,
        amount=Money.of_fen(fen),
        source_id=source_id,
        source=source,
    )
    (vend_id,) = await queue_vends(work, vends=[vend], at=at)
    reserved = move(
        business_key=f"vend:{vend_id}:reserved",
        kind="VEND_RESERVED",
        debit=AccountKey(AccountKind.PURSE, purse),
        credit=AccountKey(AccountKind.IN_TRANSIT, meter.id),
        amount=vend.amount,
    )
    await ledger.post(work, project_id=project_id, transfer=reserved, at=at)
    payload = {"meter_id": str(meter.id), "vend_id": str(vend_id)}
    await emit(work, topic="vend.due", key=str(vend_id), payload=payload, at=at)
    return True
