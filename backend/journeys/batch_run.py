"""A batch on its way: a few meters at a time, as many as buses bear, until each has its end (A21, C22).

Every meter is commanded by `command_meters`, as by hand: policies, protection, supersession and audit hold.
What is on its way is rows, so whoever comes after a crash goes on where it stood.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from backend.alerts.operations import NewCase, close_cases, open_cases
from backend.audit.operations import NewEntry, record_all
from backend.control import batch_items, batches
from backend.control.batch_items import BatchItem
from backend.control.batch_rules import (
    AT_A_GATEWAY,
    FORGOTTEN,
    IN_A_PROJECT,
    LIFE,
    UNTENDED,
    BatchState,
    ItemState,
)
from backend.control.batches import Batch
from backend.control.command_rules import CommandKind, together
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.scope import Actor
from backend.metering.rules import MeterModel
from backend.metering.supplied import SuppliedMeter, supplied_meters
from backend.outbox.operations import reopen_if_done, take_back
from backend.tenancy.queries import scope_of
from backend.tenancy.rules import Permission

from .batch import TOPIC, audit
from .command import command_meters

RUNNER = Actor("system", "batch", "batch runner")
# Meters of one transaction, which holds the chain of the audit; and of a round, that are chosen at once.
_AT_ONCE, _A_ROUND = 250, 1000
_GIVERS = 2
# Every bus has another errand to do when one ends, so a few rounds a second are enough to give; when nothing
# is left to give, who watches waits for the end.
_GIVING = timedelta(milliseconds=500)
_SOON, _AGAIN = timedelta(milliseconds=50), timedelta(milliseconds=200)
_OPEN = (BatchState.RUNNING, BatchState.PAUSED, BatchState.CANCELLED)
_HALTED, _FAILED = "BATCH_HALTED", "BATCH_FAILED"
_NO_MORE_RIGHT = "who asked for it may not control meters any more"


async def run_batch(
    *, group_id: int, batch_id: UUID, models: Mapping[str, MeterModel], at: datetime
) -> datetime | None:
    """Take over what became of its commands, give as many as may be on their way; gives when to look again,
    None when there is nothing to wait for. Raises NotFound."""
    async with unit_of_work(group_id, by_key=True) as work:
        batch = await batches.lock_batch(work, batch_id=batch_id)
        if batch.finished_at is not None or batch.starts_at is None:
            return None
        moved_at = batches.now_in(batch, at)
        settled = await batch_items.settle_items(work, batch_id=batch.id, at=moved_at)
        batch = await _halted(work, batch, at)
        runs = batch.state is BatchState.RUNNING and _begun(batch, at)
        numbers = await _next_up(work, batch) if runs else []
        batch = await batches.save_batch(work, replace(batch, tended_at=moved_at))
        if not numbers:
            return await _next_look(work, batch, at, moved=settled > 0)
    await _give_all(group_id, batch, numbers, models, at)
    return at if len(numbers) == _A_ROUND else at + _GIVING


async def _give_all(
    group_id: int,
    batch: Batch,
    numbers: Sequence[int],
    models: Mapping[str, MeterModel],
    at: datetime,
) -> None:
    """Command the meters of items, some of them in each transaction, two of which are under way at a time."""
    parts = iter([numbers[n : n + _AT_ONCE] for n in range(0, len(numbers), _AT_ONCE)])

    async def gives() -> None:
        for part in parts:
            async with unit_of_work(group_id, by_key=True) as work:
                now = await batches.share_batch(work, batch_id=batch.id)
                if now.state is BatchState.RUNNING:
                    await _give(work, now, part, models, at)
                    batches.ring(work, batch.id)

    ended = await asyncio.gather(*(gives() for _ in range(_GIVERS)), return_exceptions=True)
    for failure in ended:
        if failure is not None:
            raise failure


async def _next_up(work: UnitOfWork, batch: Batch) -> list[int]:
    return await batch_items.next_up(
        work,
        batch_id=batch.id,
        project_id=batch.project_id,
        at_a_gateway=AT_A_GATEWAY,
        in_a_project=IN_A_PROJECT,
        together=together(batch.kind),
        limit=_A_ROUND,
    )


async def tend_batches(*, group_id: int, at: datetime) -> None:
    """Ring again for batches that lost their event or their worker, end previews and requests that
    expired."""
    async with unit_of_work(group_id) as work:
        for batch in await batches.expire_batches(work, at=at):
            await audit(work, batch, "expire", RUNNER, at, {})
        for batch in await batches.batches_to_carry_on(work, at=at):
            due_at = max(at, batch.starts_at or at)
            gone = batch.tended_at is not None and at - batch.tended_at > FORGOTTEN
            ring_again = take_back if gone else reopen_if_done
            await ring_again(work, topic=TOPIC, key=str(batch.id), due_at=due_at)


def _begun(batch: Batch, at: datetime) -> bool:
    return batch.starts_at is not None and batch.starts_at <= at


async def _halted(work: UnitOfWork, batch: Batch, at: datetime) -> Batch:
    """The batch, paused when it must not go on by itself; after its day what is left of it is cancelled."""
    assert batch.starts_at is not None, "it began"
    if at >= batch.starts_at + LIFE:
        note = "its day was over"
        moved_at = batches.now_in(batch, at)
        await batch_items.cancel_ready(work, batch_id=batch.id, note=note, at=moved_at)
        return batch
    if batch.state is not BatchState.RUNNING or at < batch.starts_at:
        return batch
    untended = batch.tended_at is not None and at - batch.tended_at > UNTENDED
    note = ""
    if batch.kind is CommandKind.TRIP and untended:
        note = (
            "nobody carried it on for a while: resume it if it is still meant"  # no late surprise
        )
    elif not await _may_still(work, batch):
        note = _NO_MORE_RIGHT
    if not note:
        return batch
    paused = await batches.save_batch(work, replace(batch, state=BatchState.PAUSED, note=note))
    await audit(work, paused, "pause", RUNNER, at, {"note": note})
    await _tell(work, paused, _HALTED, {"why": note, "reason": batch.reason}, at)
    return paused


async def _tell(
    work: UnitOfWork, batch: Batch, kind: str, detail: Mapping[str, str], at: datetime
) -> None:
    """A person is to look: a case, which ends with the batch."""
    case = NewCase(batch.project_id, kind, str(batch.id), detail)
    await open_cases(work, cases=[case], at=at)


async def _may_still(work: UnitOfWork, batch: Batch) -> bool:
    """Whether who asked for it still may: rights are read afresh, as for each command by hand."""
    scope = await scope_of(work, operator_id=UUID(batch.asked_by), address=batch.asked_from)
    return scope is not None and all(
        scope.may(each, batch.project_id)
        for each in (Permission.BATCH_RUN, Permission.METER_CONTROL)
    )


async def _give(
    work: UnitOfWork,
    batch: Batch,
    numbers: Sequence[int],
    models: Mapping[str, MeterModel],
    at: datetime,
) -> None:
    """Command the meters of some items."""
    moved_at = batches.now_in(batch, at)
    items = await batch_items.lock_ready(work, batch_id=batch.id, places=numbers)
    if not items:
        return
    places = {item.meter_id: item.no for item in items if item.meter_id}
    meters = await supplied_meters(work, meter_ids=list(places))
    notes = _changed(batch, items, meters, at)
    entries: list[NewEntry] = []
    going = [meter_id for meter_id in places if meter_id not in notes]
    if going:
        told = await command_meters(
            work,
            meters=[meters[meter_id] for meter_id in sorted(going)],
            order=batch.order,
            models=models,
            actor=batch.asker,
            at=at,
            until=batch.until,
            entries=entries,
        )
        commands = {places[meter_id]: command.id for meter_id, command in told.commands.items()}
        await batch_items.mark_asked(work, batch_id=batch.id, commands=commands, at=moved_at)
        notes |= told.refused
    if notes:
        failed = {places[meter_id]: note for meter_id, note in notes.items()}
        await batch_items.mark_failed(work, batch_id=batch.id, notes=failed, at=moved_at)
    await record_all(work, entries=entries)  # last: the group's audit is one chain


def _changed(
    batch: Batch, items: Sequence[BatchItem], meters: Mapping[UUID, SuppliedMeter], at: datetime
) -> dict[UUID, str]:
    """Meters that are not what they were in the preview, and why nothing is asked of them (C22: a command is
    bound to an assignment)."""
    if batch.until is not None and batch.until <= at:
        return {item.meter_id: "its end came first" for item in items if item.meter_id}
    wanted = {item.meter_id: item.assignment_id for item in items if item.meter_id}
    notes = {}
    for meter_id, assignment_id in wanted.items():
        if meter_id not in meters:
            notes[meter_id] = "it left service since the preview"
        elif meters[meter_id].assignment_id != assignment_id:
            notes[meter_id] = "it serves somebody else than at the preview"
    return notes


async def _next_look(
    work: UnitOfWork, batch: Batch, at: datetime, *, moved: bool
) -> datetime | None:
    """When to look again, sooner if something `moved`; a batch of which nothing is left ends here."""
    assert batch.starts_at is not None, "it began"
    left = await batch_items.any_left(work, batch_id=batch.id)
    if not any(left.values()):
        cancelled = batch.state is BatchState.CANCELLED
        state = BatchState.CANCELLED if cancelled else BatchState.DONE
        ended = await batches.save_batch(work, replace(batch, state=state, finished_at=at))
        counts = (await batch_items.count_items(work, batch_ids=[batch.id]))[batch.id]
        told = {str(each): number for each, number in counts.items() if number}
        await audit(work, ended, "end", RUNNER, at, told)
        for kind in (_HALTED, _FAILED):
            note = "the batch ended"
            await close_cases(work, kind=kind, subjects=[str(batch.id)], note=note, at=at)
        if failed := counts[ItemState.FAILED]:
            detail = {"failed": str(failed), "reason": batch.reason}
            await _tell(work, ended, _FAILED, detail, at)
        return None
    if left[ItemState.ASKED] or batch.state is BatchState.RUNNING:
        pause = _SOON if moved and not left[ItemState.READY] else _AGAIN
        return max(at + pause, batch.starts_at)
    return None
