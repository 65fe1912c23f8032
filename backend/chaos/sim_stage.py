"""What those who act in a seed of the simulation share: its luck, its clock, its groups, their books."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg

from backend.kernel.clock import SetClock

from .sim_world import SimGroup

T = TypeVar("T")


@dataclass
class Stage:
    """`witnesses`: a session by group id that can read that group and write nothing."""

    draw: random.Random
    clock: SetClock
    groups: list[SimGroup] = field(default_factory=list)
    witnesses: dict[int, asyncpg.Connection[Any]] = field(default_factory=dict)
    numbers: int = 0

    def group(self) -> SimGroup:
        """Any group."""
        return self.draw.choice(self.groups)

    def any_of(self, found: list[T]) -> T | None:
        """Any of these, None when there are none."""
        return self.draw.choice(found) if found else None

    def key(self, word: str) -> str:
        """A fresh idempotency key."""
        self.numbers += 1
        return f"{word}-{self.numbers:06d}"

    async def rows(self, group: SimGroup, sql: str, *args: object) -> list[Any]:
        """What a query says of a group."""
        return await self.witnesses[group.id].fetch(sql, *args)

    async def value(self, group: SimGroup, sql: str, *args: object) -> Any:
        """Its first value."""
        return await self.witnesses[group.id].fetchval(sql, *args)
