"""What a meter can do, as tiny contracts, and what it says of itself. Integers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from backend.kernel.money import Money


class Relay(StrEnum):
    """The relay as the meter reports it. UNKNOWN: not reported, or the phases differ."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Wallet:
    """The meter's own money: `remaining` (negative in overdraft) and how many sales it has taken."""

    remaining: Money
    purchase_count: int


@dataclass(frozen=True, slots=True)
class MeterFlags:
    """What the meter warns of."""

    arrears: bool = False
    alarm1: bool = False
    alarm2: bool = False
    overload: bool = False
    fault: bool = False


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """Registers of a meter at one reading.

    Energies in Wh since the meter was new, `bands` by name (spike, peak, flat, valley), voltage in
    mV, current in mA, power in W (positive: drawn from the grid); what a meter does not have is
    None. `meter_clock` is the meter's own time as an instant in UTC, None when it is not a date.
    `raw` is the register bytes of the blocks read, in the profile's order.
    """

    energy_wh: int
    raw: bytes
    bands: Mapping[str, int] = field(default_factory=dict)
    remaining: Money | None = None
    purchase_count: int | None = None
    relay: Relay = Relay.UNKNOWN
    flags: MeterFlags = MeterFlags()
    voltage_mv: int | None = None
    current_ma: int | None = None
    power_w: int | None = None
    meter_clock: datetime | None = None


class CanRead(Protocol):
    """A meter that can be read."""

    async def read(self) -> MeterSnapshot:
        """Read all that the profile asks for. Raises LinkDown, NoAnswer, FrameError, MeterRefused."""
        ...


class CanCredit(Protocol):
    """A meter that holds its own money (C8, C9)."""

    async def wallet(self) -> Wallet:
        """Remaining money and purchase count, read in one exchange so that they belong together.

        Raises LinkDown, NoAnswer, FrameError, MeterRefused.
        """
        ...

    async def credit(self, *, amount: Money, purchase_count: int) -> None:
        """Add `amount` as sale number `purchase_count` (the meter's count + 1). One write, no retry.

        Returning is not proof of credit: read the wallet back. Raises InvalidInput (amount not
        whole fen, not above zero or too big; nothing was sent), LinkDown (nothing was sent),
        MeterRefused, and NoAnswer or FrameError, after which the meter may hold the money.
        """
        ...


class CanSwitch(Protocol):
    """A meter whose relay obeys commands (A20). Each raises LinkDown, NoAnswer, FrameError,
    MeterRefused; the relay is known only from the next reading (C19)."""

    async def trip(self) -> None:
        """Force the relay open whatever the money says."""
        ...

    async def keep_power(self) -> None:
        """Force the relay closed whatever the money says."""
        ...

    async def release(self) -> None:
        """End the forced state: the meter's money decides again."""
        ...
