"""A meter profile as Python values; what each key means stands in the schema of its protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .cjt188_map import Cjt188Map
from .dlt645_map import Dlt645Map
from .modbus_map import ModbusMap

# Weakest first: what a profile as a whole may claim is its weakest part.
GRADES = ("unverified", "field-tested", "vendor-document")

_PRICE = "price."

Map: TypeAlias = ModbusMap | Dlt645Map | Cjt188Map


@dataclass(frozen=True, slots=True)
class Profile:
    """One meter model. `phases` is 0 for a meter that is not electric. `map` says how it is read,
    sold to and switched in its own protocol; `evidence` is the weakest grade of its parts (GRADES)."""

    model: str
    maker: str
    kind: str
    phases: int
    protocol: str
    evidence: str
    map: Map

    @property
    def holds_money(self) -> bool:
        """Whether the meter keeps its own wallet and can be sold to."""
        match self.map:
            case ModbusMap(sale=sale):
                return sale is not None
            case Dlt645Map(credit=credit):
                return credit is not None
        return False

    @property
    def taken_back(self) -> str:
        """Why no command lowers the money that the meter holds; empty when it holds none."""
        match self.map:
            case ModbusMap(sale=sale) if sale is not None:
                return sale.taken_back
            case Dlt645Map(credit=credit) if credit is not None:
                return credit.taken_back
        return ""

    @property
    def switches(self) -> bool:
        """Whether its relay or valve obeys commands."""
        if isinstance(self.map, Cjt188Map):
            return self.map.valve is not None
        return self.map.switch is not None

    @property
    def closes(self) -> bool:
        """Whether a command closes its relay or opens its valve without forcing it for good."""
        if isinstance(self.map, Cjt188Map):
            return self.switches
        return self.map.switch is not None and "close" in self.map.switch.states

    @property
    def holds_load_limits(self) -> bool:
        """Whether it can be told what its circuit may draw, and opens its relay by itself beyond that."""
        return isinstance(self.map, ModbusMap) and (
            self.map.settings is not None and self.map.settings.holds_load_limits
        )

    @property
    def keeps_calendar(self) -> bool:
        """Whether it can be told when which rate band holds."""
        return not isinstance(self.map, Cjt188Map) and self.map.calendar is not None

    @property
    def price_bands(self) -> tuple[str, ...]:
        """The bands whose price the meter holds and takes by command; none when it holds no prices."""
        match self.map:
            case ModbusMap(settings=settings) if settings is not None:
                return tuple(
                    name.removeprefix(_PRICE) for name in settings.values if name.startswith(_PRICE)
                )
            case Dlt645Map(prices=prices, rates=rates) if prices is not None:
                return rates
        return ()
