"""Lives of accounts in any order over two groups, on real PostgreSQL and virtual meters: open, top up, use,
replace (dead meters too), move, close, cancel. At every step: money in = at meters + on its way + in purses
+ given back + used, lots agree, and no meter that serves nobody holds anything by the book."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.accounts.models import Account
from backend.journeys.closing import cancel_closing
from backend.journeys.takedown import move_account
from backend.journeys.takedown_steps import type_final
from backend.kernel import failpoints
from backend.kernel.db import Database
from backend.kernel.failpoints import SimulatedCrash
from backend.kernel.money import ZERO, Money
from backend.ledger.rules import AccountKind
from backend.metering.takedown_rules import FinalWord, TakedownState
from backend.sandbox.embedded.services import EmbeddedServices
from workers.janitor import tidy_group
from workers.models import meter_models

from .household import Street, expect_meters_agree, expect_sound, streets
from .refunding import allow_alone
from .test_occupancy_crashes import Death
from .world import make_group

_GROUPS = st.integers(0, 1)
_PICK = st.integers(0, 10**6)


@dataclass
class _Side:
    """One group as the model knows it: who lives at which unit, what was paid, which unit is free next."""

    street: Street
    homes: dict[int, Account] = field(default_factory=dict)
    closing: dict[UUID, tuple[Account, int]] = field(default_factory=dict)
    paid_fen: int = 0
    next_unit: int = 1

    def free(self) -> int:
        """A unit that no meter was registered at."""
        self.next_unit += 1
        return self.next_unit

    def pick(self, number: int) -> tuple[int, Account]:
        """One of the homes."""
        units = sorted(self.homes)
        unit = units[number % len(units)]
        return unit, self.homes[unit]


class _Stage:
    """The event loop, the database and both streets, kept for all examples."""

    def __init__(self, services: EmbeddedServices, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.sides: list[_Side] = self.run(self._open(services, folder))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do it in the one loop."""
        return self.loop.run_until_complete(work)

    async def _open(self, services: EmbeddedServices, folder: Path) -> list[_Side]:
        await Database.open(services.app_dsn(), pool_max=4)
        self.stack.push_async_callback(Database.close)
        unique = secrets.token_hex(4)
        worlds = (
            await make_group(services, f"la{unique}"),
            await make_group(services, f"lb{unique}"),
        )
        made = await self.stack.enter_async_context(
            streets(worlds, services, folder, watts=400, units=240)
        )
        for street in made:
            await allow_alone(street.world, fen=10**9)
        return [_Side(street) for street in made]

    def close(self) -> None:
        """End all of it."""
        self.run(self.stack.aclose())
        self.loop.close()


class _Lives(RuleBasedStateMachine):
    """Rules are what operators and payers do; `_settle` is the worker coming by."""

    stage: _Stage

    def __init__(self) -> None:
        super().__init__()
        for side in self.stage.sides:
            self._do(self._settle(side))
            side.closing.clear()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.stage.run(work)

    async def _settle(self, side: _Side) -> None:
        """The worker does all that is due; it may die once on the way, and a next one goes on."""
        if self._next_death:
            with failpoints.armed(Death(self._next_death)):
                try:
                    await side.street.work()
                except SimulatedCrash:
                    side.street.clock.advance(timedelta(seconds=35))
            self._next_death = 0
            await tidy_group(group_id=side.street.world.group_id, at=side.street.clock.now())
        await side.street.pass_time(minutes=15, steps=3)

    _next_death = 0

    @rule(at=st.integers(1, 12))
    def the_next_worker_dies(self, at: int) -> None:
        """At its n-th commit."""
        self._next_death = at

    @rule(group=_GROUPS, fen=st.integers(100, 9_999))
    def open_and_buy(self, group: int, fen: int) -> None:
        """A household moves in and pays."""
        side = self.stage.sides[group]
        unit = side.free()
        account = self._do(side.street.household(f"6{unit:05d}", unit))
        side.homes[unit] = account
        self._do(side.street.buy(account, fen, unit=unit))
        side.paid_fen += fen
        self._do(self._settle(side))

    @precondition(lambda self: all(side.homes for side in self.stage.sides))
    @rule(group=_GROUPS, number=_PICK, fen=st.integers(100, 9_999), wait=st.booleans())
    def buy(self, group: int, number: int, fen: int, wait: bool) -> None:
        """Money arrives; the worker comes at once, or is late."""
        side = self.stage.sides[group]
        unit, account = side.pick(number)
        self._do(side.street.buy(account, fen, unit=unit))
        side.paid_fen += fen
        if not wait:
            self._do(self._settle(side))

    @precondition(lambda self: all(side.homes for side in self.stage.sides))
    @rule(group=_GROUPS, number=_PICK, dead=st.booleans())
    def replace(self, group: int, number: int, dead: bool) -> None:
        """A meter is replaced; a dead one's figures are typed by the book."""
        side = self.stage.sides[group]
        unit, account = side.pick(number)
        new = side.free()
        self._do(side.street.register(new))
        if dead:
            self._do(self._settle(side))
            side.street.box(unit).faults.silent = True
        begun = self._do(side.street.replace(unit, new))
        if dead:
            self._do(self._type(side, unit, begun.id))
        self._do(self._settle(side))
        self._do(self._settle(side))
        done = self._do(side.street.now(begun))
        assert done.state is TakedownState.DONE, done.outcome
        del side.homes[unit]
        side.homes[new] = account

    async def _type(self, side: _Side, unit: int, takedown_id: UUID) -> None:
        fen, count = side.street.wallet(unit)
        side.street.clock.advance(timedelta(minutes=2))
        at = side.street.clock.now()
        total = side.street.box(unit).state().shown_wh()[0]
        word = FinalWord(at, total, Money.of_fen(max(0, fen)), count)
        await type_final(
            scope=side.street.world.scope,
            takedown_id=takedown_id,
            word=word,
            note="read off its display",
            at=at,
        )

    @precondition(lambda self: all(side.homes for side in self.stage.sides))
    @rule(group=_GROUPS, number=_PICK)
    def move(self, group: int, number: int) -> None:
        """A household moves to another room's meter; its old one is cut."""
        side = self.stage.sides[group]
        unit, account = side.pick(number)
        new = side.free()
        self._do(side.street.register(new))
        street = side.street
        (begun,) = self._do(
            move_account(
                scope=street.world.scope,
                account_id=account.id,
                area_id=street.world.area.id,
                meters_to={street.meters[unit].id: street.meters[new].id},
                cut=True,
                ask=street.ask(),
            )
        )
        self._do(self._settle(side))
        self._do(self._settle(side))
        done = self._do(street.now(begun))
        assert done.state is TakedownState.DONE, done.outcome
        del side.homes[unit]
        side.homes[new] = account

    @precondition(lambda self: all(side.homes for side in self.stage.sides))
    @rule(group=_GROUPS, number=_PICK, stay=st.booleans())
    def close(self, group: int, number: int, stay: bool) -> None:
        """An account closes, or changes its mind at once."""
        side = self.stage.sides[group]
        unit, account = side.pick(number)
        begun = self._do(side.street.close(account))
        if stay:
            self._do(
                cancel_closing(
                    scope=side.street.world.scope,
                    closing_id=begun,
                    note="they stay",
                    models=meter_models(),
                    at=side.street.clock.now(),
                )
            )
            self._do(self._settle(side))
            return
        for _ in range(3):
            self._do(self._settle(side))
        closed = "SELECT closed_at IS NOT NULL FROM accounts_account WHERE id = $1"
        assert self._do(side.street.value(closed, account.id))
        del side.homes[unit]

    @invariant()
    def no_money_is_lost_or_doubled(self) -> None:
        """In both groups, whatever happened in either."""
        for side in self.stage.sides:
            self._do(self._look(side))

    async def _look(self, side: _Side) -> None:
        street = side.street
        await expect_sound(street)
        book = await street.book()
        back = await street.value(
            "SELECT coalesce(sum(amount_fen), 0)::bigint FROM topups_refund WHERE state = 'DONE'"
        )
        assert -book[AccountKind.CHANNEL] == Money.of_fen(side.paid_fen - back)
        due = "SELECT count(*) FROM control_vend WHERE state IN ('QUEUED', 'SENT')"
        if not await street.value(due):
            await expect_meters_agree(street, side.homes)
            assert book[AccountKind.IN_TRANSIT] == ZERO
        assert await street.cases() == []


@pytest.mark.timeout(600)
def test_whatever_happens_in_whatever_order_no_money_is_lost_or_doubled(
    services: EmbeddedServices, tmp_path: Path
) -> None:
    stage = _Stage(services, tmp_path)
    machine = type("Lives", (_Lives,), {"stage": stage})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=8,
                stateful_step_count=10,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        lived = [(side.paid_fen > 0, side.next_unit > 4) for side in stage.sides]
        assert lived == [(True, True)] * 2, "nobody lived there"
    finally:
        stage.close()
