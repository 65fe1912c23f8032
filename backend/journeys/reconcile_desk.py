"""What an operator does with bills and proofs: look, end a difference with a note, close a day (C6, C11)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.alerts.operations import close_cases
from backend.audit.operations import record
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.kernel.scope import Scope
from backend.reconcile import bills
from backend.reconcile.models import BillDay, BillItem, DayState
from backend.reconcile.rules import is_overdue
from backend.tenancy.rules import Permission

from .reconcile import CASE, MISSING, told


async def bill_days(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    only_open: bool,
    before: UUID | None,
    limit: int,
) -> list[BillDay]:
    """Bill days of a project, planned last first (keyset). Raises NotFound."""
    if not scope.may(Permission.RECONCILE_READ, project_id):
        raise NotFound("no such project")
    return await bills.days_page(
        work, project_id=project_id, only_open=only_open, before=before, limit=limit
    )


async def bill_day(work: UnitOfWork, *, scope: Scope, day_id: UUID) -> BillDay:
    """One bill day. Raises NotFound, the same for foreign and missing (C29)."""
    day = await bills.day_by_id(work, day_id=day_id)
    if day is None or not scope.may(Permission.RECONCILE_READ, day.project_id):
        raise NotFound("no such bill day")
    return day


async def bill_items(
    work: UnitOfWork, *, scope: Scope, day_id: UUID, before: UUID | None, limit: int
) -> list[BillItem]:
    """Items of a bill day, newest first (keyset). Raises NotFound."""
    await bill_day(work, scope=scope, day_id=day_id)
    return await bills.items_page(work, day_id=day_id, before=before, limit=limit)


async def bill_item(work: UnitOfWork, *, scope: Scope, item_id: UUID) -> BillItem:
    """One item. Raises NotFound, the same for foreign and missing (C29)."""
    item = await bills.item_by_id(work, item_id=item_id)
    if item is None or not scope.may(Permission.RECONCILE_READ, item.project_id):
        raise NotFound("no such bill item")
    return item


async def resolve_item(*, scope: Scope, item_id: UUID, note: str, at: datetime) -> BillItem:
    """End a difference with a note of what was found and done; its case ends with it.

    Raises NotFound, Forbidden, InvalidInput (no note), Conflict (ended before).
    """
    async with unit_of_work(scope.group_id) as work:
        seen = await bill_item(work, scope=scope, item_id=item_id)
        scope.require(Permission.RECONCILE_WRITE, seen.project_id)
        words = checked_note(note)
        # The day first, then the item: in the order of whoever compares and closes.
        day = await bills.lock_day(work, day_id=seen.day_id)
        item = await bills.lock_item(work, item_id=item_id)
        assert day is not None, "days are never deleted"
        assert item is not None, "items are never deleted"
        if item.resolved_at is not None:
            raise Conflict("the item was resolved before")
        ended = await bills.resolve(work, item_id=item_id, by=scope.actor.name, note=words, at=at)
        await close_cases(work, kind=CASE, subjects=[str(item_id)], note=words, at=at)
        await record(
            work,
            actor=scope.actor,
            action="reconcile:item:resolve",
            subject=str(item_id),
            at=at,
            project_id=item.project_id,
            before=told(day, item),
            after={"note": words},
        )
    return ended


async def close_day(*, scope: Scope, day_id: UUID, note: str, at: datetime) -> BillDay:
    """Close a compared day of which every item was ended; or one whose bill is overdue and will not come,
    as of a channel that gives none: the note says how it was compared by hand.

    Raises NotFound, Forbidden, InvalidInput (no note), Conflict (items open, bill awaited, closed).
    """
    async with unit_of_work(scope.group_id) as work:
        seen = await bill_day(work, scope=scope, day_id=day_id)
        scope.require(Permission.RECONCILE_WRITE, seen.project_id)
        words = checked_note(note)
        day = await bills.lock_day(work, day_id=day_id)
        assert day is not None, "days are never deleted"
        if day.state is DayState.CLOSED:
            raise Conflict("the day was closed before")
        given_up = day.state is DayState.WAITING and is_overdue(day.day, at=at)
        if day.state is not DayState.MATCHED and not given_up:
            raise Conflict("the bill of this day has not been compared yet")
        still = await bills.open_items(work, day_id=day_id)
        if still:
            raise Conflict(f"{len(still)} items of this day are open")
        closed = await bills.close(work, day_id=day_id, by=scope.actor.name, note=words, at=at)
        await close_cases(work, kind=MISSING, subjects=[str(day_id)], note=words, at=at)
        await record(
            work,
            actor=scope.actor,
            action="reconcile:day:close",
            subject=str(day_id),
            at=at,
            project_id=day.project_id,
            before={"state": str(day.state)},
            after={"state": str(closed.state), "note": words},
        )
    return closed


def checked_note(note: str) -> str:
    """The note without the space around it. Raises InvalidInput when it says nothing."""
    words = note.strip()
    if len(words) < 4:
        raise InvalidInput("say in the note what was found and done", field="note")
    return words
