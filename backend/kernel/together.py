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
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(NamedTuple, Generic[Item, Result]):
    """Items that came at the same time, and what becomes of them."""

    items: Sequence[Item]
    told: asyncio.Future[list[Result]]

    def tell(self, results: list[Result], failure: BaseException | None) -> None:
        """Give who waits its results, or what one of them failed with."""
        if self.told.done():
            return  # it went away meanwhile
        if failure is not None:
            self.told.set_exception(failure)
        else:
            self.told.set_result(results)


class Together(Generic[Item, Result]):
    """Calls `do` with up to `most` items at a time, in the order in which they came, and with as many batches
    `abreast`; `do` gives their results in the same order, and does all or nothing.

    One batch at a time is the least work. Where who waits is kept from other work by it, a second one is on
    its way while the first waits for PostgreSQL.

    When a batch fails its items are tried again one by one, so that one that cannot be done costs the
    others nothing: `do` must stand being repeated after it failed.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 64,
        abreast: int = 1,
    ) -> None:
        self._do = do
        self._most = most
        self._abreast = abreast
        self._waiting: deque[_Call[Item, Result]] = deque()
        self._called = False  # a writer, which has not begun yet
        self._writers = 0
        self._tasks: set[asyncio.Future[Any]] = set()  # a loop holds them weakly

    async def __call__(self, item: Item) -> Result:
        """The result of `item`. Raises what `do` raises for it alone.

        Cancelling takes back an item that no batch has taken yet; one under way goes on.
        """
        (result,) = await self._begun([item])
        return result

    async def all(self, items: Sequence[Item]) -> list[Result]:
        """As a call for each of several, which come at the same time and go in one batch, or as few as may
        be. Raises what `do` raises for the first of them that it cannot do, once all were tried."""
        if len(items) <= self._most:
            return await self._begun(items) if items else []
        parts = [self._begun(items[n : n + self._most]) for n in range(0, len(items), self._most)]
        try:
            await asyncio.gather(*parts, return_exceptions=True)
        finally:
            for each in parts:
                each.cancel()  # when we are cancelled ourselves; nothing else is under way here
        return [result for each in parts for result in each.result()]

    def _begun(self, items: Sequence[Item]) -> asyncio.Future[list[Result]]:
        told: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(items, told))
        if not self._called and self._writers < self._abreast:
            self._called = True
            # A context of its own: a batch is nobody's transaction but its own.
            self._keep(asyncio.create_task(self._write(), context=Context()))
        return told

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self) -> None:
        self._called = False
        self._writers += 1
        try:
            while self._waiting:
                if calls := self._next_batch():
                    await self._serve(calls)
        finally:
            self._writers -= 1

    def _next_batch(self) -> list[_Call[Item, Result]]:
        """Who waits longest, as many as go together; who went away is left out."""
        calls, room = list[_Call[Item, Result]](), self._most
        while self._waiting and len(self._waiting[0].items) <= room:
            call = self._waiting.popleft()
            if not call.told.done():
                calls.append(call)
                room -= len(call.items)
        return calls

    async def _serve(self, calls: Sequence[_Call[Item, Result]]) -> None:
        """Do a batch and tell its waiters."""
        items = [item for call in calls for item in call.items]
        done = await self._tried(items)
        if done.exception() is None:
            results = iter(done.result())
            for call in calls:
                call.tell(list(islice(results, len(call.items))), None)
        elif len(items) == 1:
            calls[0].tell([], done.exception())
        else:
            for call in calls:
                alone = [await self._tried([item]) for item in call.items]
                failure = next(filter(None, (each.exception() for each in alone)), None)
                results = (each.result()[0] for each in alone)
                call.tell([] if failure else list(results), failure)

    async def _tried(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Result]]:
        task = asyncio.ensure_future(self._do(items))
        self._keep(task)  # it goes on when its writer is cancelled
        await asyncio.wait({task})
        return task


class TogetherByGroup(Generic[Item, Result]):
    """As Together, for each group and event loop by itself; idle ones hold nothing."""

    def __init__(
        self,
        do: Callable[[int, Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        most: int = 64,
        abreast: int = 1,
    ) -> None:
        self._do = do
        self._most = most
        self._abreast = abreast
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
            writer = groups[group_id] = Together(
                partial(self._do, group_id), most=self._most, abreast=self._abreast
            )
        return writer
