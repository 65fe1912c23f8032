"""What the settings of a command mean at a driver, and what the meter holds of them."""

from __future__ import annotations

from datetime import datetime

from backend.kernel.band_calendar import calendar_of
from backend.uplink.message import Cmd, Op
from workers.drivers.ports import Driver
from workers.drivers.settings_numbers import (
    held_calendar,
    numbers_of_limits,
    numbers_of_thresholds,
    ordered_limits,
    thresholds_of,
)


async def held(driver: Driver, op: Op) -> dict[str, int]:
    """What the meter holds of what `op` asks for or sets. Raises as the driver's ports."""
    match op:
        case Op.PRICES | Op.SET_PRICES:
            return dict(await driver.prices())
        case Op.CALENDAR | Op.SET_CALENDAR:
            return await held_calendar(driver)
        case Op.THRESHOLDS | Op.SET_THRESHOLDS:
            return numbers_of_thresholds(await driver.thresholds())
        case Op.LOAD_LIMITS | Op.SET_LOAD_LIMITS:
            return numbers_of_limits(await driver.load_limits())
    raise ValueError(f"{op} is about no settings")


async def write(driver: Driver, cmd: Cmd, *, now: datetime) -> None:
    """Write what `cmd` says, once. Raises as the driver's ports."""
    settings = cmd.settings or {}
    match cmd.op:
        case Op.SET_PRICES:
            await driver.write_prices(settings)
        case Op.SET_CALENDAR:
            await driver.write_calendar(calendar_of(settings))
        case Op.SET_THRESHOLDS:
            await driver.write_thresholds(thresholds_of(settings))
        case Op.SET_LOAD_LIMITS:
            await driver.write_load_limits(ordered_limits(settings))
        case Op.SET_CLOCK:
            await driver.write_clock(now)
        case _:
            raise ValueError(f"{cmd.op} sets nothing")
