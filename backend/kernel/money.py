"""Money: integer 毫 (1/10,000 yuan) inside, fen at payment edges, a decimal string outside (C2).

No float ever enters or leaves: a lint (tests/house) bans float arithmetic on money.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

HAO_PER_FEN = 100
HAO_PER_YUAN = 10_000

_DECIMAL = re.compile(r"(-?)([0-9]{1,14})(?:\.([0-9]{1,4}))?")


@total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """An amount of 毫, signed. Built by `of_fen` or `parse`, printed as yuan with 2 to 4 decimals."""

    hao: int

    def __post_init__(self) -> None:
        if type(self.hao) is not int:
            raise TypeError(f"Money takes an int of hao, not {type(self.hao).__name__}")

    @classmethod
    def of_fen(cls, fen: int) -> Money:
        """Money of an integer number of fen (1/100 yuan)."""
        if type(fen) is not int:
            raise TypeError(f"fen must be an int, not {type(fen).__name__}")
        return cls(fen * HAO_PER_FEN)

    @classmethod
    def parse(cls, text: str) -> Money:
        """Money of a decimal string of yuan with at most four decimals, such as `50`, `-0.0001`.

        Raises ValueError for anything else (no exponent, no sign `+`, no thousands separator).
        """
        match = _DECIMAL.fullmatch(text)
        if match is None:
            raise ValueError("not an amount of yuan with at most four decimals")
        sign, whole, fraction = match.groups()
        hao = int(whole) * HAO_PER_YUAN + int((fraction or "").ljust(4, "0"))
        return cls(-hao if sign else hao)

    @property
    def fen(self) -> int:
        """The amount in fen. Raises ValueError when it is not a whole number of fen (C2)."""
        if self.hao % HAO_PER_FEN:
            raise ValueError(f"{self} is not a whole number of fen")
        return self.hao // HAO_PER_FEN

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.hao), HAO_PER_YUAN)
        fraction = f"{rest:04d}"
        if fraction.endswith("00"):
            fraction = fraction[:2]
        return f"{'-' if self.hao < 0 else ''}{whole}.{fraction}"

    def __add__(self, other: Money) -> Money:
        return Money(self.hao + other.hao)

    def __sub__(self, other: Money) -> Money:
        return Money(self.hao - other.hao)

    def __neg__(self) -> Money:
        return Money(-self.hao)

    def __lt__(self, other: Money) -> bool:
        return self.hao < other.hao

    def __bool__(self) -> bool:
        return self.hao != 0


ZERO = Money(0)
