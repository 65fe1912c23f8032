"""A closing on its way: final charges, money back by its lots, the fraction kept, the account closed.

Each refund is a commit of its own, keyed by closing, round and lot, so going on after any crash asks for
none twice. The order's lock comes before the purse's, as for every refund.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.accounts import closings as rows
from backend.accounts import queries as accounts
from backend.accounts.closings import Closing, ClosingState
from backend.alerts.operations import close_cases, open_case
from backend.charges.queries import positions_of
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.money import HAO_PER_FEN, ZERO, Money
from backend.kernel.scope import Actor
from backend.ledger import operations as ledger
from backend.ledger.purses import arrears_of, recover_arrears
from backend.ledger.queries import owed
from backend.ledger.rules import AccountKey, AccountKind, LotKind
from backend.ledger.statements import LotLeft, lots_left, moved_by_kind, statement_of
from backend.metering import queries as meters
from backend.metering.cloud import cloud_assignments
from backend.metering.rules import MeterModel
from backend.outbox.operations import reopen_if_done
from backend.topups.account_refunds import moved_nothing, open_refunds, order_of_lot
from backend.topups.corrections import Place
from backend.topups.refunds import refund_of_key

from .charge import charge_account
from .closing import TOPIC, audit_closing
from .news import china_time, tell_customers
from .refund import request_of_order

WORKER = Actor("system", "worker", "closing worker")
_SOON = timedelta(seconds=10)
_LATER = timedelta(minutes=5)


async def advance(
    *, group_id: int, closing_id: UUID, models: Mapping[str, MeterModel], at: datetime
) -> datetime | None:
    """Go on as far as it goes; gives when to look again, or None when it has ended."""
    async with unit_of_work(group_id) as work:
        closing = await rows.lock_closing(work, closing_id=closing_id)
        if closing is None or closing.finished_at is not None:
            return None
        if closing.state is ClosingState.METERS:
            waits = await _bill(work, closing, at)
            if waits is not None:
                return waits
    for lot in await _lots(group_id, closing.account_id):
        with suppress(Conflict):  # what cannot go back is left over, and told below
            await _give_back(group_id, closing_id, lot, models, at)
    async with unit_of_work(group_id) as work:
        held = await rows.lock_closing(work, closing_id=closing_id)
        if held is None or held.state is not ClosingState.REFUNDS:
            return None
        return await _finish(work, held, at)


async def tend_closings(work: UnitOfWork, *, at: datetime) -> None:
    """Ring again for closings whose event is gone."""
    for closing_id in await rows.closings_unfinished(work):
        await reopen_if_done(work, topic=TOPIC, key=str(closing_id), due_at=at)


async def _bill(work: UnitOfWork, closing: Closing, at: datetime) -> datetime | None:
    """The final bill, once no meter serves the account any more: what was read to the end is charged, and
    what stands in arrears is paid first. When to look again, or None: its money can go back."""
    running = await meters.assignments_of_account(work, account_id=closing.account_id)
    if running:
        why = f"{len(running)} of its meters wait for their last word"
        await rows.note_waiting(work, closing_id=closing.id, why=why)
        return at + _SOON
    while await charge_account(work, account_id=closing.account_id, at=at):
        pass
    held = await _held(work, closing.account_id)
    if held:
        await _tell_stuck(
            work, closing, f"{held} of its meters cannot be charged: rule on them", at
        )
        return at + _LATER
    account = await accounts.account_by_id(work, account_id=closing.account_id)
    await recover_arrears(
        work,
        project_id=closing.project_id,
        purse=account.purse,
        source=f"closing:{closing.id}",
        at=at,
    )
    await rows.mark_refunding(work, closing_id=closing.id)
    return None


async def _held(work: UnitOfWork, account_id: UUID) -> int:
    """How many of its meters' services used what is on billing hold and cannot be charged yet (C14)."""
    served = await cloud_assignments(work, account_ids=[account_id])
    closing_totals = {each.id: each.closing_total for each in served}
    return sum(
        position.hold is not None and position.last.total != closing_totals[position.assignment_id]
        for position in await positions_of(work, assignment_ids=list(closing_totals))
    )


async def _lots(group_id: int, account_id: UUID) -> list[LotLeft]:
    async with unit_of_work(group_id) as work:
        return await lots_left(work, purse=account_id)


async def _give_back(
    group_id: int,
    closing_id: UUID,
    lot: LotLeft,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> None:
    """Ask for the refund of what is left of a lot, whole fen, in the name of who closes the account."""
    fen = lot.left.hao // HAO_PER_FEN
    if lot.kind is not LotKind.PAID or not fen:
        return
    async with unit_of_work(group_id) as work:
        closing = await rows.lock_closing(work, closing_id=closing_id)
        if closing is None or closing.state is not ClosingState.REFUNDS:
            return
        key = _key(closing, lot)
        if await refund_of_key(work, project_id=closing.project_id, idempotency_key=key):
            return
        order = await order_of_lot(work, source=lot.source)
        if order is None or any(
            each.source.order_id == order.id
            for each in await open_refunds(work, account_id=closing.account_id)
        ):
            return
        await request_of_order(
            work,
            order=order,
            amount=Money.of_fen(fen),
            reason=closing.reason,
            idempotency_key=key,
            actor=closing.operator,
            models=models,
            at=at,
            # Of an order that was corrected another account holds the rest, which stays where it is.
            place=Place(closing.account_id, lot.source),
        )


def _key(closing: Closing, lot: LotLeft) -> str:
    return f"closing:{closing.id}:{closing.round}:{lot.id}"


async def _finish(work: UnitOfWork, closing: Closing, at: datetime) -> datetime | None:
    """Close the account when all its money has gone back; else say what is waited for."""
    on_their_way = await open_refunds(work, account_id=closing.account_id)
    if on_their_way:
        await rows.note_waiting(
            work, closing_id=closing.id, why=f"{len(on_their_way)} refunds are on their way"
        )
        return at + _LATER
    fraction = await _clear(work, closing, at)
    account_id = closing.account_id
    left = (await owed(work, kind=AccountKind.PURSE, refs=[account_id]))[account_id]
    if left:
        return await _stuck(work, closing, left, at)
    moved = await moved_by_kind(work, kind=AccountKind.PURSE, ref=account_id)
    owing = (await arrears_of(work, purses=[account_id]))[account_id]
    statement = statement_of(moved) | {"owing": str(owing)}
    await _tell(work, closing, moved, at)
    closed = await rows.mark_closed(
        work, closing=closing, fraction=fraction, owing=owing, statement=statement, at=at
    )
    note = "the account is closed"
    await close_cases(work, kind="CLOSING_STUCK", subjects=[str(closing.id)], note=note, at=at)
    if owing:
        await open_case(
            work,
            project_id=closing.project_id,
            kind="CLOSED_OWING",
            subject=str(account_id),
            detail={"owing": str(owing), "closing": str(closing.id)},
            at=at,
        )
    await audit_closing(work, closed, WORKER, "end", at)
    return None


@dataclass(frozen=True, slots=True)
class _Way:
    kind: str
    to: AccountKind


_GRANT = _Way("GRANT_ENDED", AccountKind.GRANT_FUND)
_FRACTION = _Way("CLOSING_FRACTION", AccountKind.ROUNDING)


async def _clear(work: UnitOfWork, closing: Closing, at: datetime) -> Money:
    """Grants end, and what is below a fen is kept as rounding, not lost (C2); how much that was."""
    purse = AccountKey(AccountKind.PURSE, closing.account_id)
    ids = await ledger.account_ids(work, project_id=closing.project_id, keys=[purse], at=at)
    held = -(await ledger.hold(work, accounts=list(ids.values())))[ids[purse]]
    fraction = ZERO
    for lot in await lots_left(work, purse=closing.account_id):
        way = _GRANT if lot.kind is LotKind.GRANT else _FRACTION
        if way is _FRACTION and lot.left.hao >= HAO_PER_FEN:
            continue
        amount = Money(min(lot.left.hao, held))
        if amount <= ZERO:
            continue
        await ledger.spend(
            work,
            project_id=closing.project_id,
            account_id=closing.account_id,
            business_key=f"closing:{closing.id}:{lot.id}:cleared",
            amount=amount,
            at=at,
            kind=way.kind,
            to=AccountKey(way.to, closing.project_id),
            source=lot.source,
        )
        held -= amount.hao
        fraction += amount if way is _FRACTION else ZERO
    return fraction


async def _stuck(work: UnitOfWork, closing: Closing, left: Money, at: datetime) -> datetime:
    """Money that did not go back by itself: a person retries, pays out at the desk, or cancels."""
    failed = [
        lot.source
        for lot in await lots_left(work, purse=closing.account_id)
        if (
            refund := await refund_of_key(
                work, project_id=closing.project_id, idempotency_key=_key(closing, lot)
            )
        )
        is not None
        and moved_nothing(refund)
    ]
    why = f"{left} yuan are left" + (f"; refunds ended: {', '.join(failed)}" if failed else "")
    await _tell_stuck(work, closing, why, at)
    return at + _LATER


async def _tell_stuck(work: UnitOfWork, closing: Closing, why: str, at: datetime) -> None:
    """Keep why it waits, and raise it as a case."""
    await rows.note_waiting(work, closing_id=closing.id, why=why)
    await open_case(
        work,
        project_id=closing.project_id,
        kind="CLOSING_STUCK",
        subject=str(closing.id),
        detail={
            "reason": why,
            "account": str(closing.account_id),
            "wayOut": "resume the closing to ask for refunds anew, rule on held readings, or cancel it",
        },
        at=at,
    )


async def _tell(
    work: UnitOfWork, closing: Closing, moved: Mapping[str, Money], at: datetime
) -> None:
    """Who was bound is told, before nobody is bound any more."""
    account = await accounts.account_by_id(work, account_id=closing.account_id)
    back = -moved.get("REFUND_DUE", ZERO) - moved.get("REFUND_DUE_REVERSED", ZERO)
    await tell_customers(
        work,
        account_id=account.id,
        event="account_closed",
        key=f"closed-{closing.id.hex}",
        params={"no": account.no, "amount": str(back), "time": china_time(at)},
        at=at,
    )
