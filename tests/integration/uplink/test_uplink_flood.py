"""One gateway sends without end or without measure; the other one's frames arrive on time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from backend.sandbox.embedded.broker import RunningBroker
from workers.links.mqtt import Dropped

from .box import Box, until
from .conftest import Site, site_at
from .raw_client import packet, publish, rude

HUNDRED_MB = 100_000_000


async def slowest_ping_s(box: Box, site: Site, *, times: int) -> float:
    """The longest of so many PINGs, each answered before the next, in seconds."""
    loop, slowest = asyncio.get_running_loop(), 0.0
    for _ in range(times):
        site.clock.advance(timedelta(seconds=1))
        begun = loop.time()
        await box.say(box.read())
        await box.ping()
        slowest = max(slowest, loop.time() - begun)
    return slowest


def floods(site: Site) -> list[str]:
    """The refusals of the first gateway that the inbox heard of."""
    return [code for who, code in site.inbox.refusals if who == "GW-FIRST"]


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_flood_of_noise_is_cut_off_and_the_other_gateway_is_on_time(
    broker: RunningBroker, qos: int, record_property: Callable[[str, object], None]
) -> None:
    """Frames of 200 bytes on a line of 100 Mbit/s; the broker confirms QoS 1 and so slows it down."""
    async with site_at(broker, cut_s=3.0) as site:
        box, other = await site.boxes()
        topic = f"up/{box.keys.gateway.hex()}"
        before = await slowest_ping_s(other, site, times=10)
        noise = publish(topic, bytes(200), qos=qos) * 500
        with rude(site.gate, noise, pause_s=0.01):
            slowest = await slowest_ping_s(other, site, times=10)
            await until(lambda: not site.trunk.hears(box.keys.gateway))
            slowest = max(slowest, await slowest_ping_s(other, site, times=10))
        record_property("before_and_in_it_ms", (round(before * 1e3), round(slowest * 1e3)))
        assert slowest < 10, "a gateway waits 15 s before it begins anew"
        assert sorted(floods(site)) == [Dropped.FLOOD, "UPLINK_FRAME_MALFORMED"], "once each"
        assert {who for who, _ in site.inbox.refusals} == {"GW-FIRST"}
        assert len(site.inbox.reads) == 30
        await until(lambda: site.trunk.hears(box.keys.gateway))
        await box.greet()


async def test_a_gateway_that_sends_too_fast_loses_what_is_over_its_measure_and_learns_of_it(
    site: Site,
) -> None:
    box, other = await site.boxes()
    frames = [box.sealed(box.read()) for _ in range(900)]
    sending = asyncio.gather(*map(box.line.send, frames))
    slowest = await slowest_ping_s(other, site, times=5)
    await sending
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(box.ping(), 0.5)
    mine = [read for row, read in site.inbox.reads if row.serial == "GW-FIRST"]
    assert 490 <= len(mine) < 900
    assert floods(site) == [Dropped.FLOOD]
    assert slowest < 5


async def test_nothing_of_a_payload_of_a_hundred_megabytes_comes_to_the_cloud(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    """It is announced whole and sent in part: nats-server gathers it before it refuses it, which
    takes it most of a minute for the rest."""
    box, other = await site.boxes()
    topic = f"up/{box.keys.gateway.hex()}".encode()
    head = packet(0x32, 2 + len(topic) + 2 + HUNDRED_MB) + len(topic).to_bytes(2, "big") + topic
    with rude(site.gate, head + b"\x00\x01", *[bytes(1_000_000)] * 20, once=True) as attacker:
        slowest = 0.0
        while not await asyncio.to_thread(attacker.done.wait, 0.1):
            slowest = max(slowest, await slowest_ping_s(other, site, times=1))
        assert attacker.sent == 21
    record_property("slowest_ms", round(slowest * 1e3))
    assert slowest < 10
    assert site.inbox.refusals == []
    await box.ping()


async def test_strangers_who_enrol_without_end_are_cut_off_and_gateways_work_on(
    broker: RunningBroker,
) -> None:
    async with site_at(broker, cut_s=1.0) as site:
        _, other = await site.boxes()
        with rude(site.gate, publish(f"enrol/{'5a' * 16}", bytes(100), qos=1) * 500):
            slowest = await slowest_ping_s(other, site, times=20)
        assert slowest < 10
        assert sorted(site.inbox.refusals) == [
            (b"", Dropped.FLOOD),
            (b"", "UPLINK_FRAME_MALFORMED"),
        ]
