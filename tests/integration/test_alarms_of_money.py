"""Money that runs low: one alarm a level, one message an episode, armed again when there is money (C27)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from uuid import UUID

from backend.alerts.alarm_rules import AlarmKind
from backend.alerts.operations import mark_delivery
from backend.journeys.alarms import Looked, tend_alarms
from backend.journeys.shared_purse import share_purse
from backend.journeys.supply_warned import warned_since
from backend.kernel.db import unit_of_work

from .alarmed import MINUTE, NOTHING, alarms, bound, holds, kinds, look
from .charged import Home, make_home
from .test_customer_news import told
from .world import World, bind_customer

LOW_1, LOW_2, ARREARS = AlarmKind.LOW_1, AlarmKind.LOW_2, AlarmKind.ARREARS


async def test_a_meter_that_runs_low_is_told_once_a_level_and_again_after_it_was_filled(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await bind_customer(world)
        await holds(world, "100")
        assert await look(world) == NOTHING
    await holds(ours, "20")
    assert await look(ours) == Looked(1, 0)
    assert await told(ours) == [
        (
            "o-zhang",
            "余额提醒：Shop 100001 余额剩 20.00 元，预计可用天数：未知（11-22 12:04），请留意充值。",
        )
    ]
    assert await look(ours) == NOTHING
    await holds(ours, "19.5")
    assert await look(ours) == NOTHING
    assert [(a.kind, dict(a.detail)) for a in await alarms(ours)] == [
        (LOW_1, {"left": "19.50", "level": "20.00"})
    ]
    await holds(ours, "4")
    assert await look(ours) == Looked(1, 0)
    await holds(ours, "-1.2")
    assert await look(ours) == Looked(1, 0)
    assert await kinds(ours) == {LOW_1, LOW_2, ARREARS}
    assert [text[:4] for _, text in await told(ours)] == ["余额提醒", "停供提醒", "欠费提醒"]
    assert "欠费 1.20 元" in (await told(ours))[-1][1]
    await holds(ours, "21.99")
    assert await look(ours) == Looked(0, 2), "not a tenth above its first level yet"
    assert await kinds(ours) == {LOW_1}
    await holds(ours, "19")
    assert await look(ours) == NOTHING, "the episode goes on"
    await holds(ours, "22.01")
    assert await look(ours) == Looked(0, 1)
    await holds(ours, "20")
    assert await look(ours) == Looked(1, 0)
    assert len(await told(ours)) == 4
    assert [alarm.ended_at is None for alarm in await alarms(ours, live=False)] == [
        False,
        False,
        False,
        True,
    ]
    assert await alarms(theirs, live=False) == []
    assert await told(theirs) == []


async def test_workers_that_look_at_once_begin_one_episode_with_one_message(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await bind_customer(ours)
    await holds(ours, "1")
    at = ours.clock.now()
    looks = await asyncio.gather(*(tend_alarms(group_id=ours.group_id, at=at) for _ in range(6)))
    assert sum(each.began for each in looks) == 2
    assert len(await alarms(ours)) == 2
    assert len(await told(ours)) == 1
    await holds(ours, "90")
    at = ours.clock.now()
    looks = await asyncio.gather(*(tend_alarms(group_id=ours.group_id, at=at) for _ in range(6)))
    assert sum(each.ended for each in looks) == 2


async def test_who_falls_through_all_levels_at_once_hears_of_the_gravest_only(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    home, other = await bound(await make_home(ours)), await bound(await make_home(theirs))
    for each in (home, other):
        await each.pay("40")
        assert await look(each.world) == NOTHING
    await home.read(home.reading(1, 70_000))
    assert await look(ours) == Looked(3, 0)
    assert [(address, text[:4]) for address, text in await told(ours)] == [("o-zhang", "欠费提醒")]
    assert "欠费 2.00 元" in (await told(ours))[0][1]
    await home.read(home.reading(2, 71_000))
    assert await look(ours) == NOTHING
    assert len(await told(ours)) == 1, "one message an episode"
    assert {a.detail["left"] for a in await alarms(ours)} == {"-2.60"}
    await home.pay("60")
    assert await look(ours) == Looked(0, 3)
    assert await kinds(ours) == set()
    assert {a.ended_why for a in await alarms(ours, live=False)} == {"there is money again"}
    assert await alarms(theirs, live=False) == []
    assert await told(theirs) == []


async def test_what_is_read_and_not_charged_yet_is_not_left(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    home = await make_home(ours)
    await home.pay("30")
    await home.read(home.reading(1, 1_000))
    assert await look(ours) == NOTHING
    await home.read(home.reading(2, 20_000), charge=False)
    assert await look(ours) == Looked(1, 0)
    assert [a.detail["left"] for a in await alarms(ours)] == ["18.00"]


async def test_all_who_draw_from_a_purse_hear_of_it_and_nobody_else(
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
    await stranger.pay("100")
    for home, openid in ((owner, "o-one"), (sharer, "o-two"), (stranger, "o-three")):
        await bound(home, openid)
    await sharer.read(sharer.reading(1, 1_000), owner.reading(1, 1_000))
    assert await look(ours) == Looked(3, 0), "the purse is one place"
    assert {address for address, _ in await told(ours)} == {"o-one", "o-two"}
    assert all("欠费 1.20 元" in text for _, text in await told(ours))


async def accepted(world: World, address: str, *, refused: bool = False) -> None:
    """A provider takes all that waits for an address, or refuses it for good."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT payload FROM outbox_event WHERE topic = 'message.send'"
            " AND payload->>'address' = $1 AND done_at IS NULL",
            address,
        )
        for row in rows:
            await mark_delivery(
                work,
                delivery_id=UUID(row["payload"]["delivery_id"]),
                provider_id=None if refused else "p-1",
                error="blocked" if refused else None,
                at=world.clock.now(),
            )


async def warned(*homes: Home) -> list[datetime | None]:
    """Since when each account is known to be warned of a cut."""
    async with unit_of_work(homes[0].world.group_id) as work:
        found = await warned_since(work, account_ids=[home.account.id for home in homes])
    return [found.get(home.account.id) for home in homes]


async def test_a_warning_counts_from_when_a_provider_took_it_as_long_as_its_episode_stands(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    owner, sharer, unbound = [await make_home(ours, no=f"30000{n}") for n in range(3)]
    await share_purse(
        scope=ours.scope,
        account_id=sharer.account.id,
        owner_id=owner.account.id,
        reason="one family",
        at=ours.clock.now(),
    )
    await bound(owner, "o-one")
    await bound(sharer, "o-two")
    await owner.pay("19")
    await look(ours)
    await accepted(ours, "o-one")
    assert await warned(owner, sharer, unbound) == [None] * 3, "the first level warns of no cut"
    await owner.read(owner.reading(1, 24_000))
    await look(ours)
    assert await warned(owner, sharer, unbound) == [None] * 3, "nobody took it yet"
    ours.clock.advance(MINUTE)
    first = ours.clock.now()
    await accepted(ours, "o-one")
    await accepted(ours, "o-two", refused=True)
    assert await warned(owner, sharer, unbound) == [first, None, None]
    ours.clock.advance(MINUTE)
    await owner.read(owner.reading(2, 40_000))
    await look(ours)
    await accepted(ours, "o-two")
    assert await warned(owner, sharer, unbound) == [first, ours.clock.now(), None], (
        "the arrears are a warning too, but the first one counts"
    )
    await owner.pay("100")
    await look(ours)
    assert await warned(owner, sharer) == [None, None], "the episode is over"


async def test_a_meter_that_serves_nobody_any_more_has_no_alarm_of_money(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await holds(ours, "1")
    assert await look(ours) == Looked(2, 0)
    async with unit_of_work(ours.group_id) as work:
        await work.execute(
            "UPDATE metering_assignment SET ended_at = $2, closing_total = 0,"
            " closing_remaining_hao = 0, closing_purchase_no = 0, closing_by = 'READ'"
            " WHERE id = $1",
            ours.assignment.id,
            ours.clock.now(),
        )
    assert await look(ours) == Looked(0, 2)
    assert await look(ours) == NOTHING
