"""A journey that waits for the channel with the order's row locked."""

import asyncio

import httpx

from backend.kernel.db import UnitOfWork, unit_of_work


async def start(ports: object, notifiers: dict[str, object], group_id: int) -> None:
    """Nine ways to hold a lock while the world thinks."""
    async with unit_of_work(group_id) as work:
        await work.execute("INSERT INTO topup VALUES ($1)", 1)
        await ports.channel.prepay(1)  # BAD
        await ports.channel_for("wechat").query("1")  # BAD
        await notifiers["sms"].send("paid")  # BAD
        await ports._lane.exchange(b"")  # BAD
        await ports.http.get("/")  # BAD
        httpx.get("/")  # BAD
        await asyncio.to_thread(print)  # BAD
        task = asyncio.get_running_loop().create_task(work.execute("SELECT 1"))  # BAD
        await asyncio.gather(task)  # BAD


async def record(work: object, *, channel: object) -> None:
    """Whoever is handed the unit of work is inside it."""
    await channel.refund(1)  # BAD


async def record_typed(unit: UnitOfWork, *, link: object) -> None:
    """By its type as well."""
    await link.close()  # BAD


async def fine(ports: object, group_id: int) -> None:
    """Commit, call, commit."""
    async with unit_of_work(group_id) as work:
        order = await work.fetchrow("SELECT 1")
        work.notify("lane", "1")
    answer = await ports.channel.prepay(order)
    async with unit_of_work(group_id) as work:
        await work.execute("UPDATE topup SET prepaid = $1", answer)


async def fine_lock(lock: object, channel: object, number: int) -> None:
    """Another kind of block."""
    async with lock, open_lane(number):
        await channel.prepay(1)


async def fine_inside(group_id: int, channel: object, book: object) -> None:
    """Not the network: a name, a read of ours, and a function that runs later."""
    async with unit_of_work(group_id) as work:
        channel.label()
        await book.query(work)
        await book.refund(work)

        async def later() -> None:
            await channel.prepay(1)

    await later()
