"""What every integration test stands on: the embedded PostgreSQL and Valkey of this test worker.

Each xdist worker has its own pair, in a directory of its own, on free loopback ports; nothing on
the machine is used or touched. Tests do not clean up: each makes two groups of its own, and what
one group cannot see of another is just what isolation promises.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.kernel.db import Database
from backend.kernel.migrate import migrate
from backend.sandbox.embedded.services import EmbeddedServices


@pytest.fixture(scope="session")
def services() -> Iterator[EmbeddedServices]:
    """PostgreSQL and Valkey of this worker, migrated to the newest step."""
    data = Path(tempfile.mkdtemp(prefix="shuidian-test-"))
    data.chmod(0o755)  # as root the servers run as another user, who must get in
    try:
        with EmbeddedServices(data, durable=False) as running:
            asyncio.run(running.prepare_database())
            asyncio.run(migrate(running.owner_dsn(), at=datetime.now(UTC)))
            yield running
    finally:
        EmbeddedServices.erase(data)


@pytest.fixture
async def database(services: EmbeddedServices) -> AsyncIterator[EmbeddedServices]:
    """The process's pool as the application role, for one test's event loop."""
    await Database.open(services.app_dsn(), pool_max=10)
    yield services
    await Database.close()


@pytest.fixture
def unique() -> str:
    """Eight letters and digits no other test uses."""
    return uuid.uuid4().hex[:8]
