"""Hears top-ups and batches move and alarms begin (PostgreSQL NOTIFY); wakes this process's subscriptions."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from backend.alerts.alarms import BELL as ALARMS
from backend.control.batches import BELL as BATCHES
from backend.kernel.db import DATABASE_AWAY, connect
from backend.topups.operations import BELL

log = logging.getLogger(__name__)
_PROBE_S = 15
_AGAIN_S = 1
_ANSWER_S = 5

Rings = asyncio.Queue[None]


class TopupBell:
    """One LISTEN connection of a process, reconnecting; wakes whoever waits for an order, a batch or alarms.

    A ring says only "look again": it carries no data, several may come as one, and after a lost
    connection everybody is woken, so nothing is missed.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._waiting: dict[str, set[Rings]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen in the background; does not wait for the database."""
        self._task = asyncio.create_task(self._run(), name="topup-bell")

    async def stop(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ready(self) -> None:
        """Return as soon as the connection listens."""
        await self._listening.wait()

    @property
    def waiting(self) -> int:
        """How many orders, batches and groups' alarms somebody waits for."""
        return len(self._waiting)

    @contextmanager
    def listen(self, *, group_id: int, order_id: UUID) -> Iterator[Rings]:
        """A queue that gets an item when the order may have changed; at most one waits in it."""
        with self._listen(f"{group_id}:{order_id}") as rings:
            yield rings

    @contextmanager
    def listen_to_batch(self, *, group_id: int, batch_id: UUID) -> Iterator[Rings]:
        """A queue that gets an item when the batch moved; at most one waits in it."""
        with self._listen(f"{group_id}:{batch_id}") as rings:
            yield rings

    @contextmanager
    def listen_to_alarms(self, *, group_id: int) -> Iterator[Rings]:
        """A queue that gets an item when alarms of the group began; at most one waits in it."""
        with self._listen(f"{ALARMS}:{group_id}") as rings:
            yield rings

    @contextmanager
    def _listen(self, key: str) -> Iterator[Rings]:
        rings: Rings = asyncio.Queue(maxsize=1)
        self._waiting[key].add(rings)
        try:
            yield rings
        finally:
            self._waiting[key].discard(rings)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _run(self) -> None:
        while True:
            try:
                await self._listen_once()
            except DATABASE_AWAY as error:
                log.warning("topup bell lost", extra={"fields": {"error": type(error).__name__}})
            self._listening.clear()
            await asyncio.sleep(_AGAIN_S)

    async def _listen_once(self) -> None:
        """Listen until the connection is lost; the probe finds out about a silent death."""
        connection = await connect(self._dsn, within_s=_ANSWER_S, name="shuidian topup bell")
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(BELL, self._rung)
            await connection.add_listener(BATCHES, self._rung)
            await connection.add_listener(ALARMS, self._rung_by_alarms)
            self._listening.set()
            for key in list(self._waiting):
                self._wake(key)
            while not lost.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), _PROBE_S)
                if not lost.is_set():
                    await connection.execute("SELECT 1", timeout=_ANSWER_S)
        finally:
            with suppress(*DATABASE_AWAY):
                await connection.close(timeout=_ANSWER_S)

    def _rung(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._wake(str(payload))

    def _rung_by_alarms(
        self, _connection: object, _pid: int, channel: str, payload: object
    ) -> None:
        self._wake(f"{channel}:{payload}")

    def _wake(self, key: str) -> None:
        for rings in self._waiting.get(key, ()):
            with suppress(asyncio.QueueFull):
                rings.put_nowait(None)
