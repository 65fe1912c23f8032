"""The short commits around a meter: announced, verified, stopped, not reached, resolved (C8-C10)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from backend.alerts.queries import Case, cases_page
from backend.control.models import Vend
from backend.control.queries import vends_of_topups
from backend.control.rules import VendState, Wallet
from backend.journeys import vend as journey
from backend.journeys.cases import CaseAction, resolve
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.money import ZERO, Money
from backend.ledger.queries import owed
from backend.ledger.rules import AccountKind
from backend.metering.queries import meter_by_id
from backend.outbox.operations import Event, claim, finish
from backend.tenancy.rules import Permission

from .test_ledger import expect_kept_is_derived
from .world import (
    START,
    World,
    admin_scope,
    bind_customer,
    make_credential,
    make_order,
    pay,
)

FIFTY = Money.parse("50")
TWENTY = Money.parse("20")
LEASE = timedelta(seconds=30)


async def sold(world: World, *, fen: int = 5000) -> UUID:
    """A paid order with its vend queued; returns the order's id."""
    order = await make_order(world, credential_id=await make_credential(world), amount_fen=fen)
    assert (await pay(world, order)).paid
    return order.id


async def vend_for(world: World, order_id: UUID) -> Vend:
    """The vend of an order as it is now."""
    async with unit_of_work(world.group_id) as work:
        return (await vends_of_topups(work, topup_ids=[order_id]))[order_id]


async def next_vend_of(world: World) -> Vend | None:
    """What the worker would serve next."""
    work = await journey.next_work(group_id=world.group_id, meter_id=world.meter.id)
    return None if work is None else work.vend


async def announce(world: World, vend: Vend) -> None:
    """A write leaves for the meter, which waits for the vend's number with 20 yuan."""
    before = Wallet(vend.purchase_no - 1, TWENTY)
    await journey.about_to_write(group_id=world.group_id, vend=vend, before=before, at=START)


async def verify(world: World, vend: Vend) -> None:
    """The meter's read-back agrees."""
    await journey.verified(
        group_id=world.group_id,
        vend=vend,
        after=Wallet(vend.purchase_no, TWENTY + vend.amount),
        relay_closed=True,
        at=START + timedelta(seconds=4),
    )


async def stop(world: World, vend: Vend) -> None:
    """The meter says something that does not fit."""
    await journey.stopped(
        group_id=world.group_id, vend=vend, meter=Wallet(9, ZERO), reason="count is 9", at=START
    )


async def held(world: World) -> tuple[Money, Money]:
    """(in transit to the meter, held by the meter) in the book."""
    ref = world.meter.id
    async with unit_of_work(world.group_id) as work:
        transit = await owed(work, kind=AccountKind.IN_TRANSIT, refs=[ref])
        wallet = await owed(work, kind=AccountKind.METER_WALLET, refs=[ref])
    return transit[ref], wallet[ref]


async def open_cases(world: World) -> list[Case]:
    """The open cases of the world's project."""
    async with unit_of_work(world.group_id) as work:
        return await cases_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            only_open=True,
            before=None,
            limit=10,
        )


async def claimed(world: World, topic: str) -> list[Event]:
    """Due events of a topic, leased now."""
    async with unit_of_work(world.group_id) as work:
        events = await claim(work, at=START + timedelta(hours=2), lease=LEASE, limit=100)
    return [event for event in events if event.topic == topic]


async def test_a_write_is_announced_before_it_leaves(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    order_id = await sold(ours)
    vend = await vend_for(ours, order_id)
    await announce(ours, vend)
    sent = await vend_for(ours, order_id)
    assert (sent.state, sent.attempts, sent.sent_at) == (VendState.SENT, 1, START)
    assert sent.before == Wallet(0, TWENTY)
    assert await held(ours) == (FIFTY, ZERO)
    assert await next_vend_of(ours) == sent
    assert await next_vend_of(theirs) is None
    assert await journey.next_work(group_id=theirs.group_id, meter_id=ours.meter.id) is None


async def test_a_verified_vend_is_booked_once_and_told_once(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    await bind_customer(ours)
    await bind_customer(theirs)
    order_id = await sold(ours)
    vend = await vend_for(ours, order_id)
    await announce(ours, vend)
    await asyncio.gather(*(verify(ours, vend) for _ in range(8)))
    done = await vend_for(ours, order_id)
    assert (done.state, done.relay_closed_after) == (VendState.VERIFIED, True)
    assert done.after == Wallet(1, Money.parse("70"))
    later = START + timedelta(minutes=5)
    await journey.verified(
        group_id=ours.group_id, vend=vend, after=Wallet(1, FIFTY), relay_closed=None, at=later
    )
    assert await vend_for(ours, order_id) == done  # what the first read-back said stays
    assert await held(ours) == (ZERO, FIFTY)
    assert await next_vend_of(ours) is None
    (told,) = await claimed(ours, "message.send")
    assert told.payload["event"] == "topup_credited"
    assert "50.00" in told.payload["text"]
    assert "70.00" in told.payload["text"]
    assert await claimed(theirs, "message.send") == []
    await expect_kept_is_derived(ours)


async def test_only_the_meters_own_answer_moves_money_to_the_meter(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    vend = await vend_for(ours, await sold(ours))
    await announce(ours, vend)
    await journey.not_reached(
        group_id=ours.group_id, vend=vend, error="no answer", at=START + timedelta(minutes=29)
    )
    assert await held(ours) == (FIFTY, ZERO)
    assert await open_cases(ours) == []


async def test_a_vend_that_waits_half_an_hour_becomes_one_case_and_still_goes_on(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    order_id = await sold(ours)
    vend = await vend_for(ours, order_id)
    for minutes in (30, 31, 90):
        at = START + timedelta(minutes=minutes)
        await journey.not_reached(group_id=ours.group_id, vend=vend, error="no answer", at=at)
    (case,) = await open_cases(ours)
    assert (case.kind, case.subject) == ("VEND_DELAYED", str(vend.id))
    assert await open_cases(theirs) == []
    waiting = await vend_for(ours, order_id)
    assert (waiting.state, waiting.last_error) == (VendState.QUEUED, "no answer")
    assert await next_vend_of(ours) == waiting
    assert await held(ours) == (FIFTY, ZERO)


async def test_a_stopped_vend_stops_the_meter_and_blocks_every_later_number(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    first, second = await sold(ours), await sold(ours, fen=3000)
    for world in worlds:
        if world is theirs:
            await sold(theirs)
    vend = await vend_for(ours, first)
    await announce(ours, vend)
    for _ in range(2):
        await stop(ours, vend)
    assert (await vend_for(ours, first)).state is VendState.STOPPED
    assert (await vend_for(ours, second)).state is VendState.QUEUED
    assert await next_vend_of(ours) is None
    assert await next_vend_of(theirs) is not None
    async with unit_of_work(ours.group_id) as work:
        meter = await meter_by_id(work, meter_id=ours.meter.id)
    assert meter.selling_stopped_at == START
    (case,) = await open_cases(ours)
    assert case.kind == "VEND_STOPPED"
    assert case.detail["meterPurchaseNo"] == "9"
    assert await held(ours) == (Money.parse("80"), ZERO)


@pytest.mark.parametrize("ending", [stop, verify])
async def test_nothing_is_written_for_a_vend_that_was_finished_or_stopped_meanwhile(
    worlds: tuple[World, World], ending: object
) -> None:
    ours, _theirs = worlds
    order_id = await sold(ours)
    vend = await vend_for(ours, order_id)
    await announce(ours, vend)
    await (stop(ours, vend) if ending is stop else verify(ours, vend))
    before = await vend_for(ours, order_id)
    with pytest.raises(Conflict):
        await announce(ours, vend)
    assert await vend_for(ours, order_id) == before


async def test_a_second_vend_of_a_meter_cannot_be_in_flight(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    first, second = await sold(ours), await sold(ours)
    await announce(ours, await vend_for(ours, first))
    with pytest.raises(asyncpg.UniqueViolationError, match="control_vend_in_flight"):
        await announce(ours, await vend_for(ours, second))
    assert (await vend_for(ours, second)).state is VendState.QUEUED
    await announce(theirs, await vend_for(theirs, await sold(theirs)))  # another meter may


async def test_retry_lets_the_stopped_meter_be_sold_to_again_from_a_fresh_reading(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    first, second = await sold(ours), await sold(ours)
    vend = await vend_for(ours, first)
    await announce(ours, vend)
    await stop(ours, vend)
    for event in await claimed(ours, "vend.due"):
        async with unit_of_work(ours.group_id) as work:
            await finish(work, event_id=event.id, at=START)
    (case,) = await open_cases(ours)
    at = START + timedelta(hours=1)
    closed = await resolve(
        scope=ours.scope, case_id=case.id, action=CaseAction.RETRY, note="count put right", at=at
    )
    assert (closed.resolved_at, closed.resolved_by) == (at, ours.scope.actor.name)
    again = await next_vend_of(ours)
    assert again is not None
    # Sent before: it comes back as sent, so that the worker reads before it writes (C9).
    assert (again.id, again.state) == (vend.id, VendState.SENT)
    async with unit_of_work(ours.group_id) as work:
        assert (await meter_by_id(work, meter_id=ours.meter.id)).selling_stopped_at is None
    assert [e.payload["vend_id"] for e in await claimed(ours, "vend.due")] == [str(vend.id)]
    await verify(ours, again)
    assert (await next_vend_of(ours)) == await vend_for(ours, second)


async def test_a_note_alone_closes_the_case_and_leaves_the_meter_stopped(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    vend = await vend_for(ours, await sold(ours))
    await stop(ours, vend)
    (case,) = await open_cases(ours)
    await resolve(
        scope=ours.scope, case_id=case.id, action=CaseAction.NOTE, note="will visit", at=START
    )
    assert await open_cases(ours) == []
    assert await next_vend_of(ours) is None
    with pytest.raises(Conflict, match="resolved before"):
        await resolve(
            scope=ours.scope, case_id=case.id, action=CaseAction.RETRY, note="again", at=START
        )
    assert await next_vend_of(ours) is None


async def test_a_case_is_resolved_only_by_who_may_with_a_note_and_only_in_its_group(
    worlds: tuple[World, World],
) -> None:
    ours, theirs = worlds
    await stop(ours, await vend_for(ours, await sold(ours)))
    (case,) = await open_cases(ours)
    reader = admin_scope(ours.group_id, permissions=frozenset({str(Permission.CASE_READ)}))
    blind = admin_scope(ours.group_id, permissions=frozenset())
    for scope, note, error in (
        (theirs.scope, "well done", NotFound),
        (blind, "well done", NotFound),
        (reader, "well done", Forbidden),
        (ours.scope, "  ok ", InvalidInput),
    ):
        with pytest.raises(error):
            await resolve(
                scope=scope, case_id=case.id, action=CaseAction.RETRY, note=note, at=START
            )
    assert await open_cases(ours) == [case]


async def test_a_vend_that_is_only_late_is_not_retried_by_a_person(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    vend = await vend_for(ours, await sold(ours))
    late = START + timedelta(hours=1)
    await journey.not_reached(group_id=ours.group_id, vend=vend, error="no answer", at=late)
    (case,) = await open_cases(ours)
    with pytest.raises(InvalidInput, match=r"RETRY is a way out of .*VEND_STOPPED"):
        await resolve(
            scope=ours.scope, case_id=case.id, action=CaseAction.RETRY, note="once more", at=late
        )
    assert await open_cases(ours) == [case]


async def test_a_vend_stopped_by_one_worker_is_still_verified_when_the_meter_says_so(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    order_id = await sold(ours)
    vend = await vend_for(ours, order_id)
    await announce(ours, vend)
    await stop(ours, vend)
    await verify(ours, vend)
    assert (await vend_for(ours, order_id)).state is VendState.VERIFIED
    assert await held(ours) == (ZERO, FIFTY)


async def test_a_verified_vend_is_not_stopped_by_a_worker_that_comes_late(
    worlds: tuple[World, World],
) -> None:
    ours, _theirs = worlds
    order_id = await sold(ours)
    vend = await vend_for(ours, order_id)
    await announce(ours, vend)
    await verify(ours, vend)
    await stop(ours, vend)
    assert (await vend_for(ours, order_id)).state is VendState.VERIFIED
    assert await open_cases(ours) == []
    async with unit_of_work(ours.group_id) as work:
        assert (await meter_by_id(work, meter_id=ours.meter.id)).selling_stopped_at is None
