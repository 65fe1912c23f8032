"""Quantity: integer energy, volume and heat with their unit (DESIGN section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    """Base units in which registers are stored: Wh, litre, heat in Wh."""

    WATT_HOUR = "Wh"
    LITRE = "L"


# How many base units make the unit a person reads (kWh, m3): a thousand of either.
_SHOWN = {Unit.WATT_HOUR: "kWh", Unit.LITRE: "m³"}


def shown_unit(unit: Unit) -> str:
    """The unit a person reads: kWh or m³."""
    return _SHOWN[unit]


@dataclass(frozen=True, slots=True)
class Quantity:
    """`value` base units, an int. `str()` gives the unit a person reads: `12.345 kWh`."""

    value: int
    unit: Unit

    def __post_init__(self) -> None:
        if type(self.value) is not int:
            raise TypeError(f"Quantity takes an int, not {type(self.value).__name__}")

    @property
    def decimal(self) -> str:
        """Decimal string in kWh or m3, three decimals, exact."""
        whole, rest = divmod(abs(self.value), 1000)
        return f"{'-' if self.value < 0 else ''}{whole}.{rest:03d}"

    def __str__(self) -> str:
        return f"{self.decimal} {_SHOWN[self.unit]}"

    def __sub__(self, other: Quantity) -> Quantity:
        if self.unit is not other.unit:
            raise ValueError(f"cannot subtract {other.unit} from {self.unit}")
        return Quantity(self.value - other.value, self.unit)
