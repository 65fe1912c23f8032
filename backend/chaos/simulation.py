"""One seed of the simulation: the product's own journeys on a virtual clock, one step after another.

A process that dies (SimulatedCrash) loses the job it held and its queue's doorbell, nothing else; what
it left is picked up as in production: by lease, by the janitor, by the payer who taps again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import httpx
from starlette.applications import Starlette

from backend.callbacks.payment_notice import notice_routes
from backend.journeys import topup
from backend.kernel import failpoints, ids
from backend.kernel.clock import SetClock, business_day
from backend.kernel.errors import DomainError
from backend.kernel.failpoints import SimulatedCrash
from backend.topups.ports import PayMethod
from backend.topups.rules import Channel, Way
from workers.context import WorkerContext
from workers.janitor import tidy_group
from workers.main import handle_event
from workers.relay import Relay

from .book import HAO_PER_FEN, book_of_group, read_only, together
from .fate import Fate
from .payers import FORGERIES, forged
from .plan import OPENING_FEN
from .sim_outside import METER_FAULTS, SimBuses, SimChannel, SimField, SimNotifier
from .sim_world import START, Queue, Shared, SimGroup, make_group, ports_of
from .verdict import Sold, Verdict, Witnesses, judge

_DOOR = "/notice/{group_id:int}/{credential_id:uuid}"
_CALM_WITHIN = timedelta(minutes=90)  # the last active query comes an hour after the order
# A gateway that is off for half an hour is told to a person, who notes it; its vends go on by themselves.
_EXPECTED = frozenset({"VEND_DELAYED"})
_LEFT_UNPAID = 2
_QUIET = (
    "SELECT (SELECT count(*) FROM (SELECT entry_id FROM ledger_posting GROUP BY entry_id"
    "   HAVING sum(amount_hao) <> 0) e) AS unbalanced,"
    " (SELECT coalesce(sum(p.amount_hao), 0)::bigint FROM ledger_posting p JOIN ledger_account a"
    "   ON a.group_id = p.group_id AND a.id = p.account_id WHERE a.kind = 'CHANNEL') AS channel,"
    " (SELECT coalesce(-sum(p.amount_hao), 0)::bigint FROM ledger_posting p JOIN ledger_account a"
    "   ON a.group_id = p.group_id AND a.id = p.account_id WHERE a.kind = 'METER_WALLET') AS held"
)
_NEXT = (
    "SELECT min(greatest(due_at, coalesce(leased_until, due_at))) FROM outbox_event"
    " WHERE done_at IS NULL"
)


class Broken(AssertionError):
    """An invariant does not hold; the message says which, and after which step."""


@dataclass
class Wish:
    """A payment that a tenant wants to make: the same key until there is an order."""

    group: SimGroup
    account: int
    amount_fen: int
    key: str


@dataclass
class Simulation:
    """The state of one seed."""

    seed: int
    steps: int
    shared: Shared
    fate: Fate
    clock: SetClock = field(default_factory=lambda: SetClock(START))
    queue: Queue = field(default_factory=Queue)
    groups: list[SimGroup] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    unpaid: list[tuple[SimGroup, str]] = field(default_factory=list)
    notices: list[tuple[SimGroup, str]] = field(default_factory=list)
    crashes: int = 0
    believed: int = 0
    refused: int = 0
    wanted: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(f"steps {self.seed}")
        self.trace = hashlib.blake2b(digest_size=16)
        self.channels: dict[int, SimChannel] = {}

    async def play(self, *, code: str) -> Verdict:
        """All steps, then peace, then the judge. `code` begins the codes of its two groups.

        Raises Broken.
        """
        chance = random.Random(f"ids {self.seed}")
        adapter = self.shared.merchants.adapter(self.clock)
        notifier = SimNotifier(self.fate)
        with ids.drawn_from(chance), failpoints.armed(self.fate.at_commit):
            for letter in "ab":
                channel = SimChannel(self.shared.merchants, adapter, self.fate, self.clock)
                group = await make_group(self.shared, channel, code=f"{code}{letter}")
                self.groups.append(group)
                self.channels[group.id] = channel
            self.ports = ports_of(self.shared, self.channels, notifier, self.clock)
            self.field = SimField({g.address: g.serials for g in self.groups}, self.clock)
            buses = SimBuses(self.field, self.fate, self.clock)
            self.context = WorkerContext(self.ports, buses)
            redis: Any = self.queue
            self.relay = Relay(dsn="", redis=redis, clock=self.clock)
            door = Starlette(routes=notice_routes(self.ports, paths={Channel.WECHAT_PAY: _DOOR}))
            transport = httpx.ASGITransport(app=door)
            async with AsyncExitStack() as stack:
                stack.callback(self.field.close)
                self.door = await stack.enter_async_context(
                    httpx.AsyncClient(transport=transport, base_url="http://door")
                )
                self.witnesses = [
                    await stack.enter_async_context(read_only(self.shared.app_dsn, group.id))
                    for group in self.groups
                ]
                await self._steps()
                return await self._peace()

    async def _steps(self) -> None:
        acts: dict[Callable[[], Awaitable[object]], int] = {
            self._wish: 16,
            self._pay: 12,
            self._hear: 14,
            self._forge: 4,
            self._relay: 14,
            self._work: 44,
            self._flush: 1,
            self._tidy: 4,
            self._spoil: 6,
            self._wait: 5,
        }
        for step in range(self.steps):
            act = self.draw.choices(list(acts), weights=list(acts.values()))[0]
            self.fate.cruel = True
            outcome: object
            try:
                outcome = await act()
            except SimulatedCrash as crash:
                self.crashes += 1
                outcome = f"crash {crash}"
            finally:
                self.fate.cruel = False
            self.clock.advance(timedelta(milliseconds=self.draw.randrange(20, 3_000)))
            self._note(f"{step} {act.__name__} {outcome}")
            await self._invariants(f"after step {step} ({act.__name__}: {outcome})")

    def _note(self, line: str) -> None:
        for group in self.groups:
            line = line.replace(group.code, group.code[-1])
        self.trace.update(line.encode() + b"\n")

    async def _wish(self) -> str:
        """A tenant wants to pay, or taps again after a failure."""
        if not self.wishes or self.draw.random() < 0.5:
            self.wanted += 1
            group = self.draw.choice(self.groups)
            account = self.draw.randrange(len(group.accounts))
            amount = 1_000 + self.wanted
            self.wishes.append(Wish(group, account, amount, f"wish-{self.wanted:05d}"))
        wish = self.draw.choice(self.wishes)
        try:
            order = await topup.start(
                self.ports,
                group_id=wish.group.id,
                account_id=wish.group.accounts[wish.account],
                customer_id=None,
                amount_fen=wish.amount_fen,
                payer=topup.Payer(Way(Channel.WECHAT_PAY, PayMethod.NATIVE), None, "127.0.0.1"),
                idempotency_key=wish.key,
            )
        except DomainError as error:
            return error.code
        self.wishes.remove(wish)
        known = wish.group.channel.book.find(order.order_no)
        if known is not None and not known.paid_at:
            self.unpaid.append((wish.group, order.order_no))
        return f"{wish.key} {order.state}"

    async def _pay(self) -> str:
        """A payer pays at the channel; some never do, some do when it is nearly or quite too late."""
        if not self.unpaid:
            return "nobody"
        group, number = self.unpaid.pop(self.draw.randrange(len(self.unpaid)))
        if self.draw.random() < 0.1:
            return "never"
        order = group.channel.book.find(number)
        assert order is not None, "registered at the channel"
        late = order.state == "CLOSED" or order.expired(self.clock.now())
        if order.paid_at or (late and self.draw.random() < 0.5):
            return "too late"
        # The payment that won the race: the channel's word stands, whatever state we are in (C5).
        group.channel.book.pay(order, openid="o-sim", at=self.clock.now())
        copies = self.draw.choices((0, 1, 2, 5), weights=(15, 55, 20, 10))[0]
        self.notices += [(group, number)] * max(copies, int(late))
        return f"{order.total} copies {copies} late {late}"

    async def _hear(self) -> str:
        """The channel sends a notice: any one of those that wait, so they come in any order."""
        if not self.notices:
            return "nothing"
        group, number = self.notices.pop(self.draw.randrange(len(self.notices)))
        order = group.channel.book.find(number)
        assert order is not None, "paid at the channel"
        delivered = False
        try:
            status = await self._post(group, *group.channel.notice(order))
            delivered = status < 300
        finally:
            if not delivered:  # no answer, or a refusal: the channel tries again later
                self.notices.append((group, number))
        return str(status)

    async def _forge(self) -> str:
        """Somebody says in the channel's name that an order is paid."""
        if not self.unpaid:
            return "nothing to forge"
        group, number = self.draw.choice(self.unpaid)
        order = group.channel.book.find(number)
        assert order is not None, "registered at the channel"
        kind = self.draw.choice([kind for kind in FORGERIES if kind != "foreign"])
        status = await self._post(group, *forged(kind, *group.channel.notice(order)))
        self.believed += status < 300
        self.refused += status >= 400
        return f"{kind} {status}"

    async def _post(self, group: SimGroup, headers: dict[str, str], body: bytes) -> int:
        path = f"/notice/{group.id}/{group.credential_id}"
        return (await self.door.post(path, content=body, headers=headers)).status_code

    async def _relay(self) -> str:
        """The relay of a worker claims what is due."""
        group = self.draw.choice(self.groups)
        await self.relay.relay_group(group.id, self.clock.now())
        return str(len(self.queue.jobs))

    async def _work(self) -> str:
        """A worker does a job; when it dies the job is gone, its lease runs out."""
        if not self.queue.jobs:
            return await self._relay()
        job = self.queue.jobs.pop(self.draw.randrange(len(self.queue.jobs)))
        await handle_event({"context": self.context}, job)
        return str(job["topic"])

    async def _flush(self) -> str:
        """Redis loses everything."""
        lost = len(self.queue.jobs)
        self.queue.jobs.clear()
        return str(lost)

    async def _tidy(self) -> str:
        """The janitor looks for what was left behind."""
        group = self.draw.choice(self.groups)
        await tidy_group(group_id=group.id, at=self.clock.now())
        return "tidy"

    async def _spoil(self) -> str:
        """A frame gets lost, doubled or broken; a gateway goes off or comes back."""
        if self.draw.random() < 0.25:
            address = self.draw.choice(self.groups).address
            self.field.offline ^= {address}
            return f"offline {len(self.field.offline)}"
        meter, fault = self.draw.choice(self.field.meters()), self.draw.choice(METER_FAULTS)
        setattr(meter.faults, fault, self.draw.randrange(1, 4))
        return fault

    async def _wait(self) -> str:
        """Time passes: seconds, or long enough for orders to expire."""
        seconds = self.draw.choices((10, 60, 1_000), weights=(5, 3, 2))[0]
        self.clock.advance(timedelta(seconds=seconds))
        return str(seconds)

    async def _invariants(self, when: str) -> None:
        """What must hold at every instant: the book balances, and holds no more than was paid, and no
        more at meters than they took."""
        sold = {group.code: 0 for group in self.groups}
        for meter in self.field.meters():
            grown = meter.state().remaining_fen - OPENING_FEN
            sold[meter.serial.split("-")[1]] += grown
        for group, witness in zip(self.groups, self.witnesses, strict=True):
            found = await witness.fetchrow(_QUIET)
            assert found is not None
            paid = sum(order.total for order in group.channel.book.orders() if order.paid_at)
            channel, held = found["channel"] // HAO_PER_FEN, found["held"] // HAO_PER_FEN
            if found["unbalanced"]:
                raise Broken(f"{when}: an entry does not sum to zero")
            if not held <= sold[group.code] <= channel <= paid:
                raise Broken(
                    f"{when}: paid {paid}, booked {channel}, meters took {sold[group.code]},"
                    f" book says they hold {held}"
                )

    async def _peace(self) -> Verdict:
        """Nothing fails any more: deliver what waits, work until nothing is left, then judge.

        Raises Broken when the verdict is bad or something is stuck.
        """
        self.field.offline.clear()
        for meter in self.field.meters():
            for fault in METER_FAULTS:
                setattr(meter.faults, fault, 0)
        while self.notices:
            await self._hear()
        for group, number in self.unpaid[_LEFT_UNPAID:]:
            order = group.channel.book.find(number)
            assert order is not None, "registered at the channel"
            if order.state != "CLOSED":  # paid, and nobody is told: only asking finds it
                group.channel.book.pay(order, openid="o-sim", at=self.clock.now())
        end = self.clock.now() + _CALM_WITHIN
        await self._work_until(end)
        for group in self.groups:
            await tidy_group(group_id=group.id, at=self.clock.now())
        await self._work_until(end)
        verdict = judge(await self._witnesses())
        self._note(f"{verdict}")
        if not verdict.good:
            raise Broken(f"after peace: {', '.join(verdict.reasons)}: {verdict}")
        return verdict

    async def _work_until(self, end: datetime) -> None:
        """Do whatever is due up to `end`, in its order; the clock jumps from one to the next."""
        while (due := await self._due()) is not None and due <= end:
            self.clock.instant = max(self.clock.instant, due)
            for group in self.groups:
                await self.relay.relay_group(group.id, self.clock.now())
            while self.queue.jobs:
                await handle_event({"context": self.context}, self.queue.jobs.pop(0))

    async def _due(self) -> Any:
        """When the next event of any group may be claimed; None when there is none."""
        found = [await witness.fetchval(_NEXT) for witness in self.witnesses]
        return min((due for due in found if due is not None), default=None)

    async def _witnesses(self) -> Witnesses:
        parts, paid, bill = [], dict[str, int](), 0
        days = {business_day(START), business_day(self.clock.now())}
        for group, witness in zip(self.groups, self.witnesses, strict=True):
            parts.append(await book_of_group(witness))
            orders = group.channel.book.orders()
            paid |= {order.out_trade_no: order.total for order in orders if order.paid_at}
            for day in days:
                lines = await group.channel.bill(day)
                bill += sum(line.amount_fen - line.refund_fen for line in lines)
        sold = list[Sold]()
        for meter in self.field.meters():
            sales = self.field.store.sales(meter.serial, limit=10_000)
            sold += [Sold(meter.serial, sale.purchase_count, sale.amount_fen) for sale in sales]
        book = together(parts)
        return Witnesses(
            paid=paid,
            book=replace(book, cases={k: n for k, n in book.cases.items() if k not in _EXPECTED}),
            grown_fen={
                meter.serial: meter.state().remaining_fen - OPENING_FEN
                for meter in self.field.meters()
            },
            sold=sold,
            bill_fen=bill,
            believed=self.believed,
        )
