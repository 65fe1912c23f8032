"""Money in the cloud that is used up: warned, cut in office hours, power again once it is paid (C19-C21).

At a real DL/T 645 meter on a socket: what is read is charged, what is decided is written, what was written is
read back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backend.control.command_rules import CommandKind, CommandState
from backend.control.commands import Command, commands_of_meters
from backend.control.decisions import decisions_of_meters
from backend.control.supply_rules import Want, Why
from backend.journeys.alarms import tend_alarms
from backend.journeys.supply_look import Looked, restore_paid, tend_supplies
from backend.kernel.db import unit_of_work
from backend.metering.models import Meter
from backend.outbox.operations import claim
from workers.handlers import HANDLERS
from workers.models import meter_models
from workers.sweep import meter_refresh

from .charged import Home, charge_due, make_home
from .commanded import CLOUD, LEASE, Post
from .test_shared_purse import share
from .world import bind_customer, make_credential, make_order, pay

MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)  # ten o'clock in China
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@dataclass
class Shop:
    """A shop behind the 645 meter: 1,003 kWh on the register, of which three were not charged yet."""

    post: Post
    home: Home
    credential_id: UUID

    async def read(self) -> None:
        """The sweep reads the meter, and what it used is charged."""
        self.post.clock.advance(MINUTE)
        payload = {"meter_id": str(self.home.meter.id)}
        await meter_refresh(self.post.context, self.post.world.group_id, payload)
        await charge_due(self.post.world)

    async def look(self) -> Looked:
        """The looks of a minute: alarms, then supplies."""
        self.post.clock.advance(timedelta(seconds=1))
        group_id, at = self.post.world.group_id, self.post.clock.now()
        await tend_alarms(group_id=group_id, at=at)
        return await tend_supplies(group_id=group_id, models=meter_models(), at=at)

    async def told(self) -> None:
        """A provider takes every message that waits."""
        async with unit_of_work(self.post.world.group_id) as work:
            await work.execute(
                "UPDATE alerts_delivery SET state = 'SENT', sent_at = $1 WHERE state = 'QUEUED'",
                self.post.clock.now(),
            )

    async def why(self) -> Why:
        """The rule that decided last."""
        async with unit_of_work(self.post.world.group_id) as work:
            found = await decisions_of_meters(work, meter_ids=[self.home.meter.id], limit=1)
        return found[self.home.meter.id][0].why

    async def newest(self) -> Command:
        """The newest command to the meter."""
        async with unit_of_work(self.post.world.group_id) as work:
            found = await commands_of_meters(work, meter_ids=[self.home.meter.id], limit=1)
        return found[self.home.meter.id][0]

    async def paid(self, yuan: int = 0, *, fen: int = 0) -> None:
        """The tenant pays by WeChat, and the worker does what is rung for."""
        world = self.post.world
        world.clock.advance(timedelta(seconds=1))
        order = await make_order(
            world,
            credential_id=self.credential_id,
            amount_fen=yuan * 100 + fen,
            account=self.home.account,
            assignment=self.home.assignment,
        )
        await pay(world, order)
        await self.rung()

    async def rung(self) -> None:
        """The worker does what was rung for of supplies."""
        async with unit_of_work(self.post.world.group_id) as work:
            events = await claim(work, at=self.post.clock.now(), lease=LEASE, limit=100)
        for event in events:
            if event.topic in ("supply.due", "supply.switched"):
                await HANDLERS[event.topic](
                    self.post.context, self.post.world.group_id, dict(event.payload)
                )


@pytest.fixture
async def shop(both: tuple[Post, Post]) -> AsyncIterator[Shop]:
    """Ours; theirs has the same and is never touched."""
    shops = [await _shop(each) for each in both]
    yield shops[0]
    async with unit_of_work(both[1].world.group_id) as work:
        found = await commands_of_meters(work, meter_ids=[shops[1].home.meter.id], limit=1)
    assert found[shops[1].home.meter.id] == []


async def _shop(post: Post) -> Shop:
    home = await make_home(post.world)
    async with unit_of_work(post.world.group_id) as work:
        await work.execute(
            "UPDATE metering_meter SET profile = 'GENERIC-645-2007', bus_address = $2 WHERE id = $1",
            home.meter.id,
            CLOUD,
        )
        home.meter = await Meter.get(id=home.meter.id)
    await bind_customer(replace(home.world, account=home.account), external_id="o-shop")
    post.clock.instant = MONDAY
    return Shop(post, home, await make_credential(post.world))


async def _warned(shop: Shop) -> None:
    """Used up on Monday morning, and the warning was taken."""
    await shop.home.pay("1")
    await shop.read()
    await shop.look()
    await shop.told()


async def _to_be_cut(shop: Shop) -> Command:
    """The trip that is asked for on Tuesday."""
    await _warned(shop)
    shop.post.clock.instant = MONDAY + DAY
    await shop.read()
    assert (await shop.look()).commands == 1
    return await shop.newest()


async def _in_the_dark(shop: Shop) -> None:
    """Cut on Tuesday."""
    await shop.post.serve(await _to_be_cut(shop))
    assert (await shop.newest()).state is CommandState.VERIFIED


async def test_a_shop_is_warned_on_monday_cut_on_tuesday_and_has_power_as_soon_as_it_paid(
    shop: Shop,
) -> None:
    await shop.home.pay("1")
    await shop.read()
    assert (await shop.look()).commands == 0
    assert await shop.why() is Why.NOT_WARNED
    await shop.told()
    shop.post.clock.advance(DAY - 30 * MINUTE)
    await shop.read()
    assert (await shop.look()).commands == 0  # a day was promised
    shop.post.clock.advance(30 * MINUTE)
    await shop.read()
    assert await shop.look() == Looked(decided=1, commands=1, held=0)
    trip = await shop.newest()
    assert (trip.kind, trip.why) == (CommandKind.TRIP, Why.ARREARS)
    await shop.post.serve(trip)
    assert (await shop.newest()).relay_after is False
    assert (await shop.look()).commands == 0
    await shop.paid(5)
    close = await shop.newest()
    assert (close.kind, close.why) == (CommandKind.CLOSE, Why.PAID)
    await shop.post.serve(close)
    assert (await shop.newest()).state is CommandState.VERIFIED
    assert (await shop.newest()).relay_after is True
    assert (await shop.look()).commands == 0


async def test_nobody_is_cut_at_night_and_power_comes_back_at_night(shop: Shop) -> None:
    await _warned(shop)
    shop.post.clock.instant = MONDAY + DAY + timedelta(hours=12)
    await shop.read()
    assert (await shop.look()).commands == 0
    assert await shop.why() is Why.OUTSIDE_WINDOW
    shop.post.clock.instant = MONDAY + 2 * DAY
    await shop.read()
    assert (await shop.look()).commands == 1
    await shop.post.serve(await shop.newest())
    shop.post.clock.instant += timedelta(hours=13)
    await shop.paid(5)
    assert (await shop.newest()).kind is CommandKind.CLOSE


@pytest.mark.parametrize("by_who_shares_the_purse", [False, True])
async def test_nobody_is_cut_while_a_payment_is_on_its_way(
    shop: Shop, by_who_shares_the_purse: bool
) -> None:
    await _warned(shop)
    shop.post.clock.instant = MONDAY + DAY
    await shop.read()
    payer = shop.home
    if by_who_shares_the_purse:
        payer = await make_home(shop.post.world, no="300002")
        await share(payer, shop.home)
    await make_order(
        shop.post.world,
        credential_id=shop.credential_id,
        account=payer.account,
        assignment=payer.assignment,
    )
    assert (await shop.look()).commands == 0
    assert await shop.why() is Why.PAYMENT_PENDING


async def test_nobody_is_cut_by_an_old_reading(shop: Shop) -> None:
    await _warned(shop)
    shop.post.clock.instant = MONDAY + DAY
    assert (await shop.look()).commands == 0
    assert await shop.why() is Why.READING_IS_OLD


async def test_nobody_is_cut_while_the_use_of_his_meter_waits_for_a_person(shop: Shop) -> None:
    await _warned(shop)
    shop.post.clock.instant = MONDAY + DAY
    await shop.read()
    shop.post.clock.advance(MINUTE)
    now = shop.post.clock.now()
    back = shop.home.reading(0, 1_000)  # of 3,000 Wh that it showed
    await shop.home.read(back._replace(at=now, received_at=now, relay_closed=True))
    assert (await shop.look()).commands == 0
    assert await shop.why() is Why.BILLING_HOLD


async def test_too_little_money_leaves_it_as_it_is_and_the_next_payment_brings_power(
    shop: Shop,
) -> None:
    await _in_the_dark(shop)
    await shop.paid(fen=50)  # 0.80 yuan are owed
    assert (await shop.newest()).kind is CommandKind.TRIP
    await shop.paid(fen=31)
    assert (await shop.newest()).kind is CommandKind.CLOSE


async def test_a_cut_that_nobody_wrote_yet_is_called_off_by_the_payment(shop: Shop) -> None:
    trip = await _to_be_cut(shop)
    await shop.paid(5)
    off = await shop.newest()
    assert off.id == trip.id
    assert off.state is CommandState.SUPERSEDED
    assert off.outcome == "not wanted any more: PAID"
    assert await shop.post.serve(trip) is None
    await shop.read()
    assert (await shop.look()).commands == 0
    ends = await shop.post.audited("meter:command:end")
    assert [(end.after or {})["state"] for end in ends] == ["SUPERSEDED"]


async def test_a_cut_that_may_have_reached_the_meter_is_taken_back_without_waiting_for_its_end(
    shop: Shop,
) -> None:
    trip = await _to_be_cut(shop)
    await shop.post.announce(trip)  # and the worker dies: nobody knows whether it was written
    await shop.paid(5)
    close = await shop.newest()
    assert (close.kind, close.why) == (CommandKind.CLOSE, Why.PAID)
    assert (await shop.post.now(trip)).state is CommandState.SUPERSEDED
    await shop.post.serve(close)
    assert (await shop.newest()).relay_after is True
    assert (await shop.look()).commands == 0


async def test_a_supply_is_looked_at_because_its_account_owes_and_no_more_when_it_paid(
    shop: Shop,
) -> None:
    await shop.home.pay("1")
    await shop.read()
    assert (await shop.look()).decided == 1
    await shop.paid(5)
    assert (await shop.look()).decided == 0
    group_id, purse = shop.post.world.group_id, shop.home.account.id
    found = await restore_paid(
        group_id=group_id, purse=purse, models=meter_models(), at=shop.post.clock.now()
    )
    assert found == Looked(0, 0, 0)


async def test_what_decided_is_kept_with_all_that_it_was_taken_from(shop: Shop) -> None:
    await _in_the_dark(shop)
    async with unit_of_work(shop.post.world.group_id) as work:
        meter_id = shop.home.meter.id
        found = await decisions_of_meters(work, meter_ids=[meter_id], limit=1)
    cut = found[meter_id][0]
    assert (cut.want, cut.why, cut.command) == (Want.OFF, Why.ARREARS, CommandKind.TRIP)
    assert cut.inputs["balance"] == -8_000
    assert cut.inputs["warned_for"] == 86_400
    assert cut.inputs["relay"] is True


async def test_the_shop_hears_of_the_cut_and_of_the_power_once_each(shop: Shop) -> None:
    await _in_the_dark(shop)
    await shop.rung()
    await shop.paid(5)
    await shop.post.serve(await shop.newest())
    await shop.rung()
    async with unit_of_work(shop.post.world.group_id) as work:
        rows = await work.fetch(
            "SELECT event, params FROM alerts_message WHERE event IN ('cut', 'restored') ORDER BY id"
        )
    assert [row["event"] for row in rows] == ["cut", "restored"]
    cut, restored = (row["params"] for row in rows)
    assert (cut["why"], cut["back"]) == ("余额用完", "充值到账后自动恢复")
    assert restored["why"] == "充值已到账"
