"""Who is not on the list, says nothing, says too much or comes too often is closed, and others are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from workers.links.dialin.dtu import Dtu
from workers.virtual.dialin import VirtualDtu

from .yard import LIMITS, WITHIN_S, Yard

ICCID = b"89860428221900423610"


@asynccontextmanager
async def calling(
    yard: Yard, link: str = "DTU"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection to a listener."""
    reader, writer = await asyncio.open_connection(*yard.server(link))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What came until the server closed the connection."""
    async with asyncio.timeout(WITHIN_S):
        with suppress(ConnectionResetError):
            return await reader.read()
    return b""


async def test_a_registration_that_nobody_has_is_closed_and_told(yard: Yard) -> None:
    yard.allow(ICCID)
    async with calling(yard) as (reader, writer):
        writer.write(b"89860428221900429999")
        assert await ended(reader) == b""
        _, link, opening, address = await yard.told.until("unknown")
    assert (link, opening, address) == ("DTU", b"89860428221900429999", "127.0.0.1")
    assert len(yard.lines) == 0


async def test_a_registration_of_one_link_does_not_open_another(yard: Yard) -> None:
    yard.allow(ICCID, link="ACREL_4G")
    async with calling(yard) as (reader, writer):
        writer.write(ICCID)
        await ended(reader)
        assert (await yard.told.until("unknown"))[1] == "DTU"


async def test_who_says_nothing_is_closed_in_time(yard: Yard) -> None:
    async with calling(yard) as (reader, _):
        assert await ended(reader) == b""
    assert (await yard.told.until("turned away"))[3] == "it did not register in time"


async def test_who_says_too_much_is_closed_at_once(yard: Yard) -> None:
    yard.allow(ICCID)
    async with calling(yard) as (reader, writer):
        writer.write(b"x" * 100_000)
        await ended(reader)
        _, _, _, reason = await yard.told.until("turned away")
    assert "more than 256 bytes" in reason or "too much" in reason


@pytest.mark.parametrize("parts", [(ICCID[:7], ICCID[7:]), (ICCID, b"pi", b"ng")])
async def test_a_registration_in_parts_is_one_registration(
    yard: Yard, parts: tuple[bytes, ...]
) -> None:
    row = yard.allow(ICCID, heartbeat=b"ping")
    async with calling(yard) as (_, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        assert (await yard.told.until("connected"))[1] == row


async def test_of_two_registrations_that_begin_alike_the_right_one_is_taken(yard: Yard) -> None:
    short, long = yard.allow(b"DTU-1"), yard.allow(b"DTU-12")
    async with calling(yard) as (_, one), calling(yard) as (_, other):
        one.write(b"DTU-12")
        assert (await yard.told.until("connected"))[1] == long
        other.write(b"DTU-1")  # "2" might still come, until time is up
        assert (await yard.told.until("connected", times=2))[1] == short


async def test_a_registration_in_endless_parts_is_not_looked_up_endlessly(yard: Yard) -> None:
    await yard.listen("DTU", Dtu, replace(LIMITS, settle_s=0.0, lookups=2))
    yard.allow(b"x" * 40)
    async with calling(yard) as (reader, writer):
        over = asyncio.create_task(ended(reader))
        while not over.done():
            writer.write(b"y")
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(over), 0.02)
        _, _, _, reason = await yard.told.until("turned away")
    assert reason == "a registration in too many parts"


async def test_strangers_have_only_so_many_places_and_leave_the_registered_alone(
    yard: Yard,
) -> None:
    limits = replace(LIMITS, register_s=WITHIN_S, strangers=6, strangers_of_address=4)
    await yard.listen("DTU", Dtu, limits)
    row = yard.allow(ICCID)
    await yard.dtu(row)
    crowd = [await asyncio.open_connection(*yard.server()) for _ in range(5)]
    assert await ended(crowd[4][0]) == b""
    assert (await yard.told.until("turned away"))[3] == "too many strangers"
    assert (await yard.driver(row).wallet()).purchase_count == 4
    crowd[0][1].transport.abort()
    crowd[1][1].write(b"nobody-at-all" + b"." * 40)
    await yard.told.until("unknown")
    box = VirtualDtu(server=yard.server(), bus=yard.bus(), registration=ICCID)
    yard.boxes.append(box)
    await box.dial()
    await yard.told.until("connected", times=2)
    for _, writer in crowd:
        writer.transport.abort()


async def test_a_line_that_sends_more_than_it_was_asked_for_is_cut(yard: Yard) -> None:
    row = yard.allow(ICCID, heartbeat=b"ping")
    dtu = await yard.dtu(row)
    dtu.send(b"ping" * (LIMITS.burst // 4 + 2048))
    async with asyncio.timeout(WITHIN_S):
        await dtu.ended.wait()
    reason = (await yard.told.until("disconnected"))[2]
    assert reason == "it sends more than it was asked for"


async def test_heartbeats_keep_a_line_and_their_end_ends_it(yard: Yard) -> None:
    await yard.listen("DTU", Dtu, replace(LIMITS, idle_s=WITHIN_S, idle_least_s=0.2))
    row = yard.allow(ICCID, heartbeat=b"ping")
    dtu = await yard.dtu(row)
    line = yard.lines.get(row.gateway_id)
    assert line is not None
    for _ in range(5):
        dtu.beat()
        with suppress(TimeoutError):
            await asyncio.wait_for(dtu.ended.wait(), 0.03)
    yard.lines.drop_silent()
    assert yard.lines.get(row.gateway_id) is line, "it beats"
    with suppress(TimeoutError):
        await asyncio.wait_for(dtu.ended.wait(), 0.3)
    yard.lines.drop_silent()
    assert (await yard.told.until("disconnected"))[2] == "silent for too long"


async def test_a_line_without_heartbeats_has_its_own_longer_time(yard: Yard) -> None:
    await yard.listen("DTU", Dtu, replace(LIMITS, idle_s=0.2, idle_least_s=0.0))
    row = yard.allow(ICCID)
    dtu = await yard.dtu(row)
    yard.lines.drop_silent()
    assert len(yard.lines) == 1
    with suppress(TimeoutError):
        await asyncio.wait_for(dtu.ended.wait(), 0.3)
    yard.lines.drop_silent()
    await yard.told.until("disconnected")


async def test_a_box_dials_again_after_a_loss(yard: Yard) -> None:
    row = yard.allow(ICCID, heartbeat=b"ping")
    box = await yard.dtu(row, dial=False)
    running = asyncio.create_task(box.run(redial_s=0.01, beat_s=0.02))
    await yard.told.until("connected")
    yard.lines.drop(row.gateway_id, reason="a test")
    await yard.told.until("connected", times=2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await yard.told.until("disconnected"))[2] == "a test"


async def test_while_the_list_cannot_be_read_nobody_is_let_in(yard: Yard) -> None:
    yard.allow(ICCID)
    yard.allowed.unreadable = True
    async with calling(yard) as (reader, writer):
        writer.write(ICCID)
        await ended(reader)
        reason = (await yard.told.until("turned away"))[3]
    assert reason == "nobody can be looked up: UNAVAILABLE"
