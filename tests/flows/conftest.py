"""The town of each flow test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.sandbox.embedded.services import EmbeddedServices

from .town import Town, running_town


@pytest.fixture
async def town(services: EmbeddedServices, tmp_path: Path, unique: str) -> AsyncIterator[Town]:
    """Two groups, stand-ins, virtual meters, API and a running worker."""
    async with running_town(services, tmp_path, unique) as built:
        built.start_worker()
        yield built
