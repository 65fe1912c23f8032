"""What every integration test stands on: the embedded PostgreSQL and Valkey of this test worker.

Each xdist worker has its own pair, in a directory of its own, on free loopback ports; nothing on
the machine is used or touched. Tests do not clean up: each makes two groups of its own, and what
one group cannot see of another is just what isolation promises.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.kernel.db import Database
from backend.kernel.migrate import migrate
from backend.sandbox.embedded.services import EmbeddedServices

_MEMORY = Path("/dev/shm")
_ROOM = 8 << 30  # bytes; a run with four workers was seen to take less than half of it


def pytest_configure() -> None:
    """Let the files of a run lie in memory, where there is room and nobody chose a place (TMPDIR).

    Nothing in them outlives a run and no test cuts the power, so a disk would only be waited for: on
    it a server's start takes twice as long, and a copy of a database five times. pytest's own
    directories and all child processes follow.
    """
    if "TMPDIR" in os.environ or not _MEMORY.is_dir():
        return
    if min(shutil.disk_usage(_MEMORY).free, _available()) >= _ROOM:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # asked for again


def _available() -> int:
    """Bytes of memory that programs may take; 0 where the kernel does not tell."""
    try:
        told = Path("/proc/meminfo").read_text()
    except OSError:
        return 0
    lines = dict(line.split(":", 1) for line in told.splitlines())
    return int(lines.get("MemAvailable", "0 kB").split()[0]) << 10


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
