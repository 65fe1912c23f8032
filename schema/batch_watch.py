"""What a subscription to a batch has seen of it, and what is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from backend.control import batch_items, batches
from backend.control.batch_items import BatchItem
from backend.control.batch_rules import ItemState
from backend.control.batches import Batch
from backend.kernel.db import unit_of_work

from .context import Info

_AT_ONCE = 500  # meters of one event
# A batch rings many times a second; nobody reads as fast, and each look is a question. The fewer are left,
# the more who watches waits for the last.
_PACE, _LAST_PACE = timedelta(milliseconds=500), timedelta(milliseconds=50)
_FOR_EACH = timedelta(microseconds=100)


class Seen(NamedTuple):
    """A batch with the items that moved since the last look."""

    batch: Batch
    counts: Mapping[ItemState, int]
    moved: Sequence[BatchItem]


class Watch:
    """One caller's look at one batch. Rights are asked for anew at every look."""

    def __init__(self, info: Info, batch_id: UUID) -> None:
        self._info = info
        self._batch_id = batch_id
        self._known: dict[int, tuple[ItemState, int]] = {}
        self._counts: dict[ItemState, int] = {}
        self._since: datetime | None = None
        self._last: Batch | None = None

    async def looks(self) -> AsyncGenerator[Seen, None]:
        """The batch now, then whenever it moved. Raises Unauthenticated, NotFound."""
        group_id = (await self._info.context.scope_now()).group_id
        bell = self._info.context.bell
        with bell.listen_to_batch(group_id=group_id, batch_id=self._batch_id) as rings:
            while True:
                for seen in await self._new():
                    yield seen
                await asyncio.sleep(self._pace.total_seconds())
                await rings.get()

    @property
    def _pace(self) -> timedelta:
        left = self._counts[ItemState.READY] + self._counts[ItemState.ASKED]
        return max(_LAST_PACE, min(left * _FOR_EACH, _PACE))

    async def _new(self) -> list[Seen]:
        scope = await self._info.context.scope_now()
        async with unit_of_work(scope.group_id) as work:
            batch = await batches.batch(work, scope=scope, batch_id=self._batch_id)
            if not self._counts:
                found = (await batch_items.count_items(work, batch_ids=[batch.id]))[batch.id]
                # Nobody is known to have moved yet: who takes part has its turn before it.
                left_out = found[ItemState.LEFT_OUT]
                ready = sum(found.values()) - left_out
                self._counts = dict.fromkeys(ItemState, 0)
                self._counts |= {ItemState.LEFT_OUT: left_out, ItemState.READY: ready}
            rows = await batch_items.items_moved(work, batch_id=batch.id, since=self._since)
        moved = [row for row in rows if self._known.get(row.no) != (row.state, row.tries)]
        for row in moved:  # a batch is counted once: what moved moves the counts
            before, _ = self._known.get(row.no, (ItemState.READY, 0))
            self._counts[before] -= 1
            self._counts[row.state] += 1
            self._known[row.no] = (row.state, row.tries)
        if rows:
            self._since = max(row.changed_at for row in rows)
        told = replace(batch, tended_at=None)  # that it is looked after is no news
        if not moved and told == self._last:
            return []
        self._last = told
        parts = [moved[n : n + _AT_ONCE] for n in range(0, len(moved), _AT_ONCE)] or [[]]
        counts = dict(self._counts)
        return [Seen(batch, counts, part) for part in parts]
