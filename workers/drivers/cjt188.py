"""The driver of CJ/T 188 water, heat and cold meters: read 901F, move the valve.

`trip` closes the valve and `close` opens it: as with a relay, CLOSED means that it flows.
"""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_FLOOR, Decimal

from backend.kernel.clock import CHINA, utc
from backend.kernel.errors import InvalidInput
from workers.profiles.cjt188_map import Cjt188Map
from workers.profiles.model import Profile
from workers.protocols import cjt188_requests as requests
from workers.protocols.cjt188_values import (
    HeatReading,
    Measured,
    ValveOrder,
    WaterReading,
    heat_reading,
    valve_of,
    water_reading,
)
from workers.protocols.errors import BadValue
from workers.protocols.framing import Exchange

from .bare import BareDriver
from .ports import MeterFlags, MeterSnapshot, Relay

_BROADCAST = "9" * 14
_LITRES = {"L": (1, 1), "m3": (1000, 1)}
# Joules: 3,600 of them are one Wh, so what does not divide is cut off; a register that only rises
# gives a total that only rises.
_WATT_HOURS = {
    "Wh": (1, 1), "kWh": (1000, 1), "MWh": (10**6, 1), "MWh*100": (10**8, 1),
    "J": (1, 3600), "kJ": (1000, 3600), "MJ": (10**6, 3600),
    "GJ": (10**9, 3600), "GJ*100": (10**11, 3600),
}  # fmt: skip
_WATTS = {"W": (1, 1), "kW": (1000, 1), "MW": (10**6, 1)}
_RELAYS = {"open": Relay.CLOSED, "closed": Relay.OPEN}


class Cjt188Driver(BareDriver):
    """A meter of `profile` at 14 digits `address`; what it can do is what its profile has.

    Raises InvalidInput for an address that more than one meter hears, and for another protocol.
    """

    def __init__(self, profile: Profile, address: str, exchange: Exchange) -> None:
        super().__init__(profile.model)
        if not isinstance(profile.map, Cjt188Map):
            raise InvalidInput(f"{profile.model} does not speak CJ/T 188", field="profile")
        if len(address) != 14 or not address.isdecimal() or not address.isascii():
            raise InvalidInput(f"{address!r} is no meter address of 14 digits", field="busAddress")
        if address == _BROADCAST:
            raise InvalidInput("all meters hear this address, none may", field="busAddress")
        self._map = profile.map
        self._address = address
        self._exchange = exchange

    async def read(self) -> MeterSnapshot:
        """See CanRead.read: one exchange."""
        layout = self._map
        question = requests.read_meter(
            kind=layout.type, address=self._address, dialect=layout.dialect, wake_up=layout.wake_up
        )
        answer = requests.accepted(await self._exchange(question.request, question.expected))
        if layout.reading.form == "water":
            return self._water(water_reading(answer.data, dialect=layout.dialect), answer.data)
        return self._heat(heat_reading(answer.data, dialect=layout.dialect), answer.data)

    async def trip(self, *, until: datetime | None = None) -> None:
        """See CanSwitch.trip: close the valve. It moves for seconds: the next reading tells."""
        valve = self._map.valve
        await self._order("trip", None if valve is None else valve.close)

    async def close(self) -> None:
        """See CanSwitch.close: open the valve, so that water flows."""
        valve = self._map.valve
        await self._order("close", None if valve is None else valve.open)

    async def _order(self, name: str, order: ValveOrder | None) -> None:
        if order is None:
            raise self._lacks(f"a way to {name}")
        layout = self._map
        question = requests.order_valve(
            kind=layout.type,
            address=self._address,
            order=order,
            dialect=layout.dialect,
            wake_up=layout.wake_up,
        )
        requests.accepted(await self._exchange(question.request, question.expected))

    def _water(self, reading: WaterReading, data: bytes) -> MeterSnapshot:
        return MeterSnapshot(
            total=_scaled(reading.current, _LITRES, "volume"),
            raw=data,
            relay=self._relay(reading.status),
            flags=self._flags(reading.status),
            meter_clock=_instant(reading.clock),
        )

    def _heat(self, reading: HeatReading, data: bytes) -> MeterSnapshot:
        assert self._map.reading.energies is not None  # a profile of heat has them
        shown = (reading.energy_1, reading.energy_2)
        energies = dict(zip(self._map.reading.energies, shown, strict=True))
        cold = energies.get("cold_wh")
        power = reading.power
        return MeterSnapshot(
            total=_scaled(energies["total"], _WATT_HOURS, "energy"),
            raw=data,
            relay=self._relay(reading.status),
            flags=self._flags(reading.status),
            power_w=None if power.value is None else _scaled(power, _WATTS, "power"),
            meter_clock=_instant(reading.clock),
            cold_wh=None if cold is None else _scaled(cold, _WATT_HOURS, "energy"),
        )

    def _relay(self, status: bytes) -> Relay:
        if self._map.valve is None:
            return Relay.UNKNOWN
        word = valve_of(status, bits=self._map.dialect.valve_bits)
        return _RELAYS.get(word, Relay.UNKNOWN)  # moving or abnormal is neither

    def _flags(self, status: bytes) -> MeterFlags:
        bit = self._map.reading.battery_low_bit
        low = bit is not None and bool(status[0] >> bit & 1)
        valve = self._map.valve
        word = valve_of(status, bits=self._map.dialect.valve_bits)
        return MeterFlags(fault=low or (valve is not None and word == "abnormal"))


def _scaled(amount: Measured, units: dict[str, tuple[int, int]], what: str) -> int:
    """`amount` in whole base units, rounded down. Raises BadValue: none shown, or not of this kind."""
    if amount.value is None:
        raise BadValue(f"the meter shows no {what}")
    if amount.unit not in units:
        raise BadValue(f"{what} is not counted in {amount.unit}")
    up, down = units[amount.unit]
    return int((Decimal(amount.value) * up).to_integral_value(ROUND_FLOOR)) // down


def _instant(clock: str | None) -> datetime | None:
    """The meter's local time in UTC; many have none, and their reading counts all the same."""
    if clock is None:
        return None
    try:
        return utc(datetime.fromisoformat(clock).replace(tzinfo=CHINA))
    except (ValueError, OverflowError):
        return None  # year 0001
