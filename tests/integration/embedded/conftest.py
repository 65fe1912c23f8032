"""Embedded servers on throw-away data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.sandbox.embedded import EmbeddedServices


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory, erased with everything that was kept elsewhere for it."""
    place = tmp_path / "data"
    yield place
    EmbeddedServices.erase(place)
