"""The whole line: claim, broker, host, keys and readings in PostgreSQL, for a gateway of each group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import uuid4

import pytest

from backend.enrolment import operations
from backend.kernel.db import unit_of_work
from backend.metering.models import Gateway, Meter
from backend.metering.queries import latest_of_meters
from backend.sandbox.embedded.broker import CLOUD, GATEWAY
from backend.sandbox.embedded.services import EmbeddedServices
from backend.uplink.errors import ClaimRefused
from backend.uplink.message import Bye, Cmd, Farewell, Op, Read
from tests.integration.sealed import cases_of, claimed, desk_at, make_sealed, revoke, row_of
from tests.integration.world import World
from workers.links.errors import LinkDown
from workers.links.mqtt import Broker, MqttLine, MqttTrunk
from workers.uplink_host import UplinkHost
from workers.uplink_inbox import UplinkRecords

from .box import Box, box_at, until
from .conftest import FAST
from .test_uplink_inbox import add_meter

MINUTE = timedelta(minutes=1)


@dataclass
class Cloud:
    """A running host on the database, and gateways that stay connected until the test ends."""

    services: EmbeddedServices
    host: UplinkHost
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def install(self, world: World) -> tuple[Box, Gateway, Meter]:
        """What an installer does: a gateway with one meter, its claim typed in, enrolled, connected."""
        gateway = await make_sealed(world)
        meter = await add_meter(world, gateway, serial="M-SEALED", model="DDSY1352-NK")
        enrolment = await claimed(world, gateway)
        gate = Broker.of(self.services.broker.url(GATEWAY))
        async with MqttLine(gate) as line:
            key, root = enrolment.finish(await line.enrol(enrolment.request))
            with pytest.raises(ClaimRefused):
                await line.enrol(enrolment.request)
        box = await self.opened.enter_async_context(box_at(gate, key, root, world.clock))
        await box.greet()
        return box, gateway, meter


@pytest.fixture
async def cloud(worlds: tuple[World, World], services: EmbeddedServices) -> AsyncIterator[Cloud]:
    """A host as `shuidian links` makes it."""
    desk = desk_at(services.app_dsn())
    trunk = MqttTrunk(Broker.of(services.broker.url(CLOUD)))
    host = UplinkHost(
        trunk=trunk, desk=desk, inbox=UplinkRecords(desk), clock=worlds[0].clock, tempo=FAST
    )
    running = asyncio.create_task(host.run())
    await host.connected.wait()
    made = Cloud(services, host)
    try:
        async with made.opened:
            yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _read(box: Box, wh: int) -> Read:
    return replace(box.read(), meter="M-SEALED", energy_wh=wh)


async def _total(world: World, meter: Meter) -> int | None:
    async with unit_of_work(world.group_id) as work:
        found = await latest_of_meters(work, meter_ids=[meter.id])
    return found[meter.id].total if found else None


async def test_two_groups_gateways_enrol_upload_and_are_commanded(
    worlds: tuple[World, World], cloud: Cloud
) -> None:
    totals = {}
    for world, wh in zip(worlds, (1000, 2000), strict=True):
        box, _, meter = await cloud.install(world)
        await box.say(_read(box, wh))
        await box.ping()
        totals[world.code] = await _total(world, meter)
        now = world.clock.now()
        cmd = Cmd(uuid4(), "M-SEALED", Op.TRIP, now, now + MINUTE)
        assert (await cloud.host.command(box.keys.gateway, cmd)).dar == 0
        assert box.commands == [cmd]
    assert list(totals.values()) == [1000, 2000]


async def test_a_revocation_by_an_operator_cuts_the_line_within_five_seconds(
    worlds: tuple[World, World],
    cloud: Cloud,
    record_property: Callable[[str, object], None],
) -> None:
    ours, theirs = worlds
    box, gateway, meter = await cloud.install(ours)
    other, _, _ = await cloud.install(theirs)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await revoke(ours, gateway)
    committed = loop.time()
    bye = await asyncio.wait_for(box.goodbyes.get(), 10)
    took_s = loop.time() - begun
    record_property("revocation_ms", (round((committed - begun) * 1e3), round(took_s * 1e3)))
    assert bye == Bye(Farewell.REVOKED)
    assert took_s < 5
    now = ours.clock.now()
    with pytest.raises(LinkDown):
        await cloud.host.command(
            box.keys.gateway, Cmd(uuid4(), "M-SEALED", Op.READ, now, now + MINUTE)
        )
    await box.say(_read(box, 5000))
    await other.ping()
    async with asyncio.timeout(10):
        while not (cases := await cases_of(ours)):
            pass
    assert [(case.kind, case.subject) for case in cases] == [
        ("UPLINK_KEY_REVOKED", str(gateway.id))
    ]
    assert await _total(ours, meter) is None
    assert await cases_of(theirs) == []


async def test_an_operators_wish_for_a_new_key_reaches_the_gateway_and_the_old_key_dies(
    worlds: tuple[World, World], cloud: Cloud
) -> None:
    ours, _ = worlds
    box, gateway, _ = await cloud.install(ours)
    before = await row_of(ours, gateway)
    async with unit_of_work(ours.group_id) as work:
        await operations.want_rotation(work, scope=ours.scope, box=before.box, at=ours.clock.now())
    assert await asyncio.wait_for(box.keyed.get(), 10) == 2
    await box.hello(version=2)
    await box.ping()
    async with asyncio.timeout(10):
        while (kept := await row_of(ours, gateway)).ring.current != 2:
            pass
    assert (kept.ring.pending, kept.rotation_wanted) == (None, False)
    async with unit_of_work(ours.group_id) as work:
        versions = await work.fetch(
            "SELECT version FROM enrolment_key WHERE group_id = $1 AND gateway_id = $2",
            ours.group_id,
            gateway.id,
        )
    assert [row["version"] for row in versions] == [2], "the old key is destroyed"
    await box.ping()


async def test_postgresql_restarts_and_nothing_that_a_gateway_said_is_lost(
    worlds: tuple[World, World], cloud: Cloud
) -> None:
    ours, _ = worlds
    box, gateway, meter = await cloud.install(ours)
    # In order, for a test's server keeps nothing through a crash (it never waits for the disk).
    await asyncio.to_thread(cloud.services.postgres.stop)
    lost = _read(box, 4000)
    await box.say(lost)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(box.ping(), 1)
    await asyncio.to_thread(cloud.services.postgres.restart)
    async with asyncio.timeout(20):
        while await _total(ours, meter) is None:
            await box.hello()
            await box.say(lost)
            try:
                await asyncio.wait_for(box.ping(), 2)
            except TimeoutError:
                continue
    assert await _total(ours, meter) == 4000
    await until(lambda: cloud.host.is_live(box.keys.gateway))
    await revoke(ours, gateway)
    assert await asyncio.wait_for(box.goodbyes.get(), 5) == Bye(Farewell.REVOKED)
