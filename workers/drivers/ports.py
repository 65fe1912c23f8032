"""What a meter can do, as tiny contracts, and what it says of itself. Integers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from backend.kernel.band_calendar import Calendar
from backend.kernel.money import Money
from workers.protocols.modbus import Question


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
    """What the meter warns of, and (`_cut`) for what it opened its relay by a rule of its own."""

    arrears: bool = False
    alarm1: bool = False
    alarm2: bool = False
    overload: bool = False
    fault: bool = False
    overload_cut: bool = False
    malignant_load_cut: bool = False
    timetable_cut: bool = False


class MeterSnapshot(NamedTuple):
    """Registers of a meter at one reading.

    `total` since the meter was new in the unit of its kind (Wh, litres, Wh of heat), `bands` in Wh by
    name (BANDS), `cold_wh` of a heat and cold meter, voltage in mV, current in mA, power in W
    (positive: drawn from the grid); what a meter does not have is None. `cover_opens`: how often its
    cover was opened since it was new. `meter_clock` is the meter's own time as an instant in UTC, None
    when it is not a date. `raw` is the register or data bytes that were read, in the profile's order.
    """

    total: int
    raw: bytes
    bands: Mapping[str, int] = MappingProxyType({})
    remaining_hao: int | None = None
    purchase_count: int | None = None
    relay: Relay = Relay.UNKNOWN
    flags: MeterFlags = MeterFlags()
    voltage_mv: int | None = None
    current_ma: int | None = None
    power_w: int | None = None
    meter_clock: datetime | None = None
    cold_wh: int | None = None
    cover_opens: int | None = None

    @property
    def remaining(self) -> Money | None:
        """The money it holds."""
        return None if self.remaining_hao is None else Money(self.remaining_hao)

    def snapshot(self) -> MeterSnapshot:
        """See Taken.snapshot: this one."""
        return self


class Taken(Protocol):
    """What a meter answered to one reading, as it came."""

    def snapshot(self) -> MeterSnapshot:
        """What it says. Raises WrongModel, BadValue."""
        ...


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a meter warns and trips at; None: leave as it is. `overload_w` in W."""

    alarm1: Money | None = None
    alarm2: Money | None = None
    overdraft: Money | None = None
    overload_w: int | None = None


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What a meter opens its relay for by itself while `on`: more power than `most_w`, or a step of `step_w`
    or more with a power factor of at least `factor_permille`. It closes after `restore_minutes`, and no more
    after `trips`."""

    on: bool
    most_w: int
    step_w: int
    factor_permille: int
    trips: int
    restore_minutes: int


class CanRead(Protocol):
    """A meter that can be read."""

    @property
    def only_question(self) -> Question | None:
        """The question of a reading that has but one, known beforehand; its whole answer goes to `shown`.
        None: only `take` knows what to ask."""
        ...

    def shown(self, answer: bytes) -> MeterSnapshot:
        """What a whole answer to `only_question` says. Raises WrongModel, BadValue."""
        ...

    async def read(self) -> MeterSnapshot:
        """Read all that the profile asks for. Raises LinkDown, NoAnswer, FrameError, MeterRefused,
        WrongModel."""
        ...

    async def take(self, answer: bytes | None = None, /) -> Taken:
        """As `read`, without looking into it yet: what a sweep took of a whole bus is decoded in a row,
        for half of what it costs between exchanges. `answer`: that to `only_question`, where it was
        asked already. Raises as `read`."""
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
    """A meter whose relay or valve obeys commands (A20). Each raises LinkDown, NoAnswer, FrameError,
    MeterRefused, and Conflict (nothing was sent) for what the model has not; the relay is known only
    from the next reading (C19)."""

    async def trip(self, *, until: datetime | None = None) -> None:
        """Force the relay open whatever the money says. `until`: a gateway that keeps commands must not do
        it later; a bus of ours does it now or not at all."""
        ...

    async def allow_close(self) -> None:
        """Let the customer close the relay by the meter's own key."""
        ...

    async def close(self) -> None:
        """Close the relay (open the valve) now; the meter's own rules may open it again."""
        ...

    async def keep_power(self) -> None:
        """Force the relay closed whatever the money says."""
        ...

    async def release(self) -> None:
        """End the forced state: the meter's money decides again."""
        ...


class CanPrice(Protocol):
    """A meter that holds prices (A14). Errors as CanSwitch."""

    async def prices(self) -> Mapping[str, int]:
        """The prices it holds, hao per kWh by band."""
        ...

    async def write_prices(self, prices: Mapping[str, int], /) -> None:
        """Write prices, hao per kWh by band; read them back to be sure. Raises InvalidInput too (a
        band the model has not, a price that its registers cannot hold exactly)."""
        ...


class CanWarn(Protocol):
    """A meter that warns and trips by itself (A22). Errors as CanPrice."""

    async def thresholds(self) -> Thresholds:
        """What it holds; None for what the model has not."""
        ...

    async def write_thresholds(self, thresholds: Thresholds, /) -> None:
        """Write those that are not None."""
        ...


class CanLimitLoad(Protocol):
    """A meter that looks after its circuit's load (A24). Errors as CanPrice."""

    async def load_limits(self) -> LoadLimits:
        """What it holds."""
        ...

    async def write_load_limits(self, limits: LoadLimits | None, /) -> None:
        """Write them by one write, or (None) switch its load control off and leave the rest as it is."""
        ...


class CanKeepTime(Protocol):
    """A meter with a clock and a calendar of bands (C17). Errors as CanPrice."""

    async def write_clock(self, now: datetime, /) -> None:
        """Set the meter's clock; it keeps China local time."""
        ...

    async def calendar(self) -> Calendar:
        """The year zones and day tables it holds."""
        ...

    async def write_calendar(self, calendar: Calendar, /) -> None:
        """Write year zones and day tables. Raises InvalidInput too (too many, not rising)."""
        ...


class Driver(CanRead, CanCredit, CanSwitch, CanPrice, CanWarn, CanLimitLoad, CanKeepTime, Protocol):
    """A meter by its profile. What the model has not raises Conflict before anything is sent."""
