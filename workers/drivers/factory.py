"""The driver of a meter by the protocol of its profile."""

from __future__ import annotations

from workers.profiles.cjt188_map import Cjt188Map
from workers.profiles.dlt645_map import Dlt645Map
from workers.profiles.model import Profile
from workers.protocols.framing import Exchange

from .access import Access
from .cjt188 import Cjt188Driver
from .dlt645 import Dlt645Driver
from .modbus import ModbusDriver
from .ports import Driver


def driver_of(
    profile: Profile, bus_address: str, exchange: Exchange, access: Access | None = None
) -> Driver:
    """A driver for the meter of `profile` at `bus_address` that speaks by `exchange`.

    `access`: time, passwords and key machine; without it the machine's clock, what the factory sets
    as passwords (the profile says it), and no key machine. Raises InvalidInput for an address that
    more than one meter hears.
    """
    match profile.map:
        case Dlt645Map():
            return Dlt645Driver(profile, bus_address, exchange, access)
        case Cjt188Map():
            return Cjt188Driver(profile, bus_address, exchange)
    return ModbusDriver(profile, int(bus_address), exchange)
