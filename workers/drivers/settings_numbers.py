"""Settings of a meter as plain numbers and back: the uplink carries them, as the cloud orders them.

Money is hao, `on` of load limits 1 or 0; names are those of ports.Thresholds, ports.LoadLimits and
kernel.band_calendar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from backend.kernel.band_calendar import CALENDAR_NAMES, calendar_numbers, plain
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from workers.protocols.errors import BadValue

from .ports import CanKeepTime, LoadLimits, Thresholds

_MONEY = ("alarm1", "alarm2", "overdraft")


def thresholds_of(numbers: Mapping[str, int]) -> Thresholds:
    """Those that are named."""
    money = {name: Money(numbers[name]) for name in _MONEY if name in numbers}
    return Thresholds(**money, overload_w=numbers.get("overload_w"))


def numbers_of_thresholds(thresholds: Thresholds) -> dict[str, int]:
    """Those that are not None."""
    found = {"overload_w": thresholds.overload_w}
    for name in _MONEY:
        amount: Money | None = getattr(thresholds, name)
        found[name] = None if amount is None else amount.hao
    return {name: value for name, value in found.items() if value is not None}


def limits_of(numbers: Mapping[str, int]) -> LoadLimits:
    """All of them. Raises InvalidInput when one is missing."""
    rest = {name: value for name, value in numbers.items() if name != "on"}
    try:
        return LoadLimits(on=bool(numbers["on"]), **rest)
    except (KeyError, TypeError) as missing:
        raise InvalidInput("load limits are told whole") from missing


def ordered_limits(numbers: Mapping[str, int]) -> LoadLimits | None:
    """What a meter is to hold; None: its load control is to be off. Raises InvalidInput."""
    return limits_of(numbers) if numbers.get("on") else None


def numbers_of_limits(limits: LoadLimits | None) -> dict[str, int]:
    """All of them; of None only that it is off."""
    if limits is None:
        return {"on": 0}
    return {name: int(value) for name, value in asdict(limits).items()}


async def held_calendar(driver: CanKeepTime) -> dict[str, int]:
    """The calendar that a meter holds, said plainly; none where what it holds is no calendar, for such a
    meter is to be written like one that holds another. Raises as CanKeepTime.calendar, but BadValue."""
    try:
        numbers = calendar_numbers(plain(await driver.calendar()))
    except BadValue:
        return {}
    return numbers if numbers.keys() <= CALENDAR_NAMES else {}
