"""One order to many meters, up to the moment it goes: preview, confirmation, a second operator, the way back
(A21, C22, C30). What it does from then on is batch_run's; each meter gets its command by the way of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from backend.audit.operations import record
from backend.audit.rules import State
from backend.control import batch_items, batches
from backend.control.batch_rules import (
    CANCEL_WINDOW,
    LIFE,
    WAITING_LIFE,
    BatchState,
    ItemState,
    check_step,
    needs_second,
)
from backend.control.batches import Batch
from backend.control.command_rules import NOTHING, CommandKind, Given, Order, order_of
from backend.control.second_word import check_second_word
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput
from backend.kernel.scope import Actor, Scope
from backend.metering.rules import MeterModel
from backend.metering.supplied import meters_in_service
from backend.outbox.operations import emit, postpone
from backend.tenancy.queries import project as project_door
from backend.tenancy.rules import Permission

from .batch_selection import Selection, previewed

TOPIC = "batch.due"
_FORCED = (CommandKind.TRIP, CommandKind.KEEP_POWER)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be asked of each meter, unchecked: as `command_meter` has it."""

    kind: CommandKind
    reason: str
    given: Given = NOTHING
    until: datetime | None = None

    def order(self, at: datetime) -> Order:
        """The checked order. Raises InvalidInput."""
        if self.until is not None and (self.kind not in _FORCED or self.until <= at):
            raise InvalidInput("a TRIP or KEEP_POWER has an end, and it is to come", field="until")
        return order_of(kind=self.kind, reason=self.reason, given=self.given)


async def prepare_batch(
    *,
    scope: Scope,
    project_id: UUID,
    wish: Wish,
    selection: Selection,
    models: Mapping[str, MeterModel],
    at: datetime,
) -> Batch:
    """Make a preview: who takes part, who is left out and why, whether it takes a second operator. Nothing
    goes to any meter. Raises NotFound, Forbidden, InvalidInput."""
    order = wish.order(at)
    if scope.actor.kind != "operator":
        raise Forbidden("a batch is an operator's: his rights are asked for until it ends")
    async with unit_of_work(scope.group_id) as work:
        await project_door(work, scope=scope, project_id=project_id)
        _require(scope, project_id)
        items = await previewed(
            work,
            scope=scope,
            project_id=project_id,
            selection=selection,
            order=order,
            until=wish.until,
            models=models,
            at=at,
        )
        count = sum(item.left_out is None for item in items)
        second = await _takes_second(work, project_id, scope.actor.id, order.kind, count, at)
        batch = await batches.add_batch(
            work,
            project_id=project_id,
            order=order,
            until=wish.until,
            selection=selection.kept(),
            second=second,
            actor=scope.actor,
            at=at,
        )
        await batch_items.add_items(
            work, project_id=project_id, batch_id=batch.id, items=items, at=at
        )
        told: dict[str, str | int | bool | list[str] | None] = {
            "kind": str(order.kind),
            "reason": order.reason,
            "meters": count,
            "leftOut": len(items) - count,
            "selection": [f"{name}: {value}" for name, value in batch.selection.items()],
        }
        await audit(work, batch, "prepare", scope.actor, at, told)
    return batch


async def confirm_batch(*, scope: Scope, batch_id: UUID, at: datetime) -> Batch:
    """Say that it is meant. It waits for a second operator where it takes one, else it begins in 60 s.

    Raises NotFound, Forbidden (also for another than who made the preview), Conflict (it is no preview any
    more or an old one; nobody takes part).
    """
    async with unit_of_work(scope.group_id) as work:
        batch = await _locked(work, scope, batch_id, "confirmed")
        if scope.actor.id != batch.asked_by:
            raise Forbidden("who made the preview confirms it")
        if at >= batch.expires_at:
            raise Conflict("this preview is too old: make another")
        counts = await batch_items.count_items(work, batch_ids=[batch.id])
        count = counts[batch.id][ItemState.READY]
        if not count:
            raise Conflict("no meter takes part in this batch")
        second = await _takes_second(work, batch.project_id, batch.asked_by, batch.kind, count, at)
        batch = replace(batch, second=second, confirmed_at=at)
        if second:
            batch = replace(batch, state=BatchState.WAITING, expires_at=at + WAITING_LIFE)
            await batches.save_batch(work, batch)
        else:
            batch = await _begin(work, batch, at)
        await audit(work, batch, "confirm", scope.actor, at, {"second": second, "meters": count})
    return batch


async def rule_batch(*, scope: Scope, batch_id: UUID, approved: bool, at: datetime) -> Batch:
    """The second operator's word; what is approved begins in 60 s.

    Raises NotFound, Forbidden, Conflict (it does not wait, expired, approved by who asked for it).
    """
    async with unit_of_work(scope.group_id) as work:
        batch = await _locked(work, scope, batch_id, "ruled on", by=Permission.BATCH_APPROVE)
        check_second_word(
            batch, waits_as=BatchState.WAITING, actor=scope.actor, approved=approved, at=at
        )
        batch = replace(batch, ruled_by=scope.actor.id, ruled_name=scope.actor.name, ruled_at=at)
        if approved:
            batch = await _begin(work, batch, at)
        else:
            batch = replace(batch, state=BatchState.REFUSED, finished_at=at)
            await batches.save_batch(work, batch)
        await audit(work, batch, "approve" if approved else "refuse", scope.actor, at, {})
    return batch


async def pause_batch(*, scope: Scope, batch_id: UUID, at: datetime) -> Batch:
    """Ask nothing more of anybody until it is resumed; what is on its way goes on. Raises NotFound,
    Forbidden, Conflict (it does not run)."""
    async with unit_of_work(scope.group_id) as work:
        batch = await _locked(work, scope, batch_id, "paused")
        batch = replace(batch, state=BatchState.PAUSED, note=f"paused by {scope.actor.name}")
        await batches.save_batch(work, batch)
        await audit(work, batch, "pause", scope.actor, at, {})
    return batch


async def resume_batch(*, scope: Scope, batch_id: UUID, at: datetime) -> Batch:
    """Go on with what was paused. Raises NotFound, Forbidden, Conflict (it is not paused, its day is
    over)."""
    async with unit_of_work(scope.group_id) as work:
        batch = await _locked(work, scope, batch_id, "resumed")
        batch = await _go_on(work, batch, at)
        await audit(work, batch, "resume", scope.actor, at, {})
    return batch


async def cancel_batch(*, scope: Scope, batch_id: UUID, at: datetime) -> Batch:
    """Call off all that was not asked yet: within 60 s of the last confirmation that is all of it. Raises
    NotFound, Forbidden, Conflict (it ended)."""
    async with unit_of_work(scope.group_id) as work:
        batch = await _locked(work, scope, batch_id, "cancelled")
        note = f"cancelled by {scope.actor.name}"
        batch = replace(batch, tended_at=batches.now_in(batch, at))
        called_off = await batch_items.cancel_ready(
            work, batch_id=batch.id, note=note, at=batch.tended_at or at
        )
        counts = await batch_items.count_items(work, batch_ids=[batch.id])
        left = counts[batch.id][ItemState.ASKED]
        over = None if left else at
        batch = replace(batch, state=BatchState.CANCELLED, note=note, finished_at=over)
        await batches.save_batch(work, batch)
        told = {"meters": called_off, "onTheirWay": left}
        await audit(work, batch, "cancel", scope.actor, at, told)
    return batch


async def retry_batch(*, scope: Scope, batch_id: UUID, at: datetime) -> Batch:
    """Ask again what failed; not of who got a newer command meanwhile, for that one is meant.

    Raises NotFound, Forbidden, Conflict (it was cancelled, its day is over, nothing failed).
    """
    async with unit_of_work(scope.group_id) as work:
        batch = await _locked(work, scope, batch_id, "tried again")
        moved_at = batches.now_in(batch, at)
        again = await batch_items.retry_failed(work, batch_id=batch.id, at=moved_at)
        if not again:
            raise Conflict("nothing failed in this batch")
        batch = await _go_on(work, batch, at)
        await audit(work, batch, "retry", scope.actor, at, {"meters": again})
    return batch


async def audit(
    work: UnitOfWork,
    batch: Batch,
    verb: str,
    actor: Actor,
    at: datetime,
    told: State,
) -> None:
    """Write down what was done with a batch."""
    await record(
        work,
        actor=actor,
        action=f"batch:self:{verb}",
        subject=str(batch.id),
        at=at,
        project_id=batch.project_id,
        after={"state": str(batch.state), **told},
    )


def _require(scope: Scope, project_id: UUID) -> None:
    """A batch commands meters: both rights."""
    scope.require(Permission.BATCH_RUN, project_id)
    scope.require(Permission.METER_CONTROL, project_id)


async def _locked(
    work: UnitOfWork,
    scope: Scope,
    batch_id: UUID,
    step: str,
    *,
    by: Permission = Permission.BATCH_RUN,
) -> Batch:
    """The batch, locked until commit, when the caller may take that step and it can be taken now."""
    found = await batches.batch(work, scope=scope, batch_id=batch_id)
    if by is Permission.BATCH_RUN:
        _require(scope, found.project_id)
    scope.require(by, found.project_id)
    batch = await batches.lock_batch(work, batch_id=batch_id)
    check_step(batch.state, step)
    return batch


async def _takes_second(
    work: UnitOfWork, project_id: UUID, operator: str, kind: CommandKind, count: int, at: datetime
) -> bool:
    alone = await batches.lock_limit(work, project_id=project_id)
    given = await batches.given_alone(
        work, project_id=project_id, operator=operator, kind=kind, at=at
    )
    meters = await meters_in_service(work, project_ids=[project_id])
    return needs_second(kind=kind, count=count, given=given, alone=alone, meters=meters[project_id])


async def _begin(work: UnitOfWork, batch: Batch, at: datetime) -> Batch:
    """The last word was said: from the end of the cancel window on it goes."""
    start = at + CANCEL_WINDOW
    batch = replace(batch, state=BatchState.RUNNING, starts_at=start, tended_at=start)
    await batches.save_batch(work, batch)
    payload = {"batch_id": str(batch.id)}
    await emit(work, topic=TOPIC, key=str(batch.id), payload=payload, at=at, due_at=start)
    return batch


async def _go_on(work: UnitOfWork, batch: Batch, at: datetime) -> Batch:
    assert batch.starts_at is not None, "it began"
    if at >= batch.starts_at + LIFE:
        raise Conflict("its day is over: make another")
    start = max(at, batch.starts_at)
    batch = replace(
        batch,
        state=BatchState.RUNNING,
        tended_at=batches.now_in(batch, start),
        finished_at=None,
        note=None,
    )
    await batches.save_batch(work, batch)
    await postpone(work, topic=TOPIC, key=str(batch.id), due_at=start)
    return batch
