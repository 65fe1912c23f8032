"""When buses are swept, and how: a sweep holds its bus for many meters, and lets go of it after one as soon
as somebody waits (C22)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from uuid import UUID

import pytest

from backend.kernel.db import unit_of_work
from backend.metering.operations import add_gateway
from backend.metering.queries import gateway_by_id, latest_of_meters
from backend.sandbox.embedded.services import EmbeddedServices
from workers.bus_lease import BusLease
from workers.links.lane import Priority
from workers.sweep import plan_sweeps, sweep_due

from .commanded import ELECTRIC, VALVE, Post, until
from .world import START, make_meter


async def _sweep(post: Post) -> None:
    payload = {"gateway_id": str(post.world.gateway.id)}
    await sweep_due(post.context, post.world.group_id, payload)


def _listen(post: Post, heard: list[str], on_first: Callable[[], Awaitable[None]]) -> None:
    """Note which meter is asked; before the first one answers do `on_first`."""
    for unit in (1, 2):
        meter = post.meter(unit)
        answer = meter.answer

        async def hear(
            request: bytes,
            /,
            unit: int = unit,
            answer: Callable[[bytes], Awaitable[bytes | None]] = answer,
        ) -> bytes | None:
            heard.append(f"meter {unit}")
            if len(heard) == 1:
                await on_first()
            return await answer(request)

        meter.answer = hear  # type: ignore[method-assign] # an ear at the meter, not another meter


async def _interrupted(
    post: Post,
    take: Callable[[], AbstractAsyncContextManager[object]],
    name: str,
    queued: Callable[[], Awaitable[None]],
) -> list[str]:
    """The order of a sweep of two meters and of somebody who comes while the first is asked."""
    await make_meter(post.world, serial="METER-2", bus_address=2, account=post.world.account)
    heard: list[str] = []
    others: list[asyncio.Task[None]] = []

    async def speak() -> None:
        async with take():
            heard.append(name)

    async def come() -> None:
        others.append(asyncio.create_task(speak()))
        await queued()

    _listen(post, heard, come)
    await _sweep(post)
    await asyncio.gather(*others)
    return heard


async def test_a_sale_that_comes_during_a_sweep_waits_for_one_meter(post: Post) -> None:
    bus = await post.context.buses.bus(post.world.gateway)

    async def queued() -> None:
        await asyncio.sleep(0)

    order = await _interrupted(post, lambda: bus.turn(Priority.VEND), "sale", queued)
    assert order == ["meter 1", "sale", "meter 2"]


async def test_another_process_that_wants_the_bus_waits_for_one_meter(
    post: Post, services: EmbeddedServices
) -> None:
    ours, theirs = post.context.buses._lease, BusLease(services.app_dsn())

    async def wanted() -> bool:
        return bool(ours.wanted)

    hold = theirs.hold(post.world.gateway.id)
    try:
        order = await _interrupted(post, lambda: hold, "they", lambda: until(wanted))
    finally:
        await theirs.close()
    assert order == ["meter 1", "they", "meter 2"]


async def test_one_sweep_reads_meters_of_three_protocols_past_one_that_is_silent(
    post: Post,
) -> None:
    silent, _ = await make_meter(
        post.world, serial="METER-2", bus_address=2, account=post.world.account
    )
    valve = await post.add_meter(model="JICHENG-188-VALVE", bus_address=VALVE)
    electric = await post.add_meter(model="GENERIC-645-2007", bus_address=ELECTRIC)
    post.meter(2).faults.silent = True
    await _sweep(post)
    meters = [post.world.meter, silent, valve, electric]
    async with unit_of_work(post.world.group_id) as work:
        latest = await latest_of_meters(work, meter_ids=[meter.id for meter in meters])
        gateway = await gateway_by_id(work, gateway_id=post.world.gateway.id)
    assert set(latest) == {post.world.meter.id, valve.id, electric.id}
    assert gateway.silent_since is None


async def test_each_gateway_is_swept_once_a_period_in_its_first_quarter(
    both: tuple[Post, Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = both

    async def these() -> list[int]:  # the groups of other tests are left alone
        return [ours.world.group_id, theirs.world.group_id]

    monkeypatch.setattr("workers.sweep.all_groups", these)
    monkeypatch.setattr("workers.sweep._AT_ONCE", 1)  # gateways of one statement
    async with unit_of_work(ours.world.group_id) as work:
        other = await add_gateway(
            work,
            scope=ours.world.scope,
            project_id=ours.world.project.id,
            serial="GW-OTHER",
            name="Other",
            address="127.0.0.1:1",
            at=START,
        )
    quarter, period = timedelta(minutes=7, seconds=30), timedelta(minutes=30)
    for number in (1, 2):
        start = START + (number - 1) * period
        for late in (timedelta(), timedelta(seconds=30), period - timedelta(seconds=1)):
            ours.clock.instant = start + late
            await plan_sweeps(ours.context)
        for post, gateways in (
            (ours, {ours.world.gateway.id, other.id}),
            (theirs, {theirs.world.gateway.id}),
        ):
            async with unit_of_work(post.world.group_id) as work:
                rows = await work.fetch(
                    "SELECT payload ->> 'gateway_id' AS gateway, due_at FROM outbox_event"
                    " WHERE topic = 'sweep.due' AND due_at >= $1",
                    start,
                )
            assert sorted(UUID(row["gateway"]) for row in rows) == sorted(gateways)
            assert all(start <= row["due_at"] < start + quarter for row in rows)
