"""A meter profile as Python values; what each key means stands in the schema of its protocol."""

from __future__ import annotations

from dataclasses import dataclass

from .modbus_map import ModbusMap

# Weakest first: what a profile as a whole may claim is its weakest part.
GRADES = ("unverified", "field-tested", "vendor-document")


@dataclass(frozen=True, slots=True)
class Profile:
    """One meter model. `map` says how it is read, sold to and switched in its own protocol;
    `evidence` is the weakest grade of its parts (GRADES)."""

    model: str
    maker: str
    kind: str
    phases: int
    protocol: str
    evidence: str
    map: ModbusMap

    @property
    def holds_money(self) -> bool:
        """Whether the meter keeps its own wallet and can be sold to."""
        return self.map.sale is not None

    @property
    def switches(self) -> bool:
        """Whether its relay or valve obeys commands."""
        return self.map.switch is not None
