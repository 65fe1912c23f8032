"""The relay of a meter as the schema tells it."""

from __future__ import annotations

from enum import Enum

import strawberry


@strawberry.enum(description="The relay as the meter reported it: ON is closed, power flows.")
class Relay(Enum):
    """On, off or not reported."""

    UNKNOWN = "UNKNOWN"
    ON = "ON"
    OFF = "OFF"


def relay_of(closed: bool | None) -> Relay:
    """True is closed, None was not reported."""
    if closed is None:
        return Relay.UNKNOWN
    return Relay.ON if closed else Relay.OFF
