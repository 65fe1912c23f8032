"""The edge over each test's two groups, and over two that are furnished with one of everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backend.sandbox.embedded.services import EmbeddedServices

from ..world import World
from .edge import Api, make_api
from .furnished import Furnished, copied, copy, furnish, opened

_SHARED = "furnished_shared"


@pytest.fixture
async def api(worlds: tuple[World, World], database: EmbeddedServices) -> AsyncIterator[Api]:
    """The production application; its bell listens."""
    world, other = worlds
    other.clock = world.clock
    made = make_api(world.ports, dsn=database.app_dsn())
    await made.bell.start()
    yield made
    await made.bell.stop()


@pytest.fixture(scope="session")
def pattern(services: EmbeddedServices) -> Furnished:
    """What all furnished groups are copies of."""
    return asyncio.run(furnish(services))


@pytest.fixture(scope="session")
def _shared(services: EmbeddedServices, pattern: Furnished) -> None:
    """The copy that tests share; it goes with the server."""
    asyncio.run(copy(services, _SHARED))


@pytest.fixture
async def shown(
    services: EmbeddedServices, pattern: Furnished, _shared: None
) -> AsyncIterator[Furnished]:
    """Two furnished groups for tests that only look or are refused: one copy for them all."""
    async with opened(services, _SHARED):
        yield pattern


@pytest.fixture
async def furnished(
    services: EmbeddedServices, pattern: Furnished, unique: str
) -> AsyncIterator[Furnished]:
    """Two furnished groups of the test's own, to change as it likes."""
    name = f"furnished_{unique}"
    async with copied(services, name), opened(services, name):
        yield pattern
