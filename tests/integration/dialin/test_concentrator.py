"""The process that holds the lines: two groups, cases, changes of the list, one holder at a time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import asyncpg
import pytest

from backend.alerts.queries import cases_page
from backend.kernel.clock import SetClock
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.metrics import DIAL_INS
from backend.kernel.settings import Settings
from backend.metering.dial_in import DialIn
from backend.metering.models import Gateway
from backend.metering.queries import gateway_by_id
from backend.metering.rules import GatewayLink
from backend.sandbox.embedded.services import EmbeddedServices
from workers.concentrator import Joined, LinkPorts, hold_links, run_links
from workers.drivers.factory import driver_of
from workers.drivers.ports import Driver
from workers.links.dialin.ports import DialInRow
from workers.links.door import DoorAddress
from workers.links.door_link import DoorLink
from workers.links.errors import LinkDown
from workers.profiles.loader import profile_of
from workers.virtual.dialin import Virtual4gMeter, VirtualAcrelGateway, VirtualDtu
from workers.virtual.site import VirtualSite

from ..dialled import allow, make_dialling
from ..world import BOX, START, World
from .yard import FAST, HOST, LIMITS, WITHIN_S

Worlds = tuple[World, World]
Box = VirtualDtu | Virtual4gMeter | VirtualAcrelGateway


@dataclass
class Inbox:
    """What came unasked; the first `failures` are not taken."""

    failures: int = 0
    kept: asyncio.Queue[tuple[object, ...]] = field(default_factory=asyncio.Queue)

    async def uploaded(
        self, gateway: DialInRow, address: int, registers_frame: bytes, at: datetime, /
    ) -> None:
        """See UploadInbox."""
        if self.failures:
            self.failures -= 1
            raise Conflict("no such meter")
        self.kept.put_nowait((gateway.group_id, gateway.gateway_id, address, registers_frame, at))

    async def reported(
        self, gateway: DialInRow, meter: str, values: Mapping[str, str], at: datetime, /
    ) -> None:
        """See UploadInbox."""
        self.kept.put_nowait((gateway.group_id, gateway.gateway_id, meter, values, at))


class Holder:
    """One process that holds the lines, or waits to; its ports each time it becomes the holder."""

    def __init__(self, settings: Settings, clock: SetClock, inbox: Inbox) -> None:
        self.stop = asyncio.Event()
        self.ready: asyncio.Queue[LinkPorts] = asyncio.Queue()
        joined = Joined(inbox=inbox, limits=LIMITS, ready=self.ready.put_nowait)
        self.task = asyncio.create_task(
            hold_links(settings, clock=clock, stop=self.stop, joined=joined)
        )

    async def ports(self) -> LinkPorts:
        """Its ports, once it holds the lines."""
        async with asyncio.timeout(2 * WITHIN_S):
            return await self.ready.get()

    async def end(self) -> None:
        """As a process that is told to stop."""
        self.stop.set()
        await self.task


class Field:
    """Two groups' virtual sites before one holder."""

    def __init__(self, settings: Settings, site: VirtualSite) -> None:
        self.settings = settings
        self.site = site
        self.clock = SetClock(START)
        self.inbox = Inbox()
        self.boxes: list[Box] = []
        self.holders: list[Holder] = []
        self.links: list[DoorLink] = []

    def holder(self) -> Holder:
        """One more process."""
        self.holders.append(Holder(self.settings, self.clock, self.inbox))
        return self.holders[-1]

    def bus(self, serial: str) -> tuple[str, int]:
        """Where a virtual gateway's bus listens."""
        return HOST, self.site.gateways[serial].port

    def driver(self, ports: LinkPorts, gateway: Gateway) -> Driver:
        """A meter's driver, as a worker has it."""
        door = DoorAddress(HOST, ports.door, self.settings.links_token)
        link = DoorLink(door, gateway.id, timing=FAST)
        self.links.append(link)
        return driver_of(profile_of("DDSY1352-NK"), "1", link.exchange)

    async def dtu(
        self, ports: LinkPorts, registration: bytes, *, serial: str = "GW-1"
    ) -> VirtualDtu:
        """A DTU that has called."""
        assert ports.dtu is not None
        box = VirtualDtu(server=(HOST, ports.dtu), bus=self.bus(serial), registration=registration)
        self.boxes.append(box)
        await box.dial()
        return box

    async def close(self) -> None:
        """Everything."""
        for box in self.boxes:
            await box.hang_up()
        for link in self.links:
            await link.close()
        for holder in self.holders:
            await holder.end()


def settings_of(services: EmbeddedServices) -> Settings:
    """A links process on free ports."""
    return Settings(
        environment="test",
        database_url=services.app_dsn(),
        redis_url=services.valkey.url,
        public_url="http://127.0.0.1:8000",
        secret_keys=BOX._keys,
        links_door=(HOST, 0),
        links_token=secrets.token_hex(16),
        dtu_listen=(HOST, 0),
        acrel_gateway_listen=(HOST, 0),
        acrel_4g_listen=(HOST, 0),
    )


@pytest.fixture
async def place(
    database: EmbeddedServices, site: VirtualSite, worlds: Worlds
) -> AsyncIterator[Field]:
    """Nobody holds the lines yet."""
    made = Field(settings_of(database), site)
    yield made
    await made.close()


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Ask the database until it is so."""
    async with asyncio.timeout(WITHIN_S):
        while not await check():
            continue


async def state_of(world: World, gateway: Gateway) -> tuple[bool, bool]:
    """Whether it ever answered, and whether it is silent."""
    async with unit_of_work(world.group_id) as work:
        row = await gateway_by_id(work, gateway_id=gateway.id)
    return row.answered_at is not None, row.silent_since is not None


async def cases_of(world: World) -> list[tuple[str, str, Mapping[str, str]]]:
    """The open cases of the world's project."""
    async with unit_of_work(world.group_id) as work:
        cases = await cases_page(
            work,
            scope=world.scope,
            project_id=world.project.id,
            only_open=True,
            before=None,
            limit=50,
        )
    return [(case.kind, case.subject, case.detail) for case in cases]


async def check_reads(driver: Driver, total: int) -> None:
    """Until the meter is read by that line; it must then be this total."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                assert (await driver.read()).total == total
            except LinkDown:
                continue
            return


async def test_two_groups_lines_are_held_noted_and_kept_apart(place: Field, worlds: Worlds) -> None:
    ports = await place.holder().ports()
    gateways, boxes = [], []
    for world, serial in zip(worlds, ("GW-1", "GW-2"), strict=True):
        gateway = await make_dialling(world)
        await allow(world, gateway, DialIn(f"{world.code}-dtu".encode(), heartbeat=b"ping"))
        assert await state_of(world, gateway) == (False, False)
        boxes.append(await place.dtu(ports, f"{world.code}-dtu".encode(), serial=serial))
        gateways.append(gateway)
    for gateway, total in zip(gateways, (1_001_500, 2_001_500), strict=True):
        await check_reads(place.driver(ports, gateway), total)
    for world, gateway in zip(worlds, gateways, strict=True):

        async def answered(world: World = world, gateway: Gateway = gateway) -> bool:
            return await state_of(world, gateway) == (True, False)

        await until(answered)
    await boxes[0].hang_up()

    async def silent() -> bool:
        return await state_of(worlds[0], gateways[0]) == (True, True)

    await until(silent)
    assert await state_of(worlds[1], gateways[1]) == (True, False)
    with pytest.raises(LinkDown):
        await place.driver(ports, gateways[0]).read()
    await check_reads(place.driver(ports, gateways[1]), 2_001_500)


async def test_a_wrong_secret_is_a_case_of_its_own_group_once(place: Field, worlds: Worlds) -> None:
    ports = await place.holder().ports()
    gateway = await make_dialling(worlds[0], link=GatewayLink.ACREL_GATEWAY)
    right = secrets.token_hex(8)
    name = f"GW-{worlds[0].code}"
    await allow(worlds[0], gateway, DialIn(name.encode(), secret=right))
    assert ports.acrel_gateway is not None
    server, bus = (HOST, ports.acrel_gateway), place.bus("GW-1")
    for secret, result in ((secrets.token_hex(8), "fail"),) * 3 + ((right, "pass"),):
        box = VirtualAcrelGateway(server=server, bus=bus, gateway_id=name, secret=secret)
        place.boxes.append(box)
        await box.dial()
        async with asyncio.timeout(WITHIN_S):
            assert await box.results.get() == result

    async def opened() -> bool:
        return bool(await cases_of(worlds[0]))

    await until(opened)
    ((kind, subject, detail),) = await cases_of(worlds[0])
    assert (kind, subject) == ("DIAL_IN_REFUSED", str(gateway.id))
    assert detail["reason"] == "wrong secret"
    assert right not in str(detail)
    assert await cases_of(worlds[1]) == []
    await check_reads(place.driver(ports, gateway), 1_001_500)


async def test_a_stranger_is_told_to_the_log_once_an_hour_and_to_no_operator(
    place: Field, worlds: Worlds, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    ports = await place.holder().ports()
    counter = DIAL_INS.labels(link="DTU", outcome="unknown")
    before = counter._value.get()
    with caplog.at_level(logging.WARNING):
        for later in (timedelta(0), timedelta(minutes=59), timedelta(minutes=2)):
            place.clock.advance(later)
            box = await place.dtu(ports, f"stranger-{unique}".encode())
            async with asyncio.timeout(WITHIN_S):
                await box.ended.wait()
    said = [record.__dict__["fields"] for record in caplog.records if "nobody" in record.message]
    assert [fields["unsaid"] for fields in said] == [0, 1]
    assert said[0]["text"] == f"stranger-{unique}"
    assert counter._value.get() == before + 3
    assert await cases_of(worlds[0]) == await cases_of(worlds[1]) == []


async def test_two_boxes_that_fight_for_one_registration_are_a_case(
    place: Field, worlds: Worlds
) -> None:
    ports = await place.holder().ports()
    gateway = await make_dialling(worlds[0])
    registration = f"{worlds[0].code}-dtu".encode()
    await allow(worlds[0], gateway, DialIn(registration))
    winner = await place.dtu(ports, registration)
    await check_reads(place.driver(ports, gateway), 1_001_500)
    challenger = await place.dtu(ports, registration)
    for _ in range(6):
        async with asyncio.timeout(WITHIN_S):
            await winner.ended.wait()
        winner, challenger = challenger, winner
        await challenger.dial()

    async def opened() -> bool:
        return bool(await cases_of(worlds[0]))

    await until(opened)
    ((kind, subject, _),) = await cases_of(worlds[0])
    assert (kind, subject) == ("DIAL_IN_CONTESTED", str(gateway.id))


async def test_a_registration_set_anew_cuts_the_line_and_the_old_one_opens_nothing(
    place: Field, worlds: Worlds
) -> None:
    ports = await place.holder().ports()
    gateway = await make_dialling(worlds[0])
    old, new = (f"{worlds[0].code}-{word}".encode() for word in ("old", "new"))
    await allow(worlds[0], gateway, DialIn(old))
    box = await place.dtu(ports, old)
    driver = place.driver(ports, gateway)
    await check_reads(driver, 1_001_500)
    await allow(worlds[0], gateway, DialIn(new))
    async with asyncio.timeout(WITHIN_S):
        await box.ended.wait()
        await box.dial()
        await box.ended.wait()
    await place.dtu(ports, new, serial="GW-2")
    await check_reads(place.driver(ports, gateway), 2_001_500)


async def test_uploads_go_to_the_inbox_and_one_that_is_not_taken_does_no_harm(
    place: Field, worlds: Worlds
) -> None:
    place.inbox.failures = 1
    ports = await place.holder().ports()
    gateway = await make_dialling(worlds[0], link=GatewayLink.ACREL_4G)
    await allow(worlds[0], gateway, DialIn(worlds[0].code.encode()))
    assert ports.acrel_4g is not None
    server = HOST, ports.acrel_4g
    meter = Virtual4gMeter(server=server, bus=place.bus("GW-1"), serial=worlds[0].code)
    place.boxes.append(meter)
    await meter.dial()
    async with asyncio.timeout(WITHIN_S):
        await meter.accepted.wait()
        await meter.upload(unit=1)
        sent = await meter.upload(unit=2)
        kept = await place.inbox.kept.get()
    assert kept == (worlds[0].group_id, gateway.id, 2, sent, START)


async def test_a_standby_takes_over_when_the_holder_ends_and_not_before(
    place: Field, worlds: Worlds
) -> None:
    first = place.holder()
    ports = await first.ports()
    second = place.holder()
    gateway = await make_dialling(worlds[0])
    registration = f"{worlds[0].code}-dtu".encode()
    await allow(worlds[0], gateway, DialIn(registration))
    box = await place.dtu(ports, registration)
    await check_reads(place.driver(ports, gateway), 1_001_500)
    assert second.ready.empty()
    await first.end()
    async with asyncio.timeout(WITHIN_S):
        await box.ended.wait()
    ports = await second.ports()
    await place.dtu(ports, registration)
    await check_reads(place.driver(ports, gateway), 1_001_500)


async def test_a_holder_that_loses_its_lock_lets_go_of_every_line(
    place: Field, worlds: Worlds, superuser: asyncpg.Connection[asyncpg.Record]
) -> None:
    ports = await place.holder().ports()
    gateway = await make_dialling(worlds[0])
    registration = f"{worlds[0].code}-dtu".encode()
    await allow(worlds[0], gateway, DialIn(registration))
    box = await place.dtu(ports, registration)
    await check_reads(place.driver(ports, gateway), 1_001_500)
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 7284"
    )
    async with asyncio.timeout(WITHIN_S):
        await box.ended.wait()
    again = await place.holders[0].ports()
    await place.dtu(again, registration)
    await check_reads(place.driver(again, gateway), 1_001_500)


@pytest.mark.parametrize("token", ["", "short"])
async def test_a_door_without_a_good_token_is_not_opened(
    database: EmbeddedServices, token: str
) -> None:
    bad = replace(settings_of(database), links_token=token)
    with pytest.raises(InvalidInput) as refused:
        await run_links(bad, clock=SetClock(START), stop=asyncio.Event())
    assert refused.value.field == "SHUIDIAN_LINKS_TOKEN"
