"""Two groups, always: what one does must not be seen by the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from backend.sandbox.embedded.services import EmbeddedServices

from .commanded import Post, posts
from .world import World, make_group

PLATFORM_LIMIT = "backend.journeys.supply_trips.trips_of_the_platform_at_most"


@pytest.fixture(autouse=True)
def nobody_else_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The groups of other tests are on the same platform, and cut people in the same hour: how many it may
    be together is the matter of one test alone, which sets it anew."""
    monkeypatch.setattr(PLATFORM_LIMIT, lambda meters: 10_000)


@pytest.fixture
async def worlds(database: EmbeddedServices, unique: str) -> tuple[World, World]:
    """Two fresh groups, alike in everything: same account numbers, same serials, same names."""
    return await make_group(database, f"a{unique}"), await make_group(database, f"b{unique}")


@pytest.fixture
async def both(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[tuple[Post, Post]]:
    """Our meters at work, and theirs, each on a gateway of their own."""
    async with posts(worlds, database, tmp_path) as made:
        yield made


@pytest.fixture
async def post(both: tuple[Post, Post]) -> AsyncIterator[Post]:
    """Our meters at work; theirs were never touched."""
    yield both[0]
    theirs = both[1]
    assert theirs.ear.heard == []
    assert theirs.closed
    assert await theirs.all() == []


@pytest.fixture
async def owner(services: EmbeddedServices) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection as the role that owns the tables."""
    connection = await asyncpg.connect(services.owner_dsn())
    yield connection
    await connection.close()


@pytest.fixture
async def app(services: EmbeddedServices) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A bare connection as the application role, past all code of ours."""
    connection = await asyncpg.connect(services.app_dsn())
    yield connection
    await connection.close()


@pytest.fixture
async def superuser(
    services: EmbeddedServices,
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection as the server's superuser, whom nothing binds."""
    parts = services.owner_dsn().rsplit("/", 1)
    connection = await asyncpg.connect(services.postgres.admin_dsn, database=parts[1])
    yield connection
    await connection.close()
