"""Hears rings change, also those that other processes change (PostgreSQL NOTIFY, and a tick).

The bell makes it quick, the tick makes it sure: whatever was missed (a lost NOTIFY, a lost connection,
a fault while reading) is found by the marks of the groups, which grow with every change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from backend.kernel.db import DATABASE_AWAY, connect, unit_of_work

from . import queries
from .operations import BELL
from .queries import RingRow

log = logging.getLogger(__name__)
NAME = "shuidian ring watch"
TICK_S = 2.0
# A line that died in silence is replaced after a tick, an answer's time, a farewell and a pause: all
# of it is under the 5 s that a revocation may take.
_ANSWER_S = 1.5
_FAREWELL_S = 0.2
_AGAIN_S = 0.3


class RingWatch:
    """One LISTEN connection of a process, reconnecting. For one reader."""

    def __init__(self, dsn: str, *, tick_s: float = TICK_S) -> None:
        self._dsn = dsn
        self._tick_s = tick_s
        self._marks: dict[int, int] = {}
        self._revisions: dict[tuple[int, bytes], int] = {}

    async def changes(self) -> AsyncGenerator[RingRow, None]:
        """Every ring there is, then every ring that changed, as it is now; several changes may come
        as one. Faults of the database are logged and outlived; ends when the reader ends it."""
        while True:
            try:
                async with self._listening() as (connection, rung):
                    while True:
                        rung.clear()
                        for row in await self._news(connection):
                            yield row
                        with suppress(TimeoutError):
                            await asyncio.wait_for(rung.wait(), self._tick_s)
            except DATABASE_AWAY as error:
                log.warning("ring watch pauses", extra={"fields": {"error": type(error).__name__}})
            await asyncio.sleep(_AGAIN_S)

    async def _news(self, connection: asyncpg.Connection[Any]) -> list[RingRow]:
        """What changed since the last time. Asked on the listening connection, so that its silent
        death is found out too."""
        found: list[RingRow] = []
        for group_id, mark in await connection.fetch(
            "SELECT of_group, mark FROM enrolment_marks()", timeout=_ANSWER_S
        ):
            if self._marks.get(group_id) == mark:
                continue
            async with asyncio.timeout(_ANSWER_S), unit_of_work(group_id) as work:
                rows = await queries.rings(work)
            for row in rows:
                key = group_id, row.ring.gateway
                if row.revision > self._revisions.get(key, 0):
                    self._revisions[key] = row.revision
                    found.append(row)
            self._marks[group_id] = mark
        return found

    @asynccontextmanager
    async def _listening(
        self,
    ) -> AsyncIterator[tuple[asyncpg.Connection[Any], asyncio.Event]]:
        rung = asyncio.Event()
        connection = await connect(self._dsn, within_s=_ANSWER_S, name=NAME)
        try:
            connection.add_termination_listener(lambda _: rung.set())
            await connection.add_listener(BELL, lambda *_: rung.set())
            yield connection, rung
        finally:
            with suppress(*DATABASE_AWAY):
                await connection.close(timeout=_FAREWELL_S)
