"""Customers of a group with accounts at every message channel, and a worker that sends what is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from backend.alerts.ports import MessageChannel, Outgoing
from backend.alerts.template_rules import MessageTemplate
from backend.alerts.templates import Slot, save_template
from backend.journeys.message_desk import AlipayUser, bind_alipay
from backend.journeys.news import tell_customers
from backend.journeys.ports import Ports
from backend.kernel.db import unit_of_work
from backend.outbox.operations import claim
from backend.tenancy import operations as tenancy
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.main import handle_event

from .world import APP_ID, BOX, World

WECHAT, ALIPAY, SMS = MessageChannel
ALIPAY_APP, ALIPAY_USER = "2021000000000001", "2088000000000007"
LOW = {"amount": "4.20", "days": "1", "time": "11-22 12:00"}
_ACCOUNTS = {"WECHAT_OFFICIAL": APP_ID, "ALIYUN_SMS": "LTAI-test", "ALIPAY": "2088000000000101"}
_TOPICS = ("message.send", "webhook.send")


@dataclass
class Provider:
    """The outside of one group: what each channel says next (nothing: it takes all), and what it took."""

    world: World
    says: dict[MessageChannel, deque[Exception]] = field(
        default_factory=lambda: {channel: deque() for channel in MessageChannel}
    )
    took: list[tuple[MessageChannel, Outgoing]] = field(default_factory=list)
    tried: list[MessageChannel] = field(default_factory=list)
    posted: list[tuple[str, bytes, Mapping[str, str]]] = field(default_factory=list)
    webhook_says: deque[Exception] = field(default_factory=deque)

    @property
    def ports(self) -> Ports:
        """Ports to it."""
        return replace(
            self.world.ports,
            notifier=lambda channel, credential: _Line(self, channel),
            webhook_sender=self,
        )

    async def post(self, url: str, /, *, body: bytes, headers: Mapping[str, str]) -> None:
        """A webhook's receiver."""
        if self.webhook_says:
            raise self.webhook_says.popleft()
        self.posted.append((url, body, headers))

    def heard(self) -> list[tuple[MessageChannel, str]]:
        """(channel, address) of all that was taken."""
        return [(channel, message.address) for channel, message in self.took]


@dataclass
class _Line:
    provider: Provider
    channel: MessageChannel

    async def send(self, message: Outgoing, /) -> str:
        self.provider.tried.append(self.channel)
        if self.provider.says[self.channel]:
            raise self.provider.says[self.channel].popleft()
        self.provider.took.append((self.channel, message))
        return f"{self.channel}-{len(self.provider.took)}"


async def open_accounts(world: World) -> Provider:
    """The group's accounts at all channels, and an SMS template for each event of these tests."""
    async with unit_of_work(world.group_id) as work:
        for kind, key in _ACCOUNTS.items():
            await tenancy.save_credential(
                work,
                scope=world.scope,
                box=BOX,
                kind=kind,
                key=key,
                project_id=world.project.id if kind == "ALIPAY" else None,
                public={},
                secret={"secret": "x"},
                at=world.clock.now(),
            )
        for event in ("low_1", "low_2", "cut"):
            await save_template(
                work,
                scope=world.scope,
                slot=Slot(event, SMS),
                template=MessageTemplate(f"SMS_{event}", {"room": "account"}, "某物业"),
                at=world.clock.now(),
            )
    return Provider(world)


async def bind_alipay_user(world: World, *, same_as: str | None) -> None:
    """An Alipay user of the world's account."""
    await bind_alipay(
        scope=world.scope,
        account_id=world.account.id,
        user=AlipayUser(ALIPAY_APP, ALIPAY_USER, same_as),
        at=world.clock.now(),
    )


async def tell(world: World, key: str = "low", *, event: str = "low_1", **params: str) -> None:
    """News of the world's account."""
    async with unit_of_work(world.group_id) as work:
        await tell_customers(
            work,
            account_id=world.account.id,
            event=event,
            key=f"{key}-of-a-test",
            params=params or LOW,
            at=world.clock.now(),
        )


async def work_off(provider: Provider, *, attempts: int | None = None) -> int:
    """Let the worker do what is due now, until nothing is; how many jobs. `attempts`: as if each had been
    tried so often."""
    world, jobs = provider.world, 0
    context = WorkerContext(
        provider.ports, Buses(BusLease("postgresql://nowhere"), access=Access())
    )
    for _ in range(20):
        at = world.clock.now()
        async with unit_of_work(world.group_id) as work:
            found = await claim(work, at=at, lease=timedelta(seconds=30), limit=20)
        due = [event for event in found if event.topic in _TOPICS]
        if not due:
            return jobs
        for event in due:
            job = {
                "group_id": world.group_id,
                "event_id": str(event.id),
                "topic": event.topic,
                "payload": event.payload,
                "attempts": attempts or event.attempts,
            }
            await handle_event({"context": context}, job)
            jobs += 1
    raise AssertionError("the work does not end")


async def tries(world: World) -> list[tuple[str, str]]:
    """(channel, state) of each try of the group, in the order of the chain, by state within a channel."""
    rows = await rows_of(world, "SELECT channel, state FROM alerts_delivery")
    order = [str(channel) for channel in MessageChannel]
    found = [(row["channel"], row["state"]) for row in rows]
    return sorted(found, key=lambda each: (order.index(each[0]), each[1]))


async def cases(world: World) -> list[str]:
    """The kinds of open cases."""
    rows = await rows_of(world, "SELECT kind FROM alerts_case WHERE resolved_at IS NULL ORDER BY 1")
    return [row["kind"] for row in rows]


async def rows_of(world: World, statement: str) -> list[dict[str, Any]]:
    """Rows of the group."""
    async with unit_of_work(world.group_id) as work:
        return [dict(row) for row in await work.fetch(statement)]
