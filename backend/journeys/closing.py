"""Closing an account (销户), as operators ask for it: begun, gone on with, cancelled (A13).

All its meters are taken down first; their relays are opened and stay so, or are left as they are, as the
operator says. What is left then goes back by the lots that it came by (closing_steps).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.accounts import closings as rows
from backend.accounts import queries as accounts
from backend.accounts.closings import Closing, ClosingState
from backend.audit.operations import record
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.scope import Actor, Scope
from backend.metering import queries as meters
from backend.metering import takedowns
from backend.metering.rules import MeterModel
from backend.metering.takedown_rules import Purpose, check_key, check_reason
from backend.metering.takedowns import NewTakedown
from backend.outbox.operations import emit, postpone
from backend.tenancy.rules import Permission

from .occupancy import hold_purse
from .takedown import Ask, begin, undo

TOPIC = "closing.due"


async def close_account(*, scope: Scope, account_id: UUID, cut: bool, ask: Ask) -> Closing:
    """Begin to close an account: it buys nothing more, and its meters are taken down.

    A repeat with the same key answers the same closing. Raises NotFound, Forbidden, InvalidInput, Conflict
    (closed, being closed, a meter of it is being replaced, others pay from its purse).
    """
    reason, key = check_reason(ask.reason), check_key(ask.idempotency_key)
    async with unit_of_work(scope.group_id) as work:
        account = await accounts.account(work, scope=scope, account_id=account_id)
        scope.require(Permission.ACCOUNT_CLOSE, account.project_id)
        known = await rows.closing_of_key(work, project_id=account.project_id, idempotency_key=key)
        if known is not None:
            if known.account_id != account_id:
                raise Conflict("this idempotency key was used for another account")
            return known
        closing = await rows.begin_closing(
            work,
            project_id=account.project_id,
            account_id=account_id,
            cut=cut,
            reason=reason,
            idempotency_key=key,
            actor=scope.actor,
            at=ask.at,
        )
        payload = {"closing_id": str(closing.id)}
        await emit(work, topic=TOPIC, key=str(closing.id), payload=payload, at=ask.at)
        await _take_down_all(work, closing, ask)
        await audit_closing(work, closing, scope.actor, "begin", ask.at)
    return closing


async def _take_down_all(work: UnitOfWork, closing: Closing, ask: Ask) -> None:
    await hold_purse(work, project_id=closing.project_id, account_id=closing.account_id, at=ask.at)
    for running in await meters.assignments_of_account(work, account_id=closing.account_id):
        served = await takedowns.lock_assignment(work, assignment_id=running.id)
        if served.ended_at is not None:
            continue
        meter = await meters.meter_by_id(work, meter_id=served.meter_id)
        new = NewTakedown(
            served,
            Purpose.CLOSE,
            closing.cut,
            closing.reason,
            f"closing:{closing.id}:{meter.id}",
            ask.at,
        )
        await begin(work, new=new, meter=meter, ask=ask)


async def resume_closing(*, scope: Scope, closing_id: UUID, at: datetime) -> Closing:
    """Go on with a closing now; refunds that failed are asked for anew. Raises NotFound, Forbidden,
    Conflict (ended)."""
    async with unit_of_work(scope.group_id) as work:
        closing = await _to_change(work, scope, closing_id)
        if closing.state is ClosingState.REFUNDS:
            closing = await rows.mark_round(work, closing_id=closing_id)
        await postpone(work, topic=TOPIC, key=str(closing_id), due_at=at)
        await audit_closing(work, closing, scope.actor, "resume", at)
    return closing


async def cancel_closing(
    *, scope: Scope, closing_id: UUID, note: str, models: Mapping[str, MeterModel], at: datetime
) -> Closing:
    """The account goes on. Meters that were taken down already stay so: hang them anew; their money is in
    the purse. Refunds that are under way go on. Raises NotFound, Forbidden, InvalidInput, Conflict."""
    async with unit_of_work(scope.group_id) as work:
        closing = await _to_change(work, scope, closing_id)
        why = check_reason(note)
        for seen in await takedowns.takedowns_of_account(work, account_id=closing.account_id):
            if seen.finished_at is None:
                takedown = await takedowns.lock_takedown(work, takedown_id=seen.id)
                assert takedown is not None, "takedowns are never deleted"
                if takedown.finished_at is None:
                    await undo(
                        work,
                        takedown=takedown,
                        why=why,
                        actor=scope.actor,
                        models=models,
                        at=at,
                    )
        cancelled = await rows.mark_cancelled(work, closing=closing, why=why, at=at)
        await audit_closing(work, cancelled, scope.actor, "cancel", at)
    return cancelled


async def _to_change(work: UnitOfWork, scope: Scope, closing_id: UUID) -> Closing:
    seen = await rows.closing(work, scope=scope, closing_id=closing_id)
    scope.require(Permission.ACCOUNT_CLOSE, seen.project_id)
    closing = await rows.lock_closing(work, closing_id=closing_id)
    if closing is None or closing.finished_at is not None:
        raise Conflict("this closing has ended")
    return closing


async def audit_closing(
    work: UnitOfWork, closing: Closing, actor: Actor, verb: str, at: datetime
) -> None:
    """Who did what with a closing."""
    await record(
        work,
        actor=actor,
        action=f"account:closing:{verb}",
        subject=str(closing.account_id),
        at=at,
        project_id=closing.project_id,
        after={
            "closing": str(closing.id),
            "state": str(closing.state),
            "reason": closing.reason,
            "cut": closing.cut,
            "fraction": str(closing.fraction),
            "owing": str(closing.owing),
            "outcome": closing.outcome,
        },
    )
