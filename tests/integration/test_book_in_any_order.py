"""Top-ups, grants and their ends, charges and corrections, refunds, transfers, reversals, each said once or
twice, in any order over two groups on real PostgreSQL: purses, lots and arrears are as worked out by hand."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.kernel.db import Database, UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.money import Money
from backend.ledger.operations import end_grant, give_grant, open_lot, post, spend, unspend
from backend.ledger.purses import PurseCharge, charge, recover_arrears
from backend.ledger.rules import LINES, AccountKey, AccountKind, LotKind, Overdrawn, topup_paid
from backend.sandbox.embedded.services import EmbeddedServices

from .test_ledger import expect_kept_is_derived
from .world import START, World, make_group, new_id

_SIDES = st.integers(0, 1)
_HAO = st.integers(1, 9) | st.integers(1, 60)  # small, so that amounts often meet to the hao
_LINES = st.dictionaries(st.sampled_from(LINES), st.integers(-15, 30).filter(bool), min_size=1)
_LEFT = (
    "SELECT source, amount_hao - used_hao AS left FROM ledger_lot l"
    " JOIN ledger_account a ON a.group_id = l.group_id AND a.id = l.purse_id"
    " WHERE a.ref = $1 AND l.source NOT LIKE 'given-back:%'"
)
_STANDING = (
    "SELECT a.kind, b.balance_hao FROM ledger_account a JOIN ledger_balance b"
    " ON b.group_id = a.group_id AND b.account_id = a.id WHERE a.ref = $1 AND b.balance_hao <> 0"
)


@dataclass
class _Lot:
    source: str
    grant: bool
    amount: int
    used: int = 0
    charged: int = 0  # the part of it that charges took

    @property
    def left(self) -> int:
        """What it still has."""
        return self.amount - self.used


@dataclass
class _Purse:
    """A purse as it must be: its lots in the order in which they came, and what it owes by line."""

    ref: UUID
    lots: list[_Lot] = field(default_factory=list)
    arrears: dict[AccountKind, int] = field(default_factory=dict)
    due: int = 0  # on its way back to the payer

    @property
    def held(self) -> int:
        """All its lots together."""
        return sum(lot.left for lot in self.lots)

    def take(self, amount: int) -> list[tuple[_Lot, int]]:
        """Out of grants first, then the oldest money; what was taken of which lot."""
        uses = []
        for lot in sorted(self.lots, key=lambda lot: not lot.grant):
            part = min(amount, lot.left)
            lot.used += part
            amount -= part
            uses.append((lot, part))
        return uses

    def pay(self, amount: int) -> None:
        """As `take`, for a charge."""
        for lot, part in self.take(amount):
            lot.charged += part

    def give_back(self, amount: int) -> None:
        """Into the lots that charges used last, paid money first; what is more is a gift."""
        for lot in sorted(reversed(self.lots), key=lambda lot: lot.grant):
            part = min(amount, lot.charged)
            lot.used -= part
            lot.charged -= part
            amount -= part
        if amount:
            self.lots.append(_Lot("", True, amount))

    def charge(self, lines: Mapping[AccountKind, int]) -> None:
        """Pay what it can, owe the rest; take what is given back."""
        net = sum(lines.values())
        if net < 0:
            self.give_back(-net - self.recover(-net))
            return
        paid = min(net, self.held)
        self.pay(paid)
        paid -= sum(amount for amount in lines.values() if amount < 0)
        for line in LINES:
            part = min(paid, max(0, lines.get(line, 0)))
            paid -= part
            self.arrears[line] = self.arrears.get(line, 0) + max(0, lines.get(line, 0)) - part

    def recover(self, funds: int) -> int:
        """Pay arrears in the order of their lines; how much that took."""
        before = funds
        for line in LINES:
            part = min(funds, self.arrears.get(line, 0))
            self.arrears[line] = self.arrears.get(line, 0) - part
            funds -= part
        return before - funds


@dataclass
class _Side:
    world: World
    purses: list[_Purse] = field(default_factory=list)
    refunds: dict[str, tuple[_Purse, list[tuple[_Lot, int]]]] = field(default_factory=dict)


class _Book(RuleBasedStateMachine):
    """Rules are what journeys do to the book; the next of them comes a second later."""

    run: Any
    worlds: list[World]
    now: datetime

    def __init__(self) -> None:
        super().__init__()
        self.sides = [_Side(world, [_Purse(new_id()), _Purse(new_id())]) for world in self.worlds]

    def _do(self, side: _Side, call: Any, /, **said: Any) -> Any:
        """One operation in a transaction of its own; then the same words again, which do nothing."""
        self.now += timedelta(seconds=1)
        said |= {"project_id": side.world.project.id, "at": self.now}

        async def once() -> Any:
            async with unit_of_work(side.world.group_id) as work:
                return await call(work, **said)

        found = self.run(once())
        self.run(once())
        return found

    @rule(of=_SIDES, which=_SIDES, hao=_HAO)
    def is_topped_up(self, of: int, which: int, hao: int) -> None:
        """Money arrives; arrears are paid of it first."""
        side = self.sides[of]
        purse, topup = side.purses[which], new_id()
        channel = AccountKey(AccountKind.CHANNEL, side.world.project.id)
        paid = topup_paid(topup_id=topup, into=channel, account=purse.ref, amount=Money(hao))
        source = f"topup:{topup}"
        self._do(side, post, transfer=paid)
        self._do(
            side,
            open_lot,
            account_id=purse.ref,
            kind=LotKind.PAID,
            source=source,
            amount=Money(hao),
        )
        self._do(side, recover_arrears, purse=purse.ref, source=source)
        purse.lots.append(_Lot(source, False, hao))
        purse.pay(purse.recover(purse.held))

    @rule(of=_SIDES, which=_SIDES, hao=st.integers(1, 300))
    def is_given_a_grant(self, of: int, which: int, hao: int) -> None:
        """The month's allowance, used before paid money."""
        side = self.sides[of]
        purse, source = side.purses[which], f"grant:{new_id()}"
        self._do(side, give_grant, account_id=purse.ref, source=source, amount=Money(hao))
        purse.lots.append(_Lot(source, True, hao))

    @rule(of=_SIDES, which=_SIDES)
    def its_grants_end(self, of: int, which: int) -> None:
        """What is left of each is taken back."""
        side = self.sides[of]
        purse = side.purses[which]
        for lot in purse.lots:
            if lot.source.startswith("grant:"):
                ended = self._do(side, end_grant, account_id=purse.ref, source=lot.source)
                assert ended.hao == lot.left
                lot.used = lot.amount
                lot.source = lot.source.replace("grant:", "ended:")

    @rule(of=_SIDES, one=_LINES, other=_LINES)
    def is_charged(
        self, of: int, one: dict[AccountKind, int], other: dict[AccountKind, int]
    ) -> None:
        """Both purses by one entry; a line that is negative corrects what was charged."""
        side = self.sides[of]
        pairs = list(zip(side.purses, (one, other), strict=True))
        charges = [PurseCharge.of(purse.ref, lines) for purse, lines in pairs]
        self._do(side, charge, business_key=f"charge:{new_id()}", charges=charges)
        for purse, lines in pairs:
            purse.charge(lines)

    @precondition(lambda self: any(p.lots for side in self.sides for p in side.purses))
    @rule(of=_SIDES, which=_SIDES, number=st.integers(0, 99), hao=_HAO)
    def is_refunded(self, of: int, which: int, number: int, hao: int) -> None:
        """Out of the lot of one top-up and of no other; more than is left of it is refused."""
        side = self.sides[of]
        purse, key = side.purses[which], f"refund:{new_id()}"
        paid = [lot for lot in purse.lots if not lot.grant]
        if not paid:
            return
        lot = paid[number % len(paid)]
        said = {
            "account_id": purse.ref,
            "business_key": key,
            "amount": Money(hao),
            "kind": "REFUND",
            "to": AccountKey(AccountKind.REFUND_DUE, purse.ref),
            "source": lot.source,
        }
        if hao > lot.left:
            self._refused(Overdrawn, side, spend, **said)
            return
        assert self._do(side, spend, **said)
        lot.used += hao
        purse.due += hao
        side.refunds[key] = purse, [(lot, hao)]

    @precondition(lambda self: any(side.refunds for side in self.sides))
    @rule(of=_SIDES, number=st.integers(0, 99))
    def a_refund_fails(self, of: int, number: int) -> None:
        """The channel gave nothing back: it is in the purse and in its lot again."""
        side = self.sides[of]
        if not side.refunds:
            self._refused(Conflict, side, unspend, business_key="refund:none", reason="failed")
            return
        key = sorted(side.refunds)[number % len(side.refunds)]
        purse, uses = side.refunds.pop(key)
        assert self._do(side, unspend, business_key=key, reason="failed")
        for lot, part in uses:
            lot.used -= part
            purse.due -= part

    @rule(of=_SIDES, which=_SIDES, hao=_HAO)
    def moves_to_the_other_room(self, of: int, which: int, hao: int) -> None:
        """Money goes from one purse to the other as a lot of its own; more than is there is refused."""
        side = self.sides[of]
        purse, other, key = side.purses[which], side.purses[1 - which], f"move:{new_id()}"
        said = {
            "account_id": purse.ref,
            "business_key": key,
            "amount": Money(hao),
            "kind": "MOVED",
            "to": AccountKey(AccountKind.PURSE, other.ref),
        }
        if hao > purse.held:
            self._refused(Overdrawn, side, spend, **said)
            return
        assert self._do(side, spend, **said)
        self._do(
            side, open_lot, account_id=other.ref, kind=LotKind.PAID, source=key, amount=Money(hao)
        )
        purse.take(hao)
        other.lots.append(_Lot(key, False, hao))

    def _refused(self, error: type[Exception], side: _Side, call: Any, /, **said: Any) -> None:
        try:
            self._do(side, call, **said)
        except error:
            return
        raise AssertionError(f"{call.__name__} of {said} was not refused")

    @invariant()
    def the_book_is_as_worked_out_by_hand(self) -> None:
        """In both groups, whatever happened in either."""
        for side in self.sides:
            self.run(self._look(side))

    async def _look(self, side: _Side) -> None:
        await expect_kept_is_derived(side.world)
        async with unit_of_work(side.world.group_id) as work:
            for purse in side.purses:
                await _expect(work, purse)


async def _expect(work: UnitOfWork, purse: _Purse) -> None:
    standing = {row["kind"]: row["balance_hao"] for row in await work.fetch(_STANDING, purse.ref)}
    wanted = {AccountKind.PURSE: -purse.held, AccountKind.REFUND_DUE: -purse.due}
    wanted |= {AccountKind(f"{line}_ARREARS"): hao for line, hao in purse.arrears.items()}
    assert standing == {str(kind): hao for kind, hao in wanted.items() if hao}
    left = {row["source"]: row["left"] for row in await work.fetch(_LEFT, purse.ref)}
    told = {lot.source.replace("ended:", "grant:"): lot.left for lot in purse.lots if lot.source}
    assert left == told


async def _posted(world: World) -> set[str]:
    """What kinds of entries the book of a group has."""
    async with unit_of_work(world.group_id) as work:
        return {row["kind"] for row in await work.fetch("SELECT DISTINCT kind FROM ledger_entry")}


def test_whatever_is_posted_in_whatever_order_the_book_is_as_worked_out_by_hand(
    services: EmbeddedServices,
) -> None:
    loop = asyncio.new_event_loop()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(work)

    run(Database.open(services.app_dsn(), pool_max=2))
    try:
        unique = secrets.token_hex(4)
        worlds = [run(make_group(services, f"{name}{unique}")) for name in ("ba", "bb")]
        machine = type("Book", (_Book,), {"run": staticmethod(run), "worlds": worlds, "now": START})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=15,
                stateful_step_count=20,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        posted = set.union(*(run(_posted(world)) for world in worlds))
        assert posted >= {"GRANT_ENDED", "CHARGE", "REFUND", "REFUND_REVERSED", "MOVED"}
    finally:
        run(Database.close())
        loop.close()
