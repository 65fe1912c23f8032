"""A bus has one speaker over all processes, who keeps it while nobody else asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from backend.sandbox.embedded.services import EmbeddedServices
from workers import bus_lease
from workers.bus_lease import BusBusy, BusLease


@pytest.fixture
async def two(services: EmbeddedServices) -> AsyncIterator[tuple[BusLease, BusLease]]:
    """The leases of two processes."""
    leases = (BusLease(services.app_dsn()), BusLease(services.app_dsn()))
    yield leases
    for lease in leases:
        await lease.close()


async def _speak(lease: BusLease, gateway: UUID, speakers: list[str], name: str) -> None:
    async with lease.hold(gateway):
        speakers.append(name)
        assert len(speakers) == 1, "two speak at once"
        await asyncio.sleep(0)
        speakers.remove(name)


async def test_a_process_keeps_its_bus_from_turn_to_turn_until_another_asks(
    two: tuple[BusLease, BusLease], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = two
    gateway = uuid4()
    async with ours.hold(gateway):
        pass
    asked: list[str] = []
    ask = BusLease._ask

    async def counted(self: BusLease, sql: str, *arguments: object) -> object:
        asked.append(sql)
        return await ask(self, sql, *arguments)

    monkeypatch.setattr(BusLease, "_ask", counted)
    for _ in range(100):
        async with ours.hold(gateway):
            pass
    assert asked == []
    async with asyncio.timeout(2), theirs.hold(gateway):
        pass
    assert asked


async def test_buses_that_are_wanted_at_once_change_hands_by_a_few_questions(
    two: tuple[BusLease, BusLease], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch wants all that a sweep had: with a question for each the last waited a tenth of a second."""
    ours, theirs = two
    gateways = [uuid4() for _ in range(200)]
    for gateway in gateways:
        async with ours.hold(gateway):
            pass
    unlocked: list[str] = []
    ask = BusLease._ask

    async def counted(self: BusLease, sql: str, *arguments: object) -> object:
        if "unlock" in sql:
            unlocked.append(sql)
        return await ask(self, sql, *arguments)

    monkeypatch.setattr(BusLease, "_ask", counted)

    async def turn(gateway: UUID) -> None:
        async with theirs.hold(gateway):
            assert not (ours.held & theirs.held), "two have it"

    await asyncio.gather(*map(turn, gateways))
    assert (len(ours.held), len(theirs.held)) == (0, len(gateways))
    assert 0 < len(unlocked) < 20


async def test_two_busy_processes_share_a_bus_and_never_speak_at_once(
    two: tuple[BusLease, BusLease],
) -> None:
    gateway = uuid4()
    speakers: list[str] = []
    turns = {"ours": 0, "theirs": 0}

    async def speak(name: str, lease: BusLease) -> None:
        while min(turns.values()) < 5:
            await _speak(lease, gateway, speakers, name)
            turns[name] += 1
            await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(speak("ours", two[0]), speak("theirs", two[1]))
    assert min(turns.values()) >= 5


async def test_a_bus_in_use_is_given_up_after_its_turn(two: tuple[BusLease, BusLease]) -> None:
    ours, theirs = two
    gateway = uuid4()
    async with ours.hold(gateway):
        waiting = asyncio.create_task(_speak(theirs, gateway, [], "theirs"))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
    async with asyncio.timeout(2):
        await waiting


async def test_a_holder_that_never_gives_up_is_told_as_busy(
    two: tuple[BusLease, BusLease], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_lease, "_TAKE_WITHIN_S", 0.3)
    ours, theirs = two
    gateway = uuid4()
    async with ours.hold(gateway):
        with pytest.raises(BusBusy):
            async with theirs.hold(gateway):
                pass
    async with asyncio.timeout(2), theirs.hold(gateway):
        pass


async def test_a_lost_connection_loses_the_buses_it_held(
    two: tuple[BusLease, BusLease], services: EmbeddedServices
) -> None:
    ours, theirs = two
    gateway = uuid4()
    async with ours.hold(gateway):
        pass
    assert ours._connection is not None
    killer = await asyncpg.connect(services.app_dsn())
    await killer.execute("SELECT pg_terminate_backend($1)", ours._connection.get_server_pid())
    await killer.close()
    async with asyncio.timeout(5), theirs.hold(gateway):
        waiting = asyncio.create_task(_speak(ours, gateway, [], "ours"))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done, "it still believes that the bus is its own"
    async with asyncio.timeout(5):
        await waiting
