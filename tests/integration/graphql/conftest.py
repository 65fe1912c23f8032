"""The edge over each test's two groups."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from backend.sandbox.embedded.services import EmbeddedServices

from ..world import World
from .edge import Api, make_api


@pytest.fixture
async def api(worlds: tuple[World, World], database: EmbeddedServices) -> AsyncIterator[Api]:
    """The production application; its bell listens."""
    world, other = worlds
    other.clock = world.clock
    made = make_api(world.ports, dsn=database.app_dsn())
    await made.bell.start()
    yield made
    await made.bell.stop()
