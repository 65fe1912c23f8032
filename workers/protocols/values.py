"""Integers inside register bytes: width, sign and word order. No float: scales are integers (C2)."""

from __future__ import annotations

from enum import StrEnum


class RegisterType(StrEnum):
    """Width in bits and sign of a number in registers."""

    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"

    @property
    def signed(self) -> bool:
        """Whether it is two's complement."""
        return self.value.startswith("s")

    @property
    def words(self) -> int:
        """How many 16-bit registers it fills."""
        return int(self.value[1:]) // 16


class WordOrder(StrEnum):
    """Which register of a 32-bit number comes first: `BIG` the high one (Acrel), `LITTLE` the low."""

    BIG = "big"
    LITTLE = "little"


def read_int(registers: bytes, *, at: int, kind: RegisterType, order: WordOrder) -> int:
    """The number that starts `at` registers into `registers` (big-endian register bytes).

    Raises IndexError when the registers end before it does.
    """
    data = registers[2 * at : 2 * (at + kind.words)]
    if at < 0 or len(data) != 2 * kind.words:
        raise IndexError(f"register {at} ({kind}) lies outside {len(registers) // 2} registers")
    if order is WordOrder.LITTLE:
        data = data[2:] + data[:2] if kind.words == 2 else data
    return int.from_bytes(data, "big", signed=kind.signed)


def to_words(value: int, *, kind: RegisterType, order: WordOrder) -> tuple[int, ...]:
    """The 16-bit registers of `value`. Raises OverflowError when it does not fit."""
    data = value.to_bytes(2 * kind.words, "big", signed=kind.signed)
    words = tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    return words if order is WordOrder.BIG else words[::-1]
