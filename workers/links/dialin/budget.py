"""How much a line may send: what it was asked for, and a steady trickle."""

from __future__ import annotations


class Budget:
    """Bytes that may still come: `burst` at first, `steady` more a second, `grant` for each question."""

    def __init__(self, *, burst: int, steady: int, now_s: float) -> None:
        self._burst = burst
        self._steady = steady
        self._left = float(burst)
        self._at_s = now_s

    def grant(self, size: int) -> None:
        """A question went out; its answer may have `size` bytes."""
        self._left = min(self._burst, self._left + size)

    def take(self, size: int, *, now_s: float) -> bool:
        """Whether `size` bytes that just came are within the budget; they are counted either way."""
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._steady)
        self._at_s = now_s
        self._left -= size
        return self._left >= 0
