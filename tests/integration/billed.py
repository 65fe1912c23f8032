"""A channel that gives out the bill a test writes for it, and what a comparison left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from uuid import UUID

from backend.journeys.ports import Ports
from backend.journeys.reconcile import plan_bills, reconcile_day
from backend.kernel.clock import business_day
from backend.kernel.db import unit_of_work
from backend.reconcile.models import BillDay, BillItem, day_of, item_of
from backend.tenancy.queries import Credential
from backend.topups.ports import (
    BillLine,
    ChannelUnavailable,
    Payment,
    Prepaid,
    PrepayRequest,
    RefundRequest,
    RefundState,
)
from backend.topups.queries import Order

from .world import START, World, make_credential, make_order, payment_of

DAY = business_day(START)
# Ten o'clock of the next China day, and a minute for the clock's work.
NEXT_TEN = START + timedelta(hours=22, minutes=1)


@dataclass
class Channel:
    """The channel's side: bills by day; a day without one is not out yet."""

    bills: dict[date, list[BillLine]] = field(default_factory=dict)
    asked: int = 0

    async def bill(self, day: date, /) -> list[BillLine]:
        """The bill of a day. Raises ChannelUnavailable."""
        self.asked += 1
        if day not in self.bills:
            raise ChannelUnavailable("no bill yet")
        return self.bills[day]

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """Not asked here."""
        raise ChannelUnavailable(request.order_no)

    async def query(self, order_no: str, /) -> Payment:
        """Not asked here."""
        raise ChannelUnavailable(order_no)

    async def close(self, order_no: str, /) -> None:
        """Not asked here."""
        raise ChannelUnavailable(order_no)

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """Not asked here."""
        raise ChannelUnavailable(request.refund_no)

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: datetime, /
    ) -> Payment:
        """Not asked here."""
        raise ChannelUnavailable("no notices")


@dataclass
class Books:
    """A world that takes money by a channel whose bill the test writes."""

    world: World
    credential_id: UUID
    channel: Channel = field(default_factory=Channel)

    @property
    def ports(self) -> Ports:
        """The world's ports with this channel behind its merchant account."""

        def channel(group_id: int, credential: Credential) -> Channel:
            assert (group_id, credential.id) == (self.world.group_id, self.credential_id)
            return self.channel

        return replace(self.world.ports, payment_channel=channel)

    async def order(self, *, fen: int = 5000) -> Order:
        """A fresh order of the world's account."""
        return await make_order(self.world, credential_id=self.credential_id, amount_fen=fen)

    def line(self, order: Order, **changes: object) -> BillLine:
        """The true bill line of an order's payment, with `changes`."""
        paid = payment_of(self.world, order)
        assert paid.transaction_id is not None
        true = BillLine(
            order_no=order.order_no,
            transaction_id=paid.transaction_id,
            amount_fen=order.amount_fen,
            refund_fen=0,
            refund_no=None,
            at=self.world.clock.now(),
        )
        return replace(true, **changes)  # type: ignore[arg-type] # names are BillLine's own fields

    def publish(self, *lines: BillLine, day: date = DAY) -> None:
        """Let the channel put out the bill of a day."""
        self.channel.bills[day] = list(lines)

    async def compare(self, day: date = DAY) -> datetime | None:
        """Plan what is due and go on with the bill of one day, as the worker does."""
        now = self.world.clock.now()
        self.world.clock.instant = max(now, NEXT_TEN + (day - DAY))
        await plan_bills(group_id=self.world.group_id, at=self.world.clock.now())
        found = await self.day(day)
        return await reconcile_day(self.ports, group_id=self.world.group_id, day_id=found.id)

    async def day(self, day: date = DAY) -> BillDay:
        """A day's row."""
        async with unit_of_work(self.world.group_id) as work:
            row = await work.fetchrow("SELECT * FROM reconcile_day WHERE day = $1", day)
        assert row is not None
        return day_of(row)

    async def items(self) -> list[BillItem]:
        """All items of the group, oldest first."""
        async with unit_of_work(self.world.group_id) as work:
            rows = await work.fetch("SELECT * FROM reconcile_item ORDER BY id")
        return [item_of(row) for row in rows]

    async def cases(self) -> list[tuple[str, bool]]:
        """All cases of the group: kind, and whether it is open."""
        async with unit_of_work(self.world.group_id) as work:
            rows = await work.fetch(
                "SELECT kind, resolved_at IS NULL AS open FROM alerts_case ORDER BY kind, id"
            )
        return [(row["kind"], row["open"]) for row in rows]


async def make_books(world: World) -> Books:
    """A world with a merchant account that has existed since START."""
    return Books(world, await make_credential(world))


async def today_of(world: World) -> date:
    """The China day that the database's own clock has: the day in which tests post. The world's projects
    exist since two days before it."""
    async with unit_of_work(world.group_id) as work:
        await work.execute("UPDATE tenancy_project SET created_at = now() - interval '2 days'")
        now: datetime = await work.fetchval("SELECT now()")
    return business_day(now)
