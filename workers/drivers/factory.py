"""The driver of a meter by the protocol of its profile."""

from __future__ import annotations

from workers.profiles.model import Profile
from workers.protocols.framing import Exchange

from .modbus import ModbusDriver
from .ports import Driver


def driver_of(profile: Profile, bus_address: str, exchange: Exchange) -> Driver:
    """A driver for the meter of `profile` at `bus_address` that speaks by `exchange`."""
    return ModbusDriver(profile, int(bus_address), exchange)
