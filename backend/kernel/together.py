"""Group commit: whoever comes while a batch is under way goes together in the next one.

A commit costs a disk's answer and a dozen round trips, whether it carries one item or sixty
(reference/baselines.md section 3b). One at a time waits for nobody; under load one writer a process
carries all who wait, and a row that all of them need is locked once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """Calls `do` with up to `most` items at a time, in the order in which they came; `do` gives their
    results in the same order, and does all or nothing.

    When a batch fails its items are tried again one by one, so that one that cannot be done costs the
    others nothing: `do` must stand being repeated after it failed.
    """

    def __init__(
        self, do: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, most: int = 64
    ) -> None:
        self._do = do
        self._most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._batch: asyncio.Future[Sequence[Result]] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result of `item`. Raises what `do` raises for it alone.

        Cancelling takes back an item that no batch has taken yet; one under way goes on.
        """
        return await self._begun(item)

    async def all(self, items: Sequence[Item]) -> list[Result]:
        """As a call for each of several, which come at the same time. Raises what `do` raises for the first
        of them that it cannot do, once all were tried."""
        mine = [self._begun(item) for item in items]
        try:
            await asyncio.gather(*mine, return_exceptions=True)
        finally:
            for each in mine:
                each.cancel()  # when we are cancelled ourselves; nothing else is under way here
        return [each.result() for each in mine]

    def _begun(self, item: Item) -> asyncio.Future[Result]:
        mine: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, mine))
        if self._writer is None:
            # A context of its own: a batch is nobody's transaction but its own.
            self._writer = asyncio.create_task(self._write(), context=Context())
        return mine

    async def _write(self) -> None:
        try:
            while self._waiting:
                size = min(self._most, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(size)]
                live = [(item, mine) for item, mine in batch if not mine.done()]
                if live and not await self._tried(live):
                    for one in live:
                        await self._tried([one])
        finally:
            self._writer = None

    async def _tried(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> bool:
        """Do a batch and tell its waiters; False when several failed and are to be tried one by one."""
        coming = self._do([item for item, _ in batch])
        task = self._batch = asyncio.ensure_future(coming)
        await asyncio.wait({task})
        failure = task.exception()
        if failure is not None and len(batch) > 1:
            return False
        results = None if failure is not None else task.result()
        for place, (_, mine) in enumerate(batch):
            if mine.done():
                continue
            if results is None:
                assert failure is not None
                mine.set_exception(failure)
            else:
                mine.set_result(results[place])
        return True


class TogetherByGroup(Generic[Item, Result]):
    """As Together, with one writer a group and event loop; idle ones hold nothing."""

    def __init__(
        self,
        do: Callable[[int, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 64,
    ) -> None:
        self._do = do
        self._most = most
        self._writers: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[int, Together[Item, Result]]
        ] = WeakKeyDictionary()

    async def __call__(self, group_id: int, item: Item) -> Result:
        """The result of `item` of a group. Raises what `do` raises for it alone."""
        return await self._writer(group_id)(item)

    async def all(self, group_id: int, items: Sequence[Item]) -> list[Result]:
        """The results of several items of a group, which come at the same time; see Together.all."""
        return await self._writer(group_id).all(items)

    def _writer(self, group_id: int) -> Together[Item, Result]:
        groups = self._writers.setdefault(asyncio.get_running_loop(), {})
        writer = groups.get(group_id)
        if writer is None:
            writer = groups[group_id] = Together(partial(self._do, group_id), most=self._most)
        return writer
