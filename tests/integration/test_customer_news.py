"""Customers hear of a refund that was made and of a charge that put them in arrears, each once (A23, C27)."""

from __future__ import annotations

from dataclasses import replace

from backend.journeys.refund_sending import pursue
from backend.journeys.shared_purse import share_purse
from backend.kernel.db import unit_of_work
from backend.kernel.money import ZERO
from backend.ledger.rules import AccountKind
from backend.topups.ports import RefundState as Word

from .charged import Home, make_home
from .refunding import ask, channel_says, cloud_order
from .test_purses import top_up
from .world import World, bind_customer


async def told(world: World) -> list[tuple[str, str]]:
    """(address, text) of each message of the group, as the provider will get it, oldest first."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT e.payload FROM outbox_event e JOIN alerts_delivery d ON d.id::text = e.key"
            " WHERE e.topic = 'message.send' AND d.event = e.payload->>'event' ORDER BY e.id"
        )
    return [(row["payload"]["address"], row["payload"]["text"]) for row in rows]


async def test_a_customer_hears_of_a_refund_when_it_is_done_and_not_when_it_fails(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await bind_customer(world)
    order = await cloud_order(ours)
    failed = await ask(ours, order, "20")
    ports, _ = channel_says(ours, Word.FAILED)
    await pursue(ports, group_id=ours.group_id, refund_id=failed.id)
    assert await told(ours) == []
    refund = await ask(ours, order, "12.5")
    ports, _ = channel_says(ours, Word.ACCEPTED, Word.DONE)
    await pursue(ports, group_id=ours.group_id, refund_id=refund.id)
    assert await told(ours) == []
    for _ in range(2):
        await pursue(ports, group_id=ours.group_id, refund_id=refund.id)
    assert await told(ours) == [
        (
            "o-zhang",
            "退款完成：Shop 100001 12.50 元已退（11-22 12:00）。原路退回的，到账时间以支付渠道为准。",
        )
    ]
    assert await told(theirs) == []


async def bound(home: Home, openid: str) -> None:
    """A customer bound to the home's account."""
    await bind_customer(replace(home.world, account=home.account), external_id=openid)


async def test_a_customer_hears_once_that_a_charge_put_the_purse_in_arrears_and_anew_after_it_was_paid(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await make_home(ours), await make_home(theirs)
    await bound(home, "o-zhang")
    await bound(other, "o-zhang")
    for each in (home, other):
        await each.pay("1")
    await home.read(home.reading(1, 1_000))
    assert await told(ours) == [], "there is money left"
    await home.read(home.reading(2, 3_000))
    first = (
        "o-zhang",
        "欠费提醒：Shop 300001 余额已用完，欠费 0.80 元（11-22 13:00 扣费），请及时充值，以免停供。",
    )
    assert await told(ours) == [first]
    await home.read(home.reading(3, 4_000))
    assert await told(ours) == [first], "one message an episode"
    await top_up(home, yuan=2)
    assert await home.owed(AccountKind.ENERGY_ARREARS) == ZERO
    await home.read(home.reading(4, 6_000))
    assert len(await told(ours)) == 2
    assert await told(theirs) == []


async def test_all_who_draw_from_the_purse_hear_of_its_arrears_and_nobody_else(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner, sharer, stranger = [await make_home(ours, no=f"30000{n}") for n in range(3)]
    await share_purse(
        scope=ours.scope,
        account_id=sharer.account.id,
        owner_id=owner.account.id,
        reason="one family",
        at=ours.clock.now(),
    )
    for home, openid in ((owner, "o-one"), (sharer, "o-two"), (stranger, "o-three")):
        await bound(home, openid)
    await sharer.read(sharer.reading(1, 1_000), owner.reading(1, 1_000))
    assert {address for address, _ in await told(ours)} == {"o-one", "o-two"}
    assert all("欠费 1.20 元" in text for _, text in await told(ours))
