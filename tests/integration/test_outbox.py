"""An event exists if and only if what it tells was committed, and is worked off at least once (C12)."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import asyncpg
import pytest

from backend.alerts.operations import mark_delivery, queue_delivery
from backend.alerts.ports import MessageChannel
from backend.kernel.db import unit_of_work
from backend.outbox.operations import (
    BELL,
    Event,
    claim,
    emit,
    emit_all,
    finish,
    handled,
    postpone,
    receive,
    retry,
)
from backend.outbox.queries import groups_due, oldest_due, outcome_of, received
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.operations import count_login_try
from workers.context import WorkerContext
from workers.housekeeping import forget_all

from .catalogue import Connection
from .world import START, World

LEASE = timedelta(seconds=30)


async def put(world: World, *keys: str, due_at: datetime | None = None) -> None:
    """Events of the topic test.work, due now or at `due_at`."""
    async with unit_of_work(world.group_id) as work:
        for key in keys:
            await emit(
                work, topic="test.work", key=key, payload={"key": key}, at=START, due_at=due_at
            )


async def put_and_fail(world: World) -> None:
    """An event in a unit of work that does not commit. Raises LookupError."""
    async with unit_of_work(world.group_id) as work:
        await emit(work, topic="test.work", key="lost", payload={"key": "lost"}, at=START)
        raise LookupError


async def take(world: World, *, at: datetime = START, limit: int = 100) -> list[Event]:
    """Claim in a unit of work of its own, as the relay does."""
    async with unit_of_work(world.group_id) as work:
        return await claim(work, at=at, lease=LEASE, limit=limit)


def keys_of(events: list[Event]) -> list[str]:
    """Their keys, sorted."""
    return sorted(event.payload["key"] for event in events)


async def test_an_event_exists_only_if_its_transaction_committed(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    with pytest.raises(LookupError):
        await put_and_fail(ours)
    assert await take(ours) == []
    async with unit_of_work(ours.group_id) as work:
        assert await emit(work, topic="test.work", key="kept", payload={"key": "kept"}, at=START)
        assert not await emit(work, topic="test.work", key="kept", payload={}, at=START)
    assert await take(theirs) == []
    assert keys_of(await take(ours)) == ["kept"]


async def test_a_leased_event_comes_back_only_when_its_lease_has_run_out(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await put(ours, "a")
    (first,) = await take(ours)
    assert first.attempts == 1
    assert await take(ours, at=START + LEASE - timedelta(microseconds=1)) == []
    assert ours.group_id not in await groups_due(START)
    assert ours.group_id in await groups_due(START + LEASE)
    (second,) = await take(ours, at=START + LEASE)  # the first worker died
    assert (second.id, second.attempts) == (first.id, 2)


async def test_a_finished_event_never_comes_back_and_a_future_one_not_yet(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await put(ours, "a")
    await put(ours, "b", due_at=START + timedelta(hours=1))
    (event,) = await take(ours)
    async with unit_of_work(ours.group_id) as work:
        await finish(work, event_id=event.id, at=START)
        assert not await emit(work, topic="test.work", key="a", payload={}, at=START)
    assert keys_of(await take(ours, at=START + timedelta(minutes=59))) == []
    assert keys_of(await take(ours, at=START + timedelta(minutes=60))) == ["b"]


async def test_a_failed_event_waits_longer_each_time_up_to_ten_minutes(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await put(ours, "a")
    now, pauses = START, []
    for _ in range(12):
        (event,) = await take(ours, at=now)
        async with unit_of_work(ours.group_id) as work:
            await retry(work, event_id=event.id, at=now, error="x" * 900)
            row = await work.fetchrow("SELECT due_at, last_error FROM outbox_event")
        assert row is not None
        assert row["last_error"] == "x" * 500
        pauses.append((row["due_at"] - now).total_seconds())
        assert await take(ours, at=row["due_at"] - timedelta(microseconds=1)) == []
        now = row["due_at"]
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]


async def test_a_pause_asked_for_is_kept_and_a_postponed_event_is_due_again(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    await put(ours, "a")
    (event,) = await take(ours)
    async with unit_of_work(ours.group_id) as work:
        await retry(work, event_id=event.id, at=START, error="e", after=timedelta(minutes=30))
    assert await take(ours, at=START + timedelta(minutes=29)) == []
    (event,) = await take(ours, at=START + timedelta(minutes=30))
    async with unit_of_work(ours.group_id) as work:
        await finish(work, event_id=event.id, at=START)
    later = START + timedelta(hours=2)
    async with unit_of_work(ours.group_id) as work:
        await postpone(work, topic="test.work", key="a", due_at=later)
    assert keys_of(await take(ours, at=later)) == ["a"]


async def test_two_relays_at_once_never_claim_the_same_event(worlds: tuple[World, World]) -> None:
    """The second passes over the rows the first has locked and does not wait for them."""
    ours, theirs = worlds
    await put(ours, *(f"{n:03d}" for n in range(40)))
    await put(theirs, "foreign")
    claimed, go = asyncio.Event(), asyncio.Event()

    async def hold() -> list[Event]:
        async with unit_of_work(ours.group_id) as work:
            events = await claim(work, at=START, lease=LEASE, limit=25)
            claimed.set()
            await go.wait()
        return events

    holder = asyncio.create_task(hold())
    async with asyncio.timeout(10):
        await claimed.wait()
        second = await take(ours)
        go.set()
        first = await holder
    assert (len(first), len(second)) == (25, 15)
    assert keys_of(first + second) == [f"{n:03d}" for n in range(40)]
    assert await take(ours) == []


async def test_ten_relays_at_once_share_the_events_out(worlds: tuple[World, World]) -> None:
    ours, _theirs = worlds
    await put(ours, *(f"{n:03d}" for n in range(100)))
    shares = await asyncio.gather(*(take(ours, limit=10) for _ in range(10)))
    rest = await take(ours)
    claimed = [event for share in shares for event in share]
    assert len({event.id for event in claimed}) == len(claimed)
    assert keys_of(claimed + rest) == [f"{n:03d}" for n in range(100)]


async def test_the_bell_rings_at_commit_for_what_is_due_and_never_for_what_was_rolled_back(
    worlds: tuple[World, World], services: EmbeddedServices, app: Connection
) -> None:
    ours, theirs = worlds
    rung: asyncio.Queue[str] = asyncio.Queue()

    def ring(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        rung.put_nowait(str(payload))

    await app.add_listener(BELL, ring)
    with pytest.raises(LookupError):
        await put_and_fail(theirs)
    await put(theirs, "later", due_at=START + timedelta(hours=1))
    await put(ours, "now")
    async with asyncio.timeout(10):
        assert await rung.get() == str(ours.group_id)
    await app.execute("SELECT 1")
    assert rung.empty()


async def test_a_sent_message_leaves_no_phone_number_or_code_behind(
    worlds: tuple[World, World], owner: Connection
) -> None:
    ours, _theirs = worlds
    content = {"address": "13812345678", "text": "code 424242", "param_code": "424242"}
    for _ in range(2):  # the same key is one message
        async with unit_of_work(ours.group_id) as work:
            await queue_delivery(
                work,
                channel=MessageChannel.SMS,
                event="bind_code",
                key="bind-1",
                customer_id=None,
                content=content,
                at=START,
            )
    (event,) = await take(ours)
    assert event.payload["address"] == "13812345678"
    async with unit_of_work(ours.group_id) as work:
        await mark_delivery(
            work,
            delivery_id=UUID(event.payload["delivery_id"]),
            provider_id="biz-1",
            error=None,
            at=START,
        )
        await finish(work, event_id=event.id, at=START)
    kept = await owner.fetch(
        "SELECT to_jsonb(e)::text AS row FROM outbox_event e WHERE group_id = $1"
        " UNION ALL SELECT to_jsonb(d)::text FROM alerts_delivery d WHERE group_id = $1",
        ours.group_id,
    )
    text = json.dumps([row["row"] for row in kept])
    assert "13812345678" not in text
    assert "424242" not in text
    assert "SENT" in text
    await put(ours, "other")
    (other,) = await take(ours)
    async with unit_of_work(ours.group_id) as work:
        await finish(work, event_id=other.id, at=START)
        payload = await work.fetchval("SELECT payload FROM outbox_event WHERE topic = 'test.work'")
    assert payload == {"key": "other"}


async def test_each_of_many_is_due_at_its_own_time_and_the_bell_rings_for_what_is_due_now(
    worlds: tuple[World, World], app: Connection
) -> None:
    ours, theirs = worlds
    heard: list[object] = []
    await app.add_listener(BELL, lambda *rung: heard.append(rung[-1]))
    later = START + timedelta(hours=1)
    for world, now in ((ours, START), (theirs, later)):
        async with unit_of_work(world.group_id) as work:
            events = {"now": {"key": "now"}, "later": {"key": "later"}}
            due = {"later": later, "now": now}
            assert await emit_all(work, topic="test.work", events=events, at=START, due_at=due) == 2
            assert await emit_all(work, topic="test.work", events=events, at=START, due_at=due) == 0
    assert [event.payload for event in await take(ours)] == [{"key": "now"}]
    assert await take(theirs) == []
    assert len(await take(ours, at=later)) == len(await take(theirs, at=later)) == 2
    assert await app.fetchval("SELECT 1") == 1  # what was rung has come in
    assert heard.count(str(ours.group_id)) == 1
    assert str(theirs.group_id) not in heard


async def test_who_looks_for_what_is_due_does_not_go_through_what_is_under_way(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await put(world, *map(str, range(200)))
        assert len(await take(world, limit=1000)) == 200
    await put(ours, "one")
    read = (
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)"
        " FROM pg_stat_xact_user_tables WHERE relname = 'outbox_event'"
    )
    async with unit_of_work(ours.group_id, by_key=True) as work:
        before = await work.fetchval(read)
        found = await claim(work, at=START, lease=LEASE, limit=100)
        assert [event.payload for event in found] == [{"key": "one"}]
        assert await work.fetchval(read) - before < 10
    assert len(await take(theirs, at=START + LEASE, limit=1000)) == 200, "whose leases have run out"


async def test_the_oldest_due_event_is_told_over_all_groups(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    early = START - timedelta(days=400)
    for world, at in ((ours, early), (theirs, early + timedelta(days=1))):
        async with unit_of_work(world.group_id) as work:
            await emit(work, topic="test.old", key="k", payload={}, at=at)
    assert await oldest_due(START) == early
    for world in worlds:
        (event,) = [e for e in await take(world) if e.topic == "test.old"]
        async with unit_of_work(world.group_id) as work:
            await finish(work, event_id=event.id, at=START)
    assert await oldest_due(early + timedelta(days=1)) is None


async def test_what_comes_from_outside_is_kept_once_a_group(worlds: tuple[World, World]) -> None:
    async def keep(world: World) -> UUID | None:
        async with unit_of_work(world.group_id) as work:
            return await receive(work, channel="WECHAT", key="msg-1", body={"a": "1"}, at=START)

    ours, theirs = worlds
    kept = [
        inbox_id for inbox_id in await asyncio.gather(*(keep(ours) for _ in range(20))) if inbox_id
    ]
    assert len(kept) == 1
    async with unit_of_work(ours.group_id) as work:
        assert await outcome_of(work, channel="WECHAT", key="msg-1") is None
        await handled(work, inbox_id=kept[0], outcome="done", at=START)
        assert await outcome_of(work, channel="WECHAT", key="msg-1") == "done"
        assert await received(work, inbox_id=kept[0]) == {"a": "1"}
    assert await keep(theirs) is not None
    async with unit_of_work(theirs.group_id) as work:
        assert await outcome_of(work, channel="WECHAT", key="msg-1") is None


@pytest.mark.parametrize("topic", ["", "notopic", "Test.Work", "a.b.c", "a.b; drop"])
async def test_a_topic_that_no_handler_can_have_is_refused(
    worlds: tuple[World, World], topic: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        async with unit_of_work(worlds[0].group_id) as work:
            await emit(work, topic=topic, key="k", payload={}, at=START)


async def test_what_was_done_a_week_ago_is_forgotten_in_every_group_and_what_is_open_never(
    worlds: tuple[World, World],
) -> None:
    context = cast("WorkerContext", SimpleNamespace(ports=worlds[0].ports))
    now = worlds[0].clock.now()
    for world in worlds:
        await put(world, "old", "newer", "open")
        done = {event.payload["key"]: event.id for event in await take(world, at=now)}
        async with unit_of_work(world.group_id) as work:
            await finish(work, event_id=done["old"], at=now - timedelta(days=7, seconds=1))
            await finish(work, event_id=done["newer"], at=now - timedelta(days=7))
            await count_login_try(work, login="old", at=now - timedelta(days=1, seconds=1))
            await count_login_try(work, login="newer", at=now - timedelta(days=1))
    await forget_all(context)
    for world in worlds:
        async with unit_of_work(world.group_id) as work:
            events = await work.fetch("SELECT key FROM outbox_event WHERE topic = 'test.work'")
            tries = await work.fetch("SELECT login FROM tenancy_login_try")
        assert sorted(row["key"] for row in events) == ["newer", "open"]
        assert [row["login"] for row in tries] == ["newer"]
