"""Shifts at a cash desk: opened with change, closed by a count, handed over (A15, C30).

Each shift has an account of its own in the book, CASH_DESK: what its drawer must hold. A count moves
all of it on, to the safe or to the next shift, so a closed shift holds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.alerts.operations import close_cases, open_case
from backend.audit.operations import record
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, Forbidden, NotFound
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Actor, Scope
from backend.ledger import operations as ledger
from backend.ledger.queries import derived_balance
from backend.ledger.rules import AccountKey, AccountKind, move
from backend.tenancy import queries as tenancy
from backend.tenancy.rules import Permission
from backend.topups import refunds
from backend.topups import shifts as rows
from backend.topups.refund_rules import RefundState
from backend.topups.refunds import Refund
from backend.topups.shift_rules import Count, check_cash, check_desk, check_drawer, check_slip
from backend.topups.shifts import Shift, Taken

from .news import tell_refunded
from .refund import audit_refund, due_account, key_of


def drawer_of(shift_id: UUID) -> AccountKey:
    """The ledger account of a shift's drawer."""
    return AccountKey(AccountKind.CASH_DESK, shift_id)


@dataclass(frozen=True, slots=True)
class ShiftStatement:
    """A shift with what was taken and paid out in it, and what its drawer must hold now by the book."""

    shift: Shift
    taken: tuple[Taken, ...]
    in_drawer: Money


async def statements(work: UnitOfWork, *, shifts: Sequence[Shift]) -> list[ShiftStatement]:
    """The statements of several shifts; a closed one's drawer holds nothing."""
    taken = await rows.taken_in_shifts(work, shift_ids=[shift.id for shift in shifts])
    return [
        ShiftStatement(
            shift,
            tuple(taken[shift.id]),
            ZERO if shift.closed_at else await in_drawer(work, shift_id=shift.id),
        )
        for shift in shifts
    ]


async def in_drawer(work: UnitOfWork, *, shift_id: UUID) -> Money:
    """What a shift's drawer must hold by the book."""
    return await derived_balance(work, kind=AccountKind.CASH_DESK, ref=shift_id)


async def open_shift(
    *, scope: Scope, project_id: UUID, desk: str, change: Money, at: datetime
) -> Shift:
    """Begin to take money at a desk; `change` is put into the drawer.

    Raises NotFound, Forbidden, InvalidInput, Conflict (the desk or the operator has an open shift).
    """
    name, float_fen = check_desk(desk), check_cash(change, field="change")
    async with unit_of_work(scope.group_id) as work:
        await tenancy.project(work, scope=scope, project_id=project_id)
        scope.require(Permission.CASH_TAKE, project_id)
        shift = await rows.add_shift(
            work,
            project_id=project_id,
            desk=name,
            actor=scope.actor,
            float_fen=float_fen,
            taken_from=None,
            at=at,
        )
        safe = AccountKey(AccountKind.CASH_SAFE, project_id)
        await _carry(work, shift, "opened", safe, drawer_of(shift.id), change, at)
        after = {"desk": name, "change": str(change)}
        await _audit(work, shift, scope.actor, "open", after, at)
    return shift


async def close_shift(
    *, scope: Scope, shift_id: UUID, counted: Money, note: str, at: datetime
) -> Shift:
    """Count the drawer and bring what is in it to the safe; a difference is booked and is a case.

    Raises NotFound, Forbidden, InvalidInput, Conflict (closed before).
    """
    check_cash(counted, field="counted")
    async with unit_of_work(scope.group_id) as work:
        shift = await _to_close(work, scope, shift_id)
        safe = AccountKey(AccountKind.CASH_SAFE, shift.project_id)
        count = await _count(work, shift, counted, at)
        await _carry(work, shift, "closed", drawer_of(shift.id), safe, counted, at)
        closed = await rows.close_shift(
            work, shift_id=shift.id, count=count, note=note.strip(), actor=scope.actor, at=at
        )
        await _audit(work, shift, scope.actor, "close", _told(count), at)
    return closed


async def hand_over(
    *, scope: Scope, shift_id: UUID, counted: Money, to: UUID, note: str, at: datetime
) -> Shift:
    """Count the drawer and give it to the next operator at the same desk: one commit, and the next
    shift holds just what was counted. Gives the new shift.

    Raises NotFound, Forbidden (also: the next one may not take money here), InvalidInput, Conflict.
    """
    fen = check_cash(counted, field="counted")
    async with unit_of_work(scope.group_id) as work:
        shift = await _to_close(work, scope, shift_id)
        taker = await _taker(work, to, shift.project_id)
        count = await _count(work, shift, counted, at)
        await rows.close_shift(
            work, shift_id=shift.id, count=count, note=note.strip(), actor=scope.actor, at=at
        )
        following = await rows.add_shift(
            work,
            project_id=shift.project_id,
            desk=shift.desk,
            actor=taker,
            float_fen=fen,
            taken_from=shift.id,
            at=at,
        )
        ours, theirs = drawer_of(shift.id), drawer_of(following.id)
        await _carry(work, shift, "handed", ours, theirs, counted, at)
        after = _told(count) | {"to": taker.name, "shift": str(following.id)}
        await _audit(work, shift, scope.actor, "hand_over", after, at)
    return following


async def pay_out(*, scope: Scope, refund_id: UUID, slip_no: str | None, at: datetime) -> Refund:
    """Give a refund back at the desk, the way it came: cash out of the own drawer, or by the card
    terminal with its slip. Once, whoever asks at the same time.

    Raises NotFound, Forbidden, InvalidInput, Conflict (not agreed to, not by a desk, no open shift,
    the drawer holds less).
    """
    async with unit_of_work(scope.group_id) as work:
        seen = await refunds.refund(work, scope=scope, refund_id=refund_id)
        scope.require(Permission.CASH_TAKE, seen.project_id)
        refund = await refunds.lock_refund(work, refund_id=refund_id)
        if refund is None or refund.state is not RefundState.APPROVED or not refund.at_counter:
            raise Conflict("only a refund that is agreed to and came by a desk is paid out")
        by_card = refund.source.channel == "CARD"
        slip = check_slip(slip_no, by_card=by_card)
        shift = await rows.own_open_shift(
            work, project_id=refund.project_id, operator_id=scope.actor.id, alone=True
        )
        credit = AccountKey(AccountKind.CARD_SLIPS, refund.project_id)
        if not by_card:
            check_drawer(holds=await in_drawer(work, shift_id=shift.id), pays=refund.amount)
            credit = drawer_of(shift.id)
        transfer = move(
            business_key=key_of(refund, "done"),
            kind="REFUND_DONE",
            debit=due_account(refund),
            credit=credit,
            amount=refund.amount,
        )
        await ledger.post(work, project_id=refund.project_id, transfer=transfer, at=at)
        paid = await refunds.mark_paid_out(
            work, refund_id=refund.id, shift_id=shift.id, slip_no=slip, at=at
        )
        subjects, note = [paid.refund_no], "it was fetched at the desk"
        await close_cases(work, kind="REFUND_STUCK", subjects=subjects, note=note, at=at)
        await tell_refunded(work, refund=paid, at=at)
        await audit_refund(work, paid, scope.actor, "pay_out", at)
    return paid


async def _to_close(work: UnitOfWork, scope: Scope, shift_id: UUID) -> Shift:
    seen = await rows.shift(work, scope=scope, shift_id=shift_id)
    scope.require(Permission.SHIFT_CLOSE, seen.project_id)
    shift = await rows.lock_shift(work, shift_id=shift_id)
    if shift is None:
        raise NotFound("no such shift")
    if shift.closed_at is not None:
        raise Conflict("the shift was closed before")
    return shift


async def _taker(work: UnitOfWork, operator_id: UUID, project_id: UUID) -> Actor:
    scope = await tenancy.scope_of(work, operator_id=operator_id, address="")
    if scope is None:
        raise NotFound("no such operator")
    if not scope.may(Permission.CASH_TAKE, project_id):
        raise Forbidden("the next operator may not take money in this project")
    return scope.actor


async def _count(work: UnitOfWork, shift: Shift, counted: Money, at: datetime) -> Count:
    """Bring the drawer's account to what was counted; what is too much or too little is a case."""
    count = Count(await in_drawer(work, shift_id=shift.id), counted)
    if count.agrees:
        return count
    over = count.difference > ZERO
    drawer = drawer_of(shift.id)
    other = AccountKey(AccountKind.CASH_DIFFERENCE, shift.project_id)
    amount = count.difference if over else -count.difference
    source, target = (other, drawer) if over else (drawer, other)
    await _carry(work, shift, "difference", source, target, amount, at)
    await open_case(
        work,
        project_id=shift.project_id,
        kind="CASH_DIFFERENCE",
        subject=str(shift.id),
        detail=_told(count) | {"desk": shift.desk, "operator": shift.operator_name},
        at=at,
    )
    return count


async def _carry(
    work: UnitOfWork,
    shift: Shift,
    part: str,
    source: AccountKey,
    target: AccountKey,
    amount: Money,
    at: datetime,
) -> None:
    if not amount:
        return
    transfer = move(
        business_key=f"shift:{shift.id}:{part}",
        kind=f"SHIFT_{part.upper()}",
        debit=target,
        credit=source,
        amount=amount,
    )
    await ledger.post(work, project_id=shift.project_id, transfer=transfer, at=at)


def _told(count: Count) -> dict[str, str]:
    return {
        "book": str(count.book),
        "counted": str(count.counted),
        "difference": str(count.difference),
    }


async def _audit(
    work: UnitOfWork, shift: Shift, actor: Actor, verb: str, after: dict[str, str], at: datetime
) -> None:
    await record(
        work,
        actor=actor,
        action=f"shift:self:{verb}",
        subject=str(shift.id),
        at=at,
        project_id=shift.project_id,
        after=after,
    )
