"""Taking a meter down (拆表), as operators ask for it: replace a meter (换表), move a household (转户).

Beginning stops selling to the meter, stops what is under way to it and opens its relay where that is
asked for; its last word ends it (takedown_steps). Until that is done it can be cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from backend.accounts import operations as accounts
from backend.accounts import queries as places
from backend.accounts.models import Account
from backend.audit.operations import record
from backend.control import operations as control
from backend.control.command_rules import CommandKind, Order
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput
from backend.kernel.scope import Actor, Scope
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.metering import takedowns as rows
from backend.metering.models import Meter, MeterAssignment
from backend.metering.rules import MeterModel
from backend.metering.takedown_rules import (
    WRITE_UNDER_WAY,
    Purpose,
    TakedownState,
    check_key,
    check_reason,
    check_successor,
)
from backend.metering.takedowns import NewTakedown, Takedown
from backend.outbox.operations import emit, postpone
from backend.tenancy.rules import Permission

from .command import ask as ask_command
from .occupancy import hold_purse, take_over
from .vend import wake_vends

TOPIC = "takedown.due"
FROZEN = "the meter is being taken down"


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks for takedowns, why, and what the models of meters can do."""

    actor: Actor
    reason: str
    idempotency_key: str
    models: Mapping[str, MeterModel] = field(repr=False)
    at: datetime


async def replace_meter(
    *, scope: Scope, meter_id: UUID, to_meter_id: UUID | None, ask: Ask
) -> Takedown:
    """Begin to replace a meter; its money follows to the new one, which may be named later.

    A repeat with the same key answers the same takedown. Raises NotFound, Forbidden, InvalidInput,
    Conflict (it serves nobody, it is being taken down, the new one does not fit or is taken).
    """
    reason, key = check_reason(ask.reason), check_key(ask.idempotency_key)
    async with unit_of_work(scope.group_id) as work:
        meter = await meters.meter(work, scope=scope, meter_id=meter_id)
        scope.require(Permission.METER_REPLACE, meter.project_id)
        known = await _known(work, meter.project_id, key, meter_id, Purpose.REPLACE)
        if known is not None:
            return known
        served = await _served(work, meter)
        if to_meter_id is not None:
            await check_next(work, scope=scope, meter=meter, to_meter_id=to_meter_id)
        new = NewTakedown(served, Purpose.REPLACE, False, reason, key, ask.at, to_meter_id)
        return await begin(work, new=new, meter=meter, ask=ask)


async def move_account(
    *,
    scope: Scope,
    account_id: UUID,
    area_id: UUID,
    meters_to: Mapping[UUID, UUID],
    cut: bool,
    ask: Ask,
) -> list[Takedown]:
    """Begin to move a household to another room: each meter that serves it is named with the one of the
    new room that takes over. Its meters come along when none is named: then only the place changes.

    Customers, money and step counters go with the account. Raises as `replace_meter`, and InvalidInput
    (not all its meters are named).
    """
    reason, key = check_reason(ask.reason), check_key(ask.idempotency_key)
    async with unit_of_work(scope.group_id) as work:
        account = await places.account(work, scope=scope, account_id=account_id)
        scope.require(Permission.ACCOUNT_WRITE, account.project_id)
        area = await places.area(work, scope=scope, area_id=area_id)
        if area.project_id != account.project_id:
            raise Conflict("the place is not of this project")
        _refuse_closed(account)
        if not meters_to:
            return await _only_place(work, scope, account, area_id, ask.at)
        scope.require(Permission.METER_REPLACE, account.project_id)
        serving = (await meters.meters_of_accounts(work, account_ids=[account_id]))[account_id]
        left_out = {meter.id for meter in serving} - set(meters_to)
        begun: list[Takedown] = []
        await hold_purse(work, project_id=account.project_id, account_id=account_id, at=ask.at)
        for number, meter_id in enumerate(sorted(meters_to), 1):
            meter = await meters.meter(work, scope=scope, meter_id=meter_id)
            one = f"{key}:{number}"
            known = await _known(work, account.project_id, one, meter_id, Purpose.MOVE)
            if known is not None:
                begun.append(known)
                continue
            served = await _served(work, meter)
            if left_out:
                raise InvalidInput("say for each of its meters which takes over", field="meters")
            if served.account_id != account_id:
                raise InvalidInput("this meter serves another account", field="meters")
            to = meters_to[meter_id]
            await check_next(work, scope=scope, meter=meter, to_meter_id=to)
            new = NewTakedown(served, Purpose.MOVE, cut, reason, one, ask.at, to, area_id)
            begun.append(await begin(work, new=new, meter=meter, ask=ask))
        return begun


async def begin(work: UnitOfWork, *, new: NewTakedown, meter: Meter, ask: Ask) -> Takedown:
    """Stop selling to a meter, stop what is under way, and set its last word on its way; audited. The
    assignment's row is locked, and the right was checked."""
    at = ask.at
    await take_over(work, served=new.assignment, at=at)
    await metering.stop_selling(work, meter_id=meter.id, at=at)
    sent_at = await control.freeze_vends(work, meter_id=meter.id, reason=FROZEN)
    unsure = at if sent_at is None else max(at, sent_at + WRITE_UNDER_WAY)
    model = ask.models.get(meter.profile)
    cut = new.cut and model is not None and model.switches
    takedown = await rows.begin_takedown(
        work,
        new=NewTakedown(
            new.assignment,
            new.purpose,
            cut,
            new.reason,
            new.idempotency_key,
            unsure,
            new.to_meter_id,
            new.to_area_id,
        ),
        requested_by=ask.actor.name,
        at=at,
    )
    payload = {"takedown_id": str(takedown.id)}
    await emit(work, topic=TOPIC, key=str(takedown.id), payload=payload, at=at)
    if cut:
        await trip(work, meter=meter, models=ask.models, actor=ask.actor, at=at)
    await audit_takedown(work, takedown, ask.actor, "begin", at)
    return takedown


async def trip(
    work: UnitOfWork, *, meter: Meter, models: Mapping[str, MeterModel], actor: Actor, at: datetime
) -> None:
    """Open the relay, so that nothing is used after the last word."""
    order = Order(CommandKind.TRIP, FROZEN)
    await ask_command(work, meter=meter, order=order, models=models, actor=actor, at=at)


async def name_next_meter(
    *, scope: Scope, takedown_id: UUID, to_meter_id: UUID, at: datetime
) -> Takedown:
    """Say which meter takes over, or another one as long as it is not done.

    Raises NotFound, Forbidden, Conflict (ended, the meter does not fit or is taken).
    """
    async with unit_of_work(scope.group_id) as work:
        takedown = await to_change(work, scope, takedown_id, Permission.METER_REPLACE)
        if takedown.purpose is Purpose.CLOSE:
            raise Conflict("the account is being closed: no meter takes over")
        meter = await meters.meter_by_id(work, meter_id=takedown.meter_id)
        await check_next(work, scope=scope, meter=meter, to_meter_id=to_meter_id)
        named = await rows.name_successor(work, takedown_id=takedown_id, meter_id=to_meter_id)
        await postpone(work, topic=TOPIC, key=str(takedown_id), due_at=at)
        await audit_takedown(work, named, scope.actor, "name_next", at)
    return named


async def cancel_takedown(
    *, scope: Scope, takedown_id: UUID, note: str, models: Mapping[str, MeterModel], at: datetime
) -> Takedown:
    """The meter serves on: it is sold to again, and gets what was under way. Raises NotFound, Forbidden,
    InvalidInput, Conflict (ended, part of a closing, its place on the bus is taken)."""
    async with unit_of_work(scope.group_id) as work:
        takedown = await to_change(work, scope, takedown_id, Permission.METER_REPLACE)
        if takedown.purpose is Purpose.CLOSE:
            raise Conflict("cancel the closing of the account")
        return await undo(
            work, takedown=takedown, why=check_reason(note), actor=scope.actor, models=models, at=at
        )


async def undo(
    work: UnitOfWork,
    *,
    takedown: Takedown,
    why: str,
    actor: Actor,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> Takedown:
    """Cancel a takedown whose row is locked: vends wait again, the relay obeys the meter's money again."""
    meter = await meters.meter_by_id(work, meter_id=takedown.meter_id)
    if meter.removed_at is not None:
        await metering.put_back_meter(work, meter_id=meter.id)
    cancelled = await rows.mark_cancelled(work, takedown_id=takedown.id, why=why, at=at)
    await metering.resume_selling(work, meter_id=meter.id)
    # One that may have reached the meter goes on by reading its count first (C9).
    await control.requeue_stopped(work, meter_id=meter.id)
    await wake_vends(work, meter_ids=[meter.id], at=at)
    if takedown.cut:
        order = Order(CommandKind.RELEASE, FROZEN + ": cancelled")
        await ask_command(work, meter=meter, order=order, models=models, actor=actor, at=at)
    await audit_takedown(work, cancelled, actor, "cancel", at)
    return cancelled


async def to_change(
    work: UnitOfWork, scope: Scope, takedown_id: UUID, permission: Permission
) -> Takedown:
    """A takedown that has not ended, locked, for one who may. Raises NotFound, Forbidden, Conflict."""
    seen = await rows.takedown(work, scope=scope, takedown_id=takedown_id)
    scope.require(permission, seen.project_id)
    takedown = await rows.lock_takedown(work, takedown_id=takedown_id)
    if takedown is None or takedown.finished_at is not None:
        raise Conflict("this takedown has ended")
    return takedown


async def check_next(work: UnitOfWork, *, scope: Scope, meter: Meter, to_meter_id: UUID) -> Meter:
    """The meter that is to take over. Raises NotFound, Conflict (does not fit, or serves somebody)."""
    following = await meters.meter(work, scope=scope, meter_id=to_meter_id)
    if following.project_id != meter.project_id or following.removed_at is not None:
        raise Conflict("the new meter is not on this site")
    if await meters.assignment_of_meter(work, meter_id=to_meter_id) is not None:
        raise Conflict("the new meter serves an account already")
    check_successor(
        kind=meter.kind,
        to_kind=following.kind,
        credit_mode=meter.credit_mode,
        to_credit_mode=following.credit_mode,
    )
    return following


async def _known(
    work: UnitOfWork, project_id: UUID, key: str, meter_id: UUID, purpose: Purpose
) -> Takedown | None:
    known = await rows.takedown_of_key(work, project_id=project_id, idempotency_key=key)
    if known is not None and (known.meter_id, known.purpose) != (meter_id, purpose):
        raise Conflict("this idempotency key was used for something else")
    return known


async def _served(work: UnitOfWork, meter: Meter) -> MeterAssignment:
    """The running assignment of a meter, locked. Raises Conflict when it serves nobody."""
    running = await meters.assignment_of_meter(work, meter_id=meter.id)
    if running is None:
        raise Conflict("this meter serves nobody")
    served = await rows.lock_assignment(work, assignment_id=running.id)
    if served.ended_at is not None:
        raise Conflict("this meter serves nobody")
    account = await places.account_by_id(work, account_id=served.account_id)
    _refuse_closed(account)
    return served


def _refuse_closed(account: Account) -> None:
    if account.closed_at is not None or account.closing_at is not None:
        raise Conflict("the account is closed, or being closed")


async def _only_place(
    work: UnitOfWork, scope: Scope, account: Account, area_id: UUID, at: datetime
) -> list[Takedown]:
    await accounts.move_to_area(work, account_id=account.id, area_id=area_id)
    await record(
        work,
        actor=scope.actor,
        action="account:self:move",
        subject=str(account.id),
        at=at,
        project_id=account.project_id,
        before={"area": str(account.area_id)},
        after={"area": str(area_id)},
    )
    return []


async def audit_takedown(
    work: UnitOfWork, takedown: Takedown, actor: Actor, verb: str, at: datetime
) -> None:
    """Who did what with a takedown."""
    final = takedown.final
    await record(
        work,
        actor=actor,
        action=f"meter:takedown:{verb}",
        subject=str(takedown.meter_id),
        at=at,
        project_id=takedown.project_id,
        after={
            "takedown": str(takedown.id),
            "account": str(takedown.account_id),
            "purpose": str(takedown.purpose),
            "state": str(takedown.state),
            "reason": takedown.reason,
            "toMeter": None if takedown.to_meter_id is None else str(takedown.to_meter_id),
            "finalTotal": None if final is None else final.total,
            "finalRemaining": None
            if final is None or final.remaining is None
            else str(final.remaining),
            "finalPurchaseNo": None if final is None else final.purchase_no,
            "finalBy": None if takedown.final_by is None else str(takedown.final_by),
            "note": takedown.note,
            "moved": str(takedown.moved),
        },
    )


def check_second(takedown: Takedown, approver: str) -> None:
    """Raise Conflict unless it waits for a second operator, Forbidden for the one who typed it (C30)."""
    if takedown.state is not TakedownState.TYPED:
        raise Conflict("nothing waits for a second operator here")
    if takedown.typed_by == approver:
        raise Forbidden("who typed the figures cannot approve them")
