"""Switches that make a stand-in misbehave: each holds a number, used up by the next events."""

from __future__ import annotations

from collections.abc import Mapping

from backend.kernel.errors import InvalidInput


class Faults:
    """A fixed set of named switches. `true` counts as 1; 0 is off."""

    def __init__(self, *names: str) -> None:
        self._left = dict.fromkeys(names, 0)

    def set(self, wanted: Mapping[str, object], /) -> dict[str, int]:
        """Set the named switches, leave the others; returns all. Raises InvalidInput."""
        numbers: dict[str, int] = {}
        for name, value in wanted.items():
            if name not in self._left or not isinstance(value, int) or value < 0:
                raise InvalidInput(f"no such switch or no number: {name}", field=name)
            numbers[name] = int(value)
        self._left.update(numbers)
        return dict(self._left)

    def take(self, name: str, /) -> bool:
        """Whether this event is hit: one is used up."""
        if self._left[name] == 0:
            return False
        self._left[name] -= 1
        return True

    def use_up(self, name: str, /) -> int:
        """The whole number, and the switch is off again (`duplicate_notice`, `delay_notice`)."""
        value, self._left[name] = self._left[name], 0
        return value
