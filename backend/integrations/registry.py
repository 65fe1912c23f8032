"""Adapters by channel name; a name taken twice is an error at start, not a surprise at night."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from backend.kernel.errors import NotFound

Adapter = TypeVar("Adapter")


class DuplicateAdapter(RuntimeError):
    """Two adapters claim one channel name: a fault of the composition, raised while starting."""


class Registry(Generic[Adapter]):
    """Adapters of one port by channel name (`WECHAT`, `SMS`). Filled at start, then only read."""

    def __init__(self) -> None:
        self._adapters: dict[str, Adapter] = {}

    def register(self, *, name: str, adapter: Adapter) -> None:
        """Add `adapter` under `name`. Raises DuplicateAdapter when the name (any case) is taken."""
        key = name.upper()
        if key in self._adapters:
            raise DuplicateAdapter(f"the channel {key} is registered twice")
        self._adapters[key] = adapter

    def get(self, name: str, /) -> Adapter:
        """The adapter of a channel. Raises NotFound."""
        try:
            return self._adapters[name.upper()]
        except KeyError:
            raise NotFound(f"no channel {name.upper()} is set up") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def __contains__(self, name: str) -> bool:
        return name.upper() in self._adapters
