"""A takedown on its way: the meter's last word, read or typed, and the commit that ends it (A17).

What cannot be known becomes a case with a way out: the figures are typed by an operator with a note, above
the project's limit with a second one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.accounts.closings import closing_of_account
from backend.alerts.operations import close_cases, open_case
from backend.control.command_rules import CommandKind, CommandState
from backend.control.commands import commands_of_meters
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, DomainError
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.ledger.rules import Overdrawn
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.metering import takedowns as rows
from backend.metering.models import Meter, MeterAssignment
from backend.metering.readings import Reading
from backend.metering.rules import MeterModel
from backend.metering.takedown_rules import (
    STUCK_AFTER,
    FinalBy,
    FinalWord,
    Purpose,
    TakedownState,
    check_sure,
    check_typed,
    needs_second,
    why_not,
)
from backend.metering.takedowns import Takedown
from backend.outbox.operations import postpone, reopen_if_done
from backend.tenancy.rules import Permission
from backend.topups.refunds import alone_fen

from .occupancy import OPENING_AT_MOST
from .takedown import TOPIC, audit_takedown, check_second, to_change, trip
from .takedown_booking import book_out, service_of

WORKER = Actor("system", "worker", "takedown worker")
CLOSING_TOPIC = "closing.due"
_SOON = timedelta(seconds=5)
_LATER = timedelta(minutes=10)
_ENDED = (CommandState.FAILED, CommandState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Errand:
    """What a worker does next: meters to read now, or when to look again; neither: nothing is left."""

    read: tuple[UUID, ...] = ()
    again_at: datetime | None = None


async def look(
    *, group_id: int, takedown_id: UUID, models: Mapping[str, MeterModel], at: datetime
) -> Errand:
    """What a takedown waits for that a worker can do. Opens the relay anew when a trip ran out of time."""
    async with unit_of_work(group_id) as work:
        takedown = await rows.lock_takedown(work, takedown_id=takedown_id)
        if takedown is None or takedown.state not in (TakedownState.WAITING, TakedownState.KNOWN):
            return Errand()
        to_read: list[UUID] = []
        if takedown.state is TakedownState.WAITING:
            if at < takedown.unsure_until:
                return Errand(again_at=takedown.unsure_until)
            if takedown.cut:
                waits = await _trip_waits(work, takedown, models, at)
                if waits is not None:
                    return Errand(again_at=waits)
            to_read.append(takedown.meter_id)
        if takedown.to_meter_id is not None:
            to_read.append(takedown.to_meter_id)
        elif takedown.purpose is Purpose.REPLACE and not to_read:
            return Errand()  # a person names the next meter first
    return Errand(read=tuple(to_read))


async def go_on(*, group_id: int, takedown_id: UUID, at: datetime) -> datetime | None:
    """Take the meter's last word when it is there, and end the service when all is; gives when to look
    again, or None when it is done or a person is waited for."""
    async with unit_of_work(group_id) as work:
        takedown = await rows.lock_takedown(work, takedown_id=takedown_id)
        if takedown is None:
            return None
        served = await rows.lock_assignment(work, assignment_id=takedown.assignment_id)
        if takedown.state is TakedownState.WAITING:
            takedown = await _hear(work, takedown, served, at)
            if takedown.state is TakedownState.WAITING:
                return at + _LATER
        if takedown.state is not TakedownState.KNOWN:
            return None
        return await _end(work, takedown, served, WORKER, at)


async def type_final(
    *, scope: Scope, takedown_id: UUID, word: FinalWord, note: str, at: datetime
) -> Takedown:
    """An operator types what a dead meter held: from its last reading and the book. Above the project's
    limit a second one must agree.

    Raises NotFound, Forbidden, InvalidInput, Conflict (the last word is known, a write may be under way,
    the figures do not fit the book).
    """
    async with unit_of_work(scope.group_id) as work:
        takedown = await to_change(work, scope, takedown_id, Permission.METER_REPLACE)
        if takedown.state is not TakedownState.WAITING:
            raise Conflict("the last word of this meter is known, or typed already")
        check_sure(at=at, unsure_until=takedown.unsure_until)
        served = await rows.lock_assignment(work, assignment_id=takedown.assignment_id)
        meter = await meters.meter_by_id(work, meter_id=takedown.meter_id)
        service = await service_of(work, served=served, meter=meter, word=word)
        told = check_typed(word, note=note, service=service)
        alone = await alone_fen(work, project_id=takedown.project_id)
        four_eyes = needs_second(remaining=word.remaining, alone_fen=alone)
        typed = await rows.keep_final(
            work,
            takedown_id=takedown_id,
            state=TakedownState.TYPED if four_eyes else TakedownState.KNOWN,
            word=word,
            by=FinalBy.TYPED,
            typed_by=scope.actor.id,
            note=told,
        )
        if not four_eyes:
            typed = await _known(work, typed, at)
        await audit_takedown(work, typed, scope.actor, "type", at)
    return typed


async def agree_typed(
    *, scope: Scope, takedown_id: UUID, agrees: bool, note: str, at: datetime
) -> Takedown:
    """A second operator agrees to typed figures, or has them typed anew. Raises NotFound, Forbidden (no
    right, or the one who typed them), Conflict (nothing waits for it)."""
    async with unit_of_work(scope.group_id) as work:
        takedown = await to_change(work, scope, takedown_id, Permission.REPLACEMENT_APPROVE)
        check_second(takedown, scope.actor.id)
        if agrees:
            decided = await rows.mark_agreed(
                work, takedown_id=takedown_id, approved_by=scope.actor.id
            )
            decided = await _known(work, decided, at)
        else:
            why = note.strip() or "a second operator did not agree"
            decided = await rows.forget_typed(work, takedown_id=takedown_id, why=why[:500])
        verb = "approve" if agrees else "refuse"
        await audit_takedown(work, decided, scope.actor, verb, at)
    return decided


async def not_reached(*, group_id: int, takedown_id: UUID, why: str, at: datetime) -> None:
    """A meter did not answer; a long wait becomes a case: its figures can be typed."""
    async with unit_of_work(group_id) as work:
        takedown = await rows.lock_takedown(work, takedown_id=takedown_id)
        if takedown is None or takedown.finished_at is not None:
            return
        await rows.note_waiting(work, takedown_id=takedown_id, why=why)
        if at - takedown.started_at >= STUCK_AFTER:
            await _stuck(work, takedown, why, at)


async def tend_takedowns(work: UnitOfWork, *, at: datetime) -> None:
    """Ring again for takedowns whose event is gone."""
    for takedown_id in await rows.takedowns_unfinished(work):
        await reopen_if_done(work, topic=TOPIC, key=str(takedown_id), due_at=at)


async def _trip_waits(
    work: UnitOfWork, takedown: Takedown, models: Mapping[str, MeterModel], at: datetime
) -> datetime | None:
    """None when the relay was seen open after the takedown began, else when to look again. A trip lives
    for two minutes (C22), so it is asked for again until the meter is heard of."""
    found = await commands_of_meters(work, meter_ids=[takedown.meter_id], limit=20)
    trips = [
        each
        for each in found[takedown.meter_id]
        if each.kind is CommandKind.TRIP and each.issued_at >= takedown.started_at
    ]
    newest = trips[0] if trips else None
    if newest is not None and newest.state is CommandState.VERIFIED:
        return None
    if newest is not None and newest.finished_at is None:
        return at + _SOON
    if newest is not None and newest.state in _ENDED:
        why = f"its relay could not be opened: {newest.outcome}"
        await rows.note_waiting(work, takedown_id=takedown.id, why=why)
        await _stuck(work, takedown, why, at)
        return at + _LATER
    meter = await meters.meter_by_id(work, meter_id=takedown.meter_id)
    await trip(work, meter=meter, models=models, actor=WORKER, at=at)
    if at - takedown.started_at >= STUCK_AFTER:
        await _stuck(work, takedown, "the meter does not answer", at)
    return at + _SOON


async def _hear(
    work: UnitOfWork, takedown: Takedown, served: MeterAssignment, at: datetime
) -> Takedown:
    """Take the newest reading as the meter's last word, when it is one and can be believed."""
    latest = (await meters.latest_of_meters(work, meter_ids=[takedown.meter_id])).get(
        takedown.meter_id
    )
    since = max(takedown.started_at, takedown.unsure_until)
    # A gateway may tell late what it read before: by then a sale was written, or energy went through.
    if latest is None or latest.received_at <= since or latest.at < since:
        return takedown
    if takedown.cut and latest.relay_closed is not False:
        return takedown
    word = _word_of(latest)
    meter = await meters.meter_by_id(work, meter_id=takedown.meter_id)
    service = await service_of(work, served=served, meter=meter, word=word)
    wrong = why_not(word, service)
    if wrong is not None:
        await rows.note_waiting(work, takedown_id=takedown.id, why=wrong)
        await _stuck(work, takedown, wrong, at)
        return takedown
    heard = await rows.keep_final(
        work,
        takedown_id=takedown.id,
        state=TakedownState.KNOWN,
        word=word,
        by=FinalBy.READ,
        typed_by=None,
        note=None,
    )
    return await _known(work, heard, at)


def _word_of(reading: Reading) -> FinalWord:
    held = reading.remaining_hao
    return FinalWord(
        at=reading.at,
        total=reading.total,
        remaining=None if held is None else Money(held),
        purchase_no=reading.purchase_no,
    )


async def _known(work: UnitOfWork, takedown: Takedown, at: datetime) -> Takedown:
    """The last word is there. A meter that is replaced leaves its place on the bus to the next one."""
    if takedown.purpose is Purpose.REPLACE:
        await metering.remove_meter(work, meter_id=takedown.meter_id, at=at)
    await postpone(work, topic=TOPIC, key=str(takedown.id), due_at=at)
    return takedown


async def _end(
    work: UnitOfWork, takedown: Takedown, served: MeterAssignment, actor: Actor, at: datetime
) -> datetime | None:
    """Book the service out when the next meter is there to take over; else say what is waited for."""
    if takedown.purpose is not Purpose.CLOSE:
        if takedown.to_meter_id is None:
            return None
        waits = await _next_waits(work, takedown.to_meter_id, at)
        if waits is not None:
            await rows.note_waiting(work, takedown_id=takedown.id, why=waits)
            return at + _LATER
    meter: Meter = await meters.meter_by_id(work, meter_id=takedown.meter_id)
    done = await book_out(work, takedown=takedown, served=served, meter=meter, actor=actor, at=at)
    await close_cases(
        work,
        kind="TAKEDOWN_STUCK",
        subjects=[str(takedown.id)],
        note="the meter was taken down",
        at=at,
    )
    gone = [str(takedown.meter_id)]
    for kind in ("VEND_STOPPED", "METER_LOST"):
        await close_cases(work, kind=kind, subjects=gone, note="the meter was taken down", at=at)
    closing = await closing_of_account(work, account_id=takedown.account_id)
    if closing is not None:
        await postpone(work, topic=CLOSING_TOPIC, key=str(closing.id), due_at=at)
    await audit_takedown(work, done, actor, "end", at)
    return None


async def _next_waits(work: UnitOfWork, meter_id: UUID, at: datetime) -> str | None:
    latest = (await meters.latest_of_meters(work, meter_ids=[meter_id])).get(meter_id)
    if latest is None or at - latest.at > OPENING_AT_MOST:
        return "the next meter was not read within the last hour"
    if await meters.assignment_of_meter(work, meter_id=meter_id) is not None:
        return "the next meter serves another account by now: name another one"
    return None


async def fails(*, group_id: int, takedown_id: UUID, error: DomainError, at: datetime) -> None:
    """Ending it was refused by the book or by metering: a person must look; nothing was changed."""
    async with unit_of_work(group_id) as work:
        takedown = await rows.lock_takedown(work, takedown_id=takedown_id)
        if takedown is None or takedown.finished_at is not None:
            return
        await rows.note_waiting(work, takedown_id=takedown_id, why=error.message)
        await _stuck(work, takedown, error.message, at)


REFUSALS = (Conflict, Overdrawn)


async def _stuck(work: UnitOfWork, takedown: Takedown, why: str, at: datetime) -> None:
    await open_case(
        work,
        project_id=takedown.project_id,
        kind="TAKEDOWN_STUCK",
        subject=str(takedown.id),
        detail={
            "reason": why,
            "meter": str(takedown.meter_id),
            "account": str(takedown.account_id),
            "purpose": str(takedown.purpose),
            "wayOut": "read the meter, or type its last figures, or cancel",
        },
        at=at,
    )
