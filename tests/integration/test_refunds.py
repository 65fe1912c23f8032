"""Money goes back only as far as its lot and purse reach, once, agreed to, the way it came (C4, C30)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from backend.alerts.queries import cases_page
from backend.audit.queries import entries
from backend.journeys.charge_figures import figures as figures_of
from backend.journeys.refund import approve_refund, refundable, refuse_refund
from backend.journeys.refund_sending import pursue, tend_refunds
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from backend.kernel.money import Money
from backend.ledger.operations import spend
from backend.ledger.queries import owed
from backend.ledger.rules import AccountKind
from backend.outbox.operations import claim
from backend.topups.ports import ChannelRefused, ChannelUnavailable
from backend.topups.ports import RefundState as Word
from backend.topups.queries import Order
from backend.topups.refund_rules import RefundState
from backend.topups.refunds import Refund, refund
from workers.models import meter_models

from .charged import make_home
from .refunding import (
    allow_alone,
    ask,
    channel_says,
    cloud_order,
    figures,
    move,
    second,
    yuan,
)
from .test_ledger import expect_kept_is_derived
from .world import World, make_account, make_credential, make_order, pay

_UNREACHED = ChannelUnavailable("no answer")


async def now(world: World, asked: Refund) -> Refund:
    """The refund as the database has it."""
    async with unit_of_work(world.group_id) as work:
        return await refund(work, scope=world.scope, refund_id=asked.id)


async def cases(world: World) -> list[str]:
    """The kinds of the open cases."""
    async with unit_of_work(world.group_id) as work:
        rows = await cases_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            only_open=True,
            before=None,
            limit=50,
        )
    return [row.kind for row in rows]


async def use(world: World, amount: str) -> None:
    """The purse's money is used for power."""
    async with unit_of_work(world.group_id) as work:
        await spend(
            work,
            project_id=world.project.id,
            account_id=world.account.id,
            business_key=f"use-{amount}",
            amount=Money.parse(amount),
            at=world.clock.now(),
        )


async def test_half_of_a_top_up_leaves_the_purse_first_and_the_channel_when_the_channel_says_so(
    worlds: tuple[World, World],
) -> None:
    world, other = worlds
    order = await cloud_order(world)
    assert await figures(world, order) == yuan("50", "50", "0", "50")
    asked = await ask(world, order, "25")
    assert (asked.state, asked.four_eyes) == (RefundState.APPROVED, False)
    assert await figures(world, order) == yuan("50", "25", "25", "25")
    async with unit_of_work(world.group_id) as work:
        events = await claim(work, at=world.clock.now(), lease=timedelta(seconds=30), limit=50)
    due = [event.payload for event in events if event.topic == "refund.due"]
    assert due == [{"refund_id": str(asked.id)}]
    ports, channel = channel_says(world, Word.ACCEPTED, Word.ACCEPTED, Word.DONE)
    for _ in range(2):  # accepted is not done: ask again
        again = await pursue(ports, group_id=world.group_id, refund_id=asked.id)
        assert again is not None
        assert again > world.clock.now()
        assert await figures(world, order) == yuan("50", "25", "25", "25")
    for _ in range(3):  # done is done, however often somebody asks
        assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is None
        assert await figures(world, order) == yuan("25", "25", "0", "25")
    assert (await now(world, asked)).state is RefundState.DONE
    assert [request.refund_no for request in channel.asked] == [asked.refund_no] * 3
    assert {(r.amount_fen, r.total_fen) for r in channel.asked} == {(2500, 5000)}
    await expect_kept_is_derived(world)
    async with unit_of_work(other.group_id) as work:
        assert await work.fetchval("SELECT count(*) FROM topups_refund") == 0


async def test_several_refunds_never_give_back_more_than_remains_of_the_lot(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world)
    await ask(world, order, "20")
    await use(world, "12.3456")
    with pytest.raises(Conflict, match=r"at most 17\.65 yuan"):
        await ask(world, order, "17.66")
    await ask(world, order, "17.65")
    assert await figures(world, order) == yuan("50", "0.0044", "37.65", "0.0044")
    with pytest.raises(Conflict, match=r"at most 0\.00"):
        await ask(world, order, "0.01")
    for wrong in ("0", "-1", "0.001"):
        with pytest.raises(InvalidInput):
            await ask(world, order, wrong)
    await expect_kept_is_derived(world)


async def test_money_that_a_meter_holds_cannot_go_back_and_the_clerk_is_told_what_to_do(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await make_order(world, credential_id=await make_credential(world))
    assert (await pay(world, order)).paid
    with pytest.raises(Conflict) as refused:
        await ask(world, order, "10")
    assert "at most 0.00 yuan" in refused.value.message
    assert "50.00 yuan are at the meter" in refused.value.message
    assert meter_models()["DDSY1352-NK"].taken_back in refused.value.message
    assert "Taking the meter down" in refused.value.message
    unpaid = await make_order(world, credential_id=await make_credential(world))
    with pytest.raises(Conflict, match="nothing was paid"):
        await ask(world, unpaid, "10")


async def test_above_the_limit_a_second_operator_must_agree_and_the_first_one_cannot(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world, fen=30_000)
    asked = await ask(world, order, "100.01")
    assert (asked.state, asked.four_eyes) == (RefundState.REQUESTED, True)
    assert await figures(world, order) == yuan("300", "300", "0", "300")
    at = world.clock.now()
    with pytest.raises(Forbidden, match="cannot approve"):
        await approve_refund(scope=world.scope, refund_id=asked.id, at=at)
    ports, channel = channel_says(world, Word.DONE)
    assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is None
    assert channel.asked == []
    approved = await approve_refund(scope=second(world), refund_id=asked.id, at=at)
    assert (approved.state, approved.approver) == (RefundState.APPROVED, "wang")
    assert await figures(world, order) == yuan("300", "199.99", "100.01", "199.99")
    for decide in (approve_refund, refuse_refund):
        note = {"note": "too late"} if decide is refuse_refund else {}
        with pytest.raises(Conflict, match="decided before"):
            await decide(scope=second(world), refund_id=asked.id, at=at, **note)
    async with unit_of_work(world.group_id) as work:
        newest = await entries(work, before_seq=None, limit=2)
    assert [(e.action, e.actor.name) for e in newest] == [
        ("refund:self:approve", "wang"),
        ("refund:self:request", "ling"),
    ]


async def test_many_small_refunds_are_no_way_around_the_limit(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    order = await cloud_order(world, fen=30_000)
    states = [(await ask(world, order, "40")).state for _ in range(3)]
    assert states == [RefundState.APPROVED, RefundState.APPROVED, RefundState.REQUESTED]
    # What waits is not asked for twice: 300 - 80 in the purse, 40 of it waiting.
    with pytest.raises(Conflict, match=r"at most 180\.00"):
        await ask(world, order, "180.01")


_RAW = (
    "INSERT INTO topups_refund (group_id, id, refund_no, project_id, order_id, account_id, lot_source,"
    " order_no, total_fen, channel, credential_id, amount_fen, reason, idempotency_key, four_eyes,"
    " state, requested_by, requester, requested_at, approved_by, approver, approved_at)"
    " SELECT group_id, gen_random_uuid(), 'RAW' || substr(md5(random()::text), 1, 20), project_id,"
    " order_id, account_id, lot_source, order_no, total_fen, channel, credential_id, $2, reason,"
    " md5(random()::text), $3, $4, 'op-1', 'ling', now(), $5, $5, CASE WHEN $5::text IS NULL THEN NULL"
    " ELSE now() END FROM topups_refund WHERE id = $1"
)


async def test_the_database_itself_refuses_what_no_second_operator_agreed_to(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world, fen=30_000)
    asked = await ask(world, order, "150")
    tries = [
        (_RAW, (asked.id, 100, False, "APPROVED", "op-1")),  # above the limit, taken together
        (_RAW, (asked.id, 100, True, "APPROVED", "op-2")),  # agreed to before it was asked for
        (_RAW, (asked.id, 30_001, True, "REQUESTED", None)),  # more than was paid
        (
            "UPDATE topups_refund SET state = 'APPROVED', approved_by = 'op-1', approved_at = now()",
            (),
        ),
        ("UPDATE topups_refund SET amount_fen = 20000", ()),
        ("UPDATE topups_refund SET four_eyes = false", ()),
        ("UPDATE topups_refund SET state = 'DONE', finished_at = now()", ()),
    ]
    for sql, args in tries:
        with pytest.raises(asyncpg.CheckViolationError):
            async with unit_of_work(world.group_id) as work:
                await work.execute(sql, *args)
    await refuse_refund(
        scope=second(world), refund_id=asked.id, note="not his shop", at=world.clock.now()
    )
    with pytest.raises(asyncpg.CheckViolationError):
        async with unit_of_work(world.group_id) as work:
            await work.execute("UPDATE topups_refund SET state = 'REQUESTED', finished_at = NULL")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with unit_of_work(world.group_id) as work:
            await work.execute("DELETE FROM topups_refund")
    assert (await now(world, asked)).state is RefundState.REFUSED
    assert await figures(world, order) == yuan("300", "300", "0", "300")


async def test_what_was_used_before_the_second_one_agrees_does_not_go_back(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world, fen=20_000)
    asked = await ask(world, order, "150")
    await use(world, "60")
    with pytest.raises(Conflict, match="used"):
        await approve_refund(scope=second(world), refund_id=asked.id, at=world.clock.now())
    assert (await now(world, asked)).state is RefundState.REQUESTED
    assert await figures(world, order) == yuan("200", "140", "0", "140")


async def test_a_failed_refund_is_in_the_purse_again_and_is_a_case(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world)
    asked = await ask(world, order, "50")
    ports, _ = channel_says(world, Word.ACCEPTED, Word.FAILED)
    assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is not None
    for _ in range(2):
        assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is None
    assert (await now(world, asked)).state is RefundState.FAILED
    assert await figures(world, order) == yuan("50", "50", "0", "50")
    assert await cases(world) == ["REFUND_FAILED"]
    again = await ask(world, order, "50")  # it may be tried again, under a number of its own
    assert again.refund_no != asked.refund_no
    await expect_kept_is_derived(world)


async def test_a_refusal_gives_money_back_only_when_nothing_can_have_moved(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    refusal = ChannelRefused("INVALID_REQUEST", code_at_channel="INVALID_REQUEST")
    order = await cloud_order(world)
    never = await ask(world, order, "1")
    ports, _ = channel_says(world, InvalidInput("a number has 6 to 32 letters and digits"))
    assert await pursue(ports, group_id=world.group_id, refund_id=never.id) is None
    assert (await now(world, never)).state is RefundState.FAILED
    first, second_ = await ask(world, order, "10"), await ask(world, order, "10")
    ports, _ = channel_says(world, refusal)
    assert await pursue(ports, group_id=world.group_id, refund_id=first.id) is None
    assert (await now(world, first)).state is RefundState.FAILED
    assert await figures(world, order) == yuan("50", "40", "10", "40")
    # The answer of the first call is lost: the money may have left, so the refusal proves nothing.
    ports, _ = channel_says(world, _UNREACHED, refusal)
    with pytest.raises(Unavailable):
        await pursue(ports, group_id=world.group_id, refund_id=second_.id)
    assert await pursue(ports, group_id=world.group_id, refund_id=second_.id) is not None
    assert (await now(world, second_)).state is RefundState.SENT
    assert await figures(world, order) == yuan("50", "40", "10", "40")
    assert sorted(await cases(world)) == ["REFUND_FAILED", "REFUND_FAILED", "REFUND_STUCK"]


async def test_a_channel_that_is_silent_or_slow_is_a_case_until_it_says_done(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world)
    asked = await ask(world, order, "50")
    words = (_UNREACHED, _UNREACHED, Word.ACCEPTED, Word.ACCEPTED, Word.DONE)
    ports, channel = channel_says(world, *words)
    for minutes, open_cases in ((0, []), (31, ["REFUND_STUCK"])):
        world.clock.advance(timedelta(minutes=minutes))
        with pytest.raises(Unavailable):
            await pursue(ports, group_id=world.group_id, refund_id=asked.id)
        assert await cases(world) == open_cases
    world.clock.advance(timedelta(days=3))
    assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is not None
    assert await cases(world) == ["REFUND_STUCK"]
    assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is not None
    assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is None
    assert await cases(world) == []
    assert len({request.refund_no for request in channel.asked}) == 1


async def test_a_merchant_account_that_is_short_of_money_is_asked_again_not_failed(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world)
    asked = await ask(world, order, "50")
    short = ChannelRefused("NOT_ENOUGH 余额不足", code_at_channel="NOT_ENOUGH")
    ports, _ = channel_says(world, short, Word.DONE)
    assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is not None
    assert await cases(world) == ["REFUND_STUCK"]
    assert await pursue(ports, group_id=world.group_id, refund_id=asked.id) is None
    assert await figures(world, order) == yuan("0", "0", "0", "0")
    assert await cases(world) == []


async def test_two_workers_at_once_book_the_end_of_a_refund_once(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    for word in (Word.DONE, Word.FAILED):
        order = await cloud_order(world)
        before = (await figures(world, order)).purse
        asked = await ask(world, order, "50")
        ports, _ = channel_says(world, word)
        args = {"group_id": world.group_id, "refund_id": asked.id}
        await asyncio.gather(*(pursue(ports, **args) for _ in range(8)))  # type: ignore[arg-type] # names are its own arguments
        left = 50 if word is Word.FAILED else 0
        found = await figures(world, order)
        assert (found.lot, found.due) == (Money.parse(str(left)), Money(0))
        assert found.purse == (before if left else before - Money.parse("50"))
        async with unit_of_work(world.group_id) as work:
            newest = await entries(work, before_seq=None, limit=50)
        ends = [e for e in newest if (e.action, e.subject) == ("refund:self:end", str(asked.id))]
        assert len(ends) == 1
    await expect_kept_is_derived(world)


async def test_a_refund_whose_event_is_gone_is_asked_for_again(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    asked = await ask(world, await cloud_order(world), "50")
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE outbox_event SET done_at = now() WHERE topic = 'refund.due' AND key = $1",
            str(asked.id),
        )
        await tend_refunds(work, at=world.clock.now())
        waiting = await work.fetchval(
            "SELECT count(*) FROM outbox_event WHERE topic = 'refund.due' AND done_at IS NULL"
        )
    assert waiting == 1


async def test_the_same_key_asks_once_and_another_refund_by_it_is_refused(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    order = await cloud_order(world)
    first = await ask(world, order, "10", key="refund-key-1")
    found = await asyncio.gather(*(ask(world, order, "10", key="refund-key-1") for _ in range(20)))
    assert {one.id for one in found} == {first.id}
    assert await figures(world, order) == yuan("50", "40", "10", "40")
    with pytest.raises(Conflict, match="different refund"):
        await ask(world, order, "11", key="refund-key-1")


async def test_another_group_sees_asks_and_decides_nothing(worlds: tuple[World, World]) -> None:
    world, other = worlds
    order = await cloud_order(world, fen=30_000)
    asked = await ask(world, order, "150")
    at = world.clock.now()
    with pytest.raises(NotFound):
        await ask(world, order, "1", scope=other.scope)
    with pytest.raises(NotFound):
        await approve_refund(scope=other.scope, refund_id=asked.id, at=at)
    with pytest.raises(NotFound):
        await refuse_refund(scope=other.scope, refund_id=asked.id, note="not ours", at=at)
    assert (await now(world, asked)).state is RefundState.REQUESTED


async def _quietly(action: object) -> bool:
    """Whether it was done; False when the rules refused it."""
    try:
        await action  # type: ignore[misc] # an awaitable, passed on
    except Conflict:
        return False
    return True


async def test_a_hundred_refunds_and_a_hundred_moves_at_once_never_overspend(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    await allow_alone(world, fen=10**6)
    right = await make_account(world, no="100002")
    orders = [await cloud_order(world, fen=1000) for _ in range(10)]
    paid = 10_000

    def refund_of(order: Order) -> object:
        return ask(world, order, "1.10")

    def move_of(order: Order) -> object:
        to = right.id if order.id.int % 2 else world.account.id
        return move(world, order, to)

    tasks = [
        _quietly(make(order))
        for _ in range(10)
        for order in orders
        for make in (refund_of, move_of)
    ]
    done = await asyncio.gather(*tasks)
    refunded = sum(done[0::2])
    assert refunded == 90, "nine of 1.10 fit into each ten yuan, whoever holds them"
    async with unit_of_work(world.group_id) as work:
        refs = [world.account.id, right.id]
        purses = await owed(work, kind=AccountKind.PURSE, refs=refs)
        due = await owed(work, kind=AccountKind.REFUND_DUE, refs=refs)
        lots = await work.fetchval("SELECT sum(amount_hao - used_hao)::bigint FROM ledger_lot")
    in_purses = sum(money.fen for money in purses.values())
    assert sum(money.fen for money in due.values()) == refunded * 110
    assert in_purses == paid - refunded * 110
    assert lots == in_purses * 100
    await expect_kept_is_derived(world)


async def test_use_that_is_read_and_not_charged_yet_does_not_go_back(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    home = await make_home(world)
    order = await make_order(
        world,
        credential_id=await make_credential(world),
        account=home.account,
        assignment=home.assignment,
    )
    assert (await pay(world, order)).paid
    await home.read(home.reading(0, 0))
    await home.read(home.reading(1, 10_000))
    await home.read(home.reading(2, 30_000), charge=False)
    async with unit_of_work(world.group_id) as work:
        found = (await figures_of(work, account_ids=[home.account.id]))[home.account.id]
        most = (await refundable(work, scope=world.scope, order_id=order.id)).fen
    assert found.uncharged > Money(0)
    assert most * 100 <= found.available.hao < (most + 1) * 100
    with pytest.raises(Conflict, match="at most"):
        await ask(world, order, str(Money.of_fen(most + 1)))
    await ask(world, order, str(Money.of_fen(most)))
