"""Who speaks next on a bus: restore, vend, cut, settings, read (C22)."""

from __future__ import annotations

import asyncio

import pytest

from backend.kernel.money import Money
from workers.drivers.modbus import ModbusDriver
from workers.links.lane import Lane, Priority
from workers.profiles.loader import profile_of
from workers.protocols.framing import Framing

from .conftest import Field


async def _unused(request: bytes, expected: Framing, /) -> bytes:
    raise AssertionError("no exchange in these tests")


class _Crowd:
    """Tasks that want the lane, and the order in which they got it."""

    def __init__(self) -> None:
        self.lane = Lane(_unused)
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, name: str, priority: Priority) -> None:
        async def speak() -> None:
            async with self.lane.turn(priority):
                self.order.append(name)

        self.tasks[name] = asyncio.create_task(speak())
        await asyncio.sleep(0)  # let it reach the queue


async def test_the_most_urgent_goes_first_and_equals_in_order_of_arrival() -> None:
    crowd = _Crowd()
    async with crowd.lane.turn(Priority.READ):
        for name, priority in (
            ("read 1", Priority.READ),
            ("settings", Priority.SETTINGS),
            ("cut", Priority.CUT),
            ("read 2", Priority.READ),
            ("vend", Priority.VEND),
            ("restore", Priority.RESTORE),
        ):
            await crowd.join(name, priority)
        assert crowd.order == []
    await asyncio.gather(*crowd.tasks.values())
    assert crowd.order == ["restore", "vend", "cut", "settings", "read 1", "read 2"]


async def test_a_cancelled_waiter_leaves_the_queue_without_blocking_it() -> None:
    crowd = _Crowd()
    async with crowd.lane.turn(Priority.READ):
        await crowd.join("vend", Priority.VEND)
        await crowd.join("read", Priority.READ)
        crowd.tasks["vend"].cancel()
    await crowd.tasks["read"]
    assert crowd.order == ["read"]


async def test_a_waiter_cancelled_as_it_is_handed_the_bus_passes_it_on() -> None:
    crowd = _Crowd()
    async with crowd.lane.turn(Priority.READ):
        await crowd.join("vend", Priority.VEND)
        await crowd.join("read", Priority.READ)
    crowd.tasks["vend"].cancel()  # the bus is already its own, but it has not run yet
    await asyncio.wait_for(crowd.tasks["read"], 5)
    assert crowd.order == ["read"]


async def test_a_holder_that_fails_frees_the_bus() -> None:
    crowd = _Crowd()

    async def fail() -> None:
        async with crowd.lane.turn(Priority.VEND):
            await crowd.join("read", Priority.READ)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        await fail()
    await asyncio.wait_for(crowd.tasks["read"], 5)
    assert crowd.order == ["read"]


async def test_a_vend_holds_the_bus_for_its_series_and_goes_before_waiting_reads(
    field: Field,
) -> None:
    lane = Lane(field.link.exchange)
    done: list[str] = []

    async def read(name: str) -> None:
        async with lane.turn(Priority.READ) as exchange:
            await ModbusDriver(profile_of("DDSY1352-NK"), 2, exchange).read()
            done.append(name)

    async def vend() -> None:
        async with lane.turn(Priority.VEND) as exchange:
            driver = ModbusDriver(profile_of("DDSY1352-NK"), 1, exchange)
            before = await driver.wallet()
            await driver.credit(
                amount=Money.parse("50.00"), purchase_count=before.purchase_count + 1
            )
            done.append(f"count {(await driver.wallet()).purchase_count}")

    async with lane.turn(Priority.READ):
        tasks = [asyncio.create_task(read(f"read {n}")) for n in (1, 2)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(vend()))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert done == ["count 5", "read 1", "read 2"]
