"""One seed of the simulation: the product's own journeys on a virtual clock, one step after another.

A process that dies (SimulatedCrash) loses the job it held and its queue's doorbell, nothing else; what
it left is picked up as in production: by lease, by the janitor, by the payer who taps again.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
from starlette.applications import Starlette

from backend.callbacks.payment_notice import notice_routes
from backend.journeys import topup
from backend.kernel import failpoints, ids
from backend.kernel.clock import SetClock
from backend.kernel.errors import Conflict, DomainError
from backend.kernel.failpoints import SimulatedCrash
from backend.topups.rules import Channel
from workers.context import WorkerContext
from workers.janitor import tidy_group
from workers.main import handle_event
from workers.relay import Relay

from .fate import Fate
from .payers import FORGERIES, forged
from .sim_channel import SimChannel
from .sim_office import Office
from .sim_outside import METER_FAULTS, Queue, SimBuses, SimField, SimNotifier
from .sim_readings import Mailbag
from .sim_rehanging import Rehanging
from .sim_stage import Stage
from .sim_tills import Message
from .sim_truth import Broken, Truth
from .sim_world import START, Shared, SimGroup, make_group, ports_of
from .verdict import Verdict, judge

_DOORS = {
    channel: f"/{channel.lower()}/{{group_id:int}}/{{credential_id:uuid}}"
    for channel in (Channel.WECHAT_PAY, Channel.ALIPAY, Channel.UNIONPAY, Channel.CHINAPAY)
}
_CALM_WITHIN = timedelta(minutes=90)  # the last active query comes an hour after the order
_ROUND = timedelta(minutes=15)  # between two times that operators look, in peace
_ROUNDS = 8
_JOBS = 5
_LEFT_UNPAID = 2
_PAYERS = (2, 2, 4, 4, 4)  # how often each account of a group pays
_NEXT = "SELECT min(ready_at) FROM outbox_event WHERE done_at IS NULL"


@dataclass
class Wish:
    """A payment that a tenant wants to make: the same key until there is an order."""

    group: SimGroup
    account: int
    channel: SimChannel
    amount_fen: int
    key: str


@dataclass(frozen=True)
class Order:
    """An order at a channel of a group."""

    group: SimGroup
    channel: SimChannel
    number: str


@dataclass
class Simulation:
    """The state of one seed."""

    seed: int
    steps: int
    shared: Shared
    fate: Fate
    clock: SetClock = field(default_factory=lambda: SetClock(START))
    queue: Queue = field(default_factory=Queue)
    wishes: list[Wish] = field(default_factory=list)
    unpaid: list[Order] = field(default_factory=list)
    notices: list[Order] = field(default_factory=list)
    crashes: int = 0
    believed: int = 0
    refused: int = 0
    wanted: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(f"steps {self.seed}")
        self.trace = hashlib.blake2b(digest_size=16)
        self.stage = Stage(self.draw, self.clock)

    async def play(self, *, code: str) -> Verdict:
        """All steps, then peace, then the judge. `code` begins the codes of its two groups.

        Raises Broken.
        """
        chance = random.Random(f"ids {self.seed}")
        with ids.drawn_from(chance), failpoints.armed(self.fate.at_commit):
            groups = self.stage.groups
            for letter in "ab":
                groups.append(
                    await make_group(self.shared, self.fate, self.clock, code=f"{code}{letter}")
                )
            self.ports = ports_of(self.shared, groups, SimNotifier(self.fate), self.clock)
            self.field = SimField({g.address: g.serials for g in groups}, self.clock)
            buses = SimBuses(self.field, self.fate, self.clock)
            self.context = WorkerContext(self.ports, buses)
            queue: Any = self.queue
            self.relay = Relay(
                dsn="", queue=queue, clock=self.clock, serve=_queued, room=0
            )  # all by the queue: a step serves one job
            self.office = Office(self.stage)
            self.mailbag = Mailbag(self.stage, self.field)
            self.rehung = Rehanging(self.stage)
            self.truth = Truth(self.stage, self.field, self.office)
            door = Starlette(routes=notice_routes(self.ports, paths=_DOORS))
            transport = httpx.ASGITransport(app=door)
            async with AsyncExitStack() as stack:
                stack.callback(self.field.close)
                self.door = await stack.enter_async_context(
                    httpx.AsyncClient(transport=transport, base_url="http://door")
                )
                for group, watcher in zip(groups, self.shared.watchers, strict=True):
                    await watcher.execute(
                        "SELECT set_config('app.group_id', $1, false)", str(group.id)
                    )
                    self.stage.witnesses[group.id] = watcher
                await self._steps()
                return await self._peace()

    async def _steps(self) -> None:
        acts: dict[Callable[[], Awaitable[object]], int] = {
            self._wish: 18,
            self._pay: 14,
            self._hear: 14,
            self._forge: 2,
            self._relay: 10,
            self._work: 40,
            self._flush: 1,
            self._tidy: 5,
            self._spoil: 4,
            self._wait: 6,
            self._hear_of_refund: 6,
            self.office.ask_refund: 12,
            self.office.decide: 9,
            self.office.desk: 14,
            self.office.correct: 5,
            self.rehung.replace: 3,
            self.rehung.move: 3,
            self.mailbag.look: 4,
            self.mailbag.send: 6,
        }
        late = acts | {self.office.close: 6}
        for step in range(self.steps):
            now = acts if step < self.steps // 5 else late
            act = self.draw.choices(list(now), weights=list(now.values()))[0]
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
            await self.truth.holds(f"after step {step} ({act.__name__}: {outcome})")

    def _note(self, line: str) -> None:
        for group in self.stage.groups:
            line = line.replace(group.code, group.code[-1])
        self.trace.update(line.encode() + b"\n")

    async def _wish(self) -> str:
        """A tenant wants to pay, or taps again after a failure."""
        if not self.wishes or self.draw.random() < 0.7:
            self.wanted += 1
            group = self.stage.group()
            account = self.draw.choices(range(len(group.accounts)), weights=_PAYERS)[0]
            channel = self.draw.choice(list(group.channels.values()))
            amount = 1_000 + self.wanted
            self.wishes.append(Wish(group, account, channel, amount, f"wish-{self.wanted:05d}"))
        wish = self.draw.choice(self.wishes)
        try:
            order = await topup.start(
                self.ports,
                group_id=wish.group.id,
                account_id=wish.group.accounts[wish.account],
                customer_id=None,
                amount_fen=wish.amount_fen,
                payer=topup.Payer(wish.channel.till.way, None, "127.0.0.1"),
                idempotency_key=wish.key,
            )
        except Conflict as error:  # the account is being closed
            self.wishes.remove(wish)
            return error.code
        except DomainError as error:
            return error.code
        self.wishes.remove(wish)
        known = wish.channel.till.slip(order.order_no, self.clock.now())
        if known is not None and not known.paid:
            self.unpaid.append(Order(wish.group, wish.channel, order.order_no))
            if self.draw.random() < 0.5:
                return f"{wish.key} {order.state}, {await self._pay()}"
        return f"{wish.key} {order.state}"

    async def _pay(self) -> str:
        """A payer pays at the channel; some never do, some do when it is nearly or quite too late."""
        if not self.unpaid:
            return "nobody"
        order = self.unpaid.pop(self.draw.randrange(len(self.unpaid)))
        if self.draw.random() < 0.1:
            return "never"
        slip = order.channel.till.slip(order.number, self.clock.now())
        assert slip is not None, "registered at the channel"
        if slip.paid or (slip.ended and self.draw.random() < 0.5):
            return "too late"
        # The payment that won the race: the channel's word stands, whatever state we are in (C5).
        order.channel.till.pay(order.number, self.clock.now())
        copies = self.draw.choices((0, 1, 2, 5), weights=(15, 55, 20, 10))[0]
        self.notices += [order] * max(copies, int(slip.ended))
        said = f"{slip.fen} copies {copies} late {slip.ended}"
        return f"{said}, {await self._hear()}" if self.draw.random() < 0.5 else said

    async def _hear(self) -> str:
        """The channel sends a notice: any one of those that wait, so they come in any order."""
        if not self.notices:
            return "nothing"
        order = self.notices.pop(self.draw.randrange(len(self.notices)))
        delivered = False
        try:
            notice = order.channel.till.notice(order.number, self.clock.now())
            status = await self._post(order.group, order.channel, *notice)
            delivered = status < 300
        finally:
            if not delivered:  # no answer, or a refusal: the channel tries again later
                self.notices.append(order)
        return str(status)

    async def _hear_of_refund(self) -> str:
        """A channel tells that a refund is done, once, if it tells of refunds."""
        told = [
            (g, c, each) for g in self.stage.groups for c in g.channels.values() for each in c.told
        ]
        if not told:
            return "nothing"
        group, channel, (number, back) = self.draw.choice(told)
        channel.told.remove((number, back))
        notice = channel.till.refund_notice(number, back, self.clock.now())
        return "never" if notice is None else str(await self._post(group, channel, *notice))

    async def _forge(self) -> str:
        """Somebody says in the channel's name that an order is paid."""
        if not self.unpaid:
            return "nothing to forge"
        order = self.draw.choice(self.unpaid)
        kind = self.draw.choice([kind for kind in FORGERIES if kind != "foreign"])
        notice = order.channel.till.notice(order.number, self.clock.now())
        status = await self._post(order.group, order.channel, *_forged(kind, notice))
        self.believed += status < 300
        self.refused += status >= 400
        return f"{kind} {status}"

    async def _post(
        self, group: SimGroup, channel: SimChannel, headers: dict[str, str], body: bytes
    ) -> int:
        name = channel.till.way.channel
        path = f"/{name.lower()}/{group.id}/{group.credentials[name]}"
        return (await self.door.post(path, content=body, headers=headers)).status_code

    async def _relay(self) -> str:
        """The relay of a worker claims what is due."""
        group = self.stage.group()
        await self.relay.relay_group(group.id, self.clock.now())
        return str(len(self.queue.jobs))

    async def _work(self) -> str:
        """A worker does some jobs; when it dies the job it holds is gone, its lease runs out."""
        if not self.queue.jobs:
            await self._relay()
        done = []
        for _ in range(self.draw.randint(1, _JOBS)):
            if self.queue.jobs:
                job = self.queue.jobs.pop(self.draw.randrange(len(self.queue.jobs)))
                await handle_event({"context": self.context}, job)
                done.append(str(job["topic"]))
        return ", ".join(done)

    async def _flush(self) -> str:
        """Redis loses everything."""
        lost = len(self.queue.jobs)
        self.queue.jobs.clear()
        return str(lost)

    async def _tidy(self) -> str:
        """The janitor looks for what was left behind."""
        group = self.stage.group()
        await tidy_group(group_id=group.id, at=self.clock.now())
        return "tidy"

    async def _spoil(self) -> str:
        """A frame gets lost, doubled or broken; a gateway goes off or comes back."""
        if self.draw.random() < 0.25:
            address = self.stage.group().address
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

    async def _peace(self) -> Verdict:
        """Nothing fails any more: deliver what waits, do what waits for a person, work until nothing is
        left, then judge.

        Raises Broken when the verdict is bad or something is stuck.
        """
        self.field.offline.clear()
        for meter in self.field.meters():
            for fault in METER_FAULTS:
                setattr(meter.faults, fault, 0)
        while self.notices:
            await self._hear()
        for order in self.unpaid[_LEFT_UNPAID:]:
            slip = order.channel.till.slip(order.number, self.clock.now())
            assert slip is not None, "registered at the channel"
            if not (slip.paid or slip.ended):  # paid, and nobody is told: only asking finds it
                order.channel.till.pay(order.number, self.clock.now())
        end = self.clock.now() + _CALM_WITHIN
        self.mailbag.look_at_all()
        await self.mailbag.send_all()
        for _ in range(_ROUNDS):
            busy = await self.office.finish()
            await self._work_until(self.clock.now() + _ROUND)
            if not busy and await self.truth.settled():
                break
        await self._work_until(end)
        for group in self.stage.groups:
            await tidy_group(group_id=group.id, at=self.clock.now())
        await self._work_until(end)
        verdict = judge(await self.truth.witnesses(believed=self.believed))
        self._note(f"{verdict}")
        if not verdict.good:
            raise Broken(f"after peace: {', '.join(verdict.reasons)}: {verdict}")
        await self.truth.in_the_end()
        return verdict

    async def _work_until(self, end: datetime) -> None:
        """Do whatever is due up to `end`, in its order; the clock jumps from one to the next."""
        while (due := await self._due()) is not None and due <= end:
            self.clock.instant = max(self.clock.instant, due)
            for group in self.stage.groups:
                await self.relay.relay_group(group.id, self.clock.now())
            while self.queue.jobs:
                await handle_event({"context": self.context}, self.queue.jobs.pop(0))
        self.clock.instant = max(self.clock.instant, end)

    async def _due(self) -> Any:
        """When the next event of any group may be claimed; None when there is none."""
        found = [await self.stage.value(group, _NEXT) for group in self.stage.groups]
        return min((due for due in found if due is not None), default=None)


def _forged(kind: str, notice: Message) -> Message:
    """A genuine notice made false: WeChat's in one of many ways, a form by another signature."""
    headers, body = notice
    if "Wechatpay-Signature" in headers:
        return forged(kind, headers, body)
    for name in (b"&sign=", b"&signature=", b"&Signature="):
        body = body.replace(name, name + b"A")
    return headers, body


async def _queued(job: Any) -> None:
    raise AssertionError(f"{job} has no room outside the queue")
