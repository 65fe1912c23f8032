"""What stands on a simulated site: gateways, meters and purses, as they truly are and as the book has them.

Times are seconds since the site's first midnight, money is hao, energy is watt-seconds inside a meter.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from backend.control.command_rules import CommandKind, CommandState
from backend.control.supply_rules import Force, MoneyIn, SafetyLock, SupplyPolicy, Want, Why

from .policy_clock import Lane

PERIOD_S = 1800
DAY_S = 86_400
HOUR_S = 3600
PRICE_HAO = 6_000  # a kWh
WS_PER_WH = 3600


@dataclass(slots=True, eq=False)
class Command:
    """As control.commands keeps one, with times of the simulation; `left_at`: its last write left."""

    meter: Meter
    kind: CommandKind
    why: Why | None
    issued: float
    expires: float
    state: CommandState = CommandState.QUEUED
    writes: int = 0
    sent_at: float | None = None
    accepted: bool = False
    relay_before: bool | None = None
    tries: int = 0
    due: float = 0.0
    refusal: str | None = None

    @property
    def unfinished(self) -> bool:
        """Whether something may still come of it."""
        return self.state in (CommandState.QUEUED, CommandState.SENT)


@dataclass(slots=True, eq=False)
class Row:
    """What the engine keeps of a meter: control_supply, the latest reading, the last relay command."""

    force: Force | None = None
    force_at: float | None = None
    want: Want | None = None
    why: Why | None = None
    command: CommandKind | None = None
    read_at: float | None = None
    received_at: float | None = None
    relay: bool | None = None
    last: Command | None = None


@dataclass(slots=True, eq=False)
class Gateway:
    """A gateway and its bus. `queues`: it keeps commands in a queue of its own and reads by its own clock,
    which is `clock_off` ahead. `off_until`, `stalled_until`: its line is dead; its queue stands still."""

    no: int
    queues: bool
    lane: Lane
    meters: list[Meter] = field(default_factory=list)
    off_until: float = 0.0
    stalled_until: float = 0.0
    clock_off: float = 0.0
    newest: dict[Meter, Command] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Meter:
    """A meter: its relay and register as they are, what operators and others said of it, and the row."""

    no: int
    gateway: Gateway
    purse: Purse | None
    money: MoneyIn
    load_w: int
    restored_by: CommandKind
    closed: bool = True
    energy_ws: float = 0.0
    since: float = 0.0
    silent_until: float = 0.0  # it answers nothing
    mute_until: float = 0.0  # it acts, and does not answer writes
    refuses_until: float = 0.0  # it says no to every write
    policy: SupplyPolicy = SupplyPolicy.AUTO
    policy_until: float | None = None
    policy_at: float = 0.0
    protected_at: float | None = None
    emergency: bool = False
    safety: SafetyLock | None = None
    lease_until: float = 0.0
    off_from: int | None = None  # timetable: seconds of the day from which it is off until `off_to`
    off_to: int = 0
    charged_wh: int = 0  # how far the book is
    read_wh: int = 0  # what was read last
    hold: bool = False
    measured: float = -1.0  # when the newest reading that reached the book was truly made
    calm_until: float = 0.0  # until then a sweep finds nothing that changes a decision
    row: Row = field(default_factory=Row)

    def accrue(self, now: float) -> None:
        """Count what flowed until now."""
        if self.closed:
            self.energy_ws += self.load_w * (now - self.since)
        self.since = now

    def obey(self, kind: CommandKind, now: float) -> None:
        """Switch as a command says."""
        self.switch(kind is not CommandKind.TRIP, now)

    def switch(self, closed: bool, now: float) -> None:
        """The relay moves, whoever moved it."""
        self.accrue(now)
        self.closed = closed
        self.calm_until = 0.0

    def policy_now(self, now: float) -> SupplyPolicy:
        """The policy that holds (C23: until when)."""
        over = self.policy_until is not None and self.policy_until <= now
        return SupplyPolicy.AUTO if over else self.policy


@dataclass(slots=True, eq=False)
class Purse:
    """A purse as the book has it, and what is true of it beside the book.

    `balance`: posted; `right`: what it were at the price that was meant; `orders`: open ones; `in_flight`:
    paid at the channel and not booked; `priced`: Wh and hao charged by each version of the price.
    `low`: the warning's episode stands; `warned_at`: its message was accepted; `heard`: when the customer's
    phone rang, with what was available in truth; `reachable`: channels that he bound.
    """

    no: int
    balance: int
    habit: str
    reachable: tuple[str, ...]
    overdraft: int = 0
    right: int = 0
    orders: int = 0
    in_flight: int = 0
    low: bool = False
    episode: int = 0
    warned_at: float | None = None
    meters: list[Meter] = field(default_factory=list)
    priced: dict[int, list[int]] = field(default_factory=dict)
    settled_at: float = -1.0


@dataclass(slots=True, eq=False)
class Site:
    """A project for some days from `begins` (a midnight of its zone)."""

    begins: datetime
    days: int
    opens: int  # of its cut window, seconds of the day
    closes: int
    notice: float
    alarm: int  # hao
    gateways: list[Gateway]
    meters: list[Meter]
    purses: list[Purse]
    prices: list[int] = field(default_factory=lambda: [PRICE_HAO])  # by version, the last one holds
    charging_off_until: float = 0.0
    down: dict[str, float] = field(default_factory=dict)  # channel of messages -> until when
    trips: deque[tuple[float, Gateway]] = field(default_factory=deque)
