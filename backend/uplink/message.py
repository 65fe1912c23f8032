"""What sealed frames say: READ, CMD, RES, ALARM, PING, BYE as strict JSON.

Money is integer fen, energy and heat integer Wh, volume integer litres, power integer W, voltage mV,
current mA, instants unix seconds. Every field is always there (null where it may be); an unknown one is
refused. So `settings`, which came later, is there only where it says something: a message that needs none
is what it always was, and a box of an older version takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Final
from uuid import UUID

from backend.kernel.band_calendar import BANDS, CALENDAR_NAMES

from .errors import CommandExpired, MessageRefused, TripHeld
from .fields import (
    Field,
    choice,
    counts,
    instant,
    integer,
    names,
    parse,
    read_fields,
    record,
    text,
    uuid,
    write_fields,
)
from .frame import FrameType

TRIP_LIFE = timedelta(seconds=120)  # trust.md finding 4: never "retry until it works"
COMMAND_LIFE = timedelta(hours=24)
_WH: Final = 10**15
_FEN: Final = 10**11  # a thousand million yuan, either way
_COUNT: Final = 2**31 - 1
_METER: Final = r"[0-9A-Za-z_-]{1,36}"


class Op(StrEnum):
    """What a command asks of a meter. RELEASE ends a forced state: the meter's money decides. CLOSE
    closes now, ALLOW_CLOSE lets the customer do it. READ and WALLET change nothing.

    PRICES, CALENDAR, THRESHOLDS and LOAD_LIMITS ask what the meter holds, SET_.. write what the command's
    `settings` say (SET_CLOCK: the gateway's time). TARIFF touches no meter: it asks whether the gateway knows
    settings of version `tariff_ver` (CALENDAR came with CALENDAR_VERSION, the others with SETTINGS_VERSION).
    A gateway that does not says NOT_SUPPORTED to it, and nothing at all to the others."""

    TRIP = "TRIP"
    KEEP_POWER = "KEEP_POWER"
    RELEASE = "RELEASE"
    CLOSE = "CLOSE"
    ALLOW_CLOSE = "ALLOW_CLOSE"
    VEND = "VEND"
    TARIFF = "TARIFF"
    READ = "READ"
    WALLET = "WALLET"
    PRICES = "PRICES"
    SET_PRICES = "SET_PRICES"
    CALENDAR = "CALENDAR"
    SET_CALENDAR = "SET_CALENDAR"
    THRESHOLDS = "THRESHOLDS"
    SET_THRESHOLDS = "SET_THRESHOLDS"
    LOAD_LIMITS = "LOAD_LIMITS"
    SET_LOAD_LIMITS = "SET_LOAD_LIMITS"
    SET_CLOCK = "SET_CLOCK"


SETTINGS_VERSION: Final = 1
CALENDAR_VERSION: Final = 2
_BANDS = frozenset(BANDS)
SETTINGS: Final[Mapping[Op, frozenset[str]]] = {
    Op.SET_PRICES: _BANDS,
    Op.SET_CALENDAR: CALENDAR_NAMES,
    Op.SET_THRESHOLDS: frozenset({"alarm1", "alarm2", "overdraft", "overload_w"}),
    Op.SET_LOAD_LIMITS: frozenset(
        {"on", "most_w", "step_w", "factor_permille", "trips", "restore_minutes"}
    ),
}
"""What the settings of a command may name; money in hao (a price: per kWh), `on` 1 or 0, a calendar as
kernel.band_calendar has it."""


class Dar(IntEnum):
    """What came of a command. Below 200 the numbers of DL/T 698.45 (数据访问结果), from 200 our own.

    The meter was not touched: NOT_SENT (bus or meter out of reach, gateway full), NOT_SUPPORTED (by the
    model or the gateway), NO_METER (not on this gateway), OUT_OF_RANGE, COUNT_WRONG (N is neither the
    meter's count nor the next), TIME_TAG (expired or issued in the future), TRIP_HELD (clocks differ),
    SUPERSEDED (a newer command of its family to the meter). REFUSED: the meter itself said no, or the
    command's id came before with other content. DUPLICATE: the meter has taken sale N already. It may have
    acted: NO_ANSWER, BROKEN_ANSWER, and any number not known here.
    """

    SUCCESS = 0
    NOT_SENT = 2
    REFUSED = 3
    NOT_SUPPORTED = 4
    NO_METER = 6
    OUT_OF_RANGE = 8
    DUPLICATE = 21
    COUNT_WRONG = 25
    TIME_TAG = 32
    NO_ANSWER = 33
    BROKEN_ANSWER = 200
    TRIP_HELD = 201
    SUPERSEDED = 202


class RelayState(StrEnum):
    """The relay as the meter reports it."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    UNKNOWN = "UNKNOWN"


class Farewell(StrEnum):
    """Why a side ends the session."""

    RESTART = "RESTART"
    REKEY = "REKEY"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """What a meter said of itself. `at` is the gateway's instant (with the meter it names the reading,
    C24), `meter_time` the meter's own clock. What the meter does not have is None, or empty; of its
    total only the one of its kind is there: `energy_wh`, `volume_l` or `heat_wh`."""

    at: datetime
    relay: RelayState
    meter_time: datetime | None = None
    energy_wh: int | None = None
    bands_wh: Mapping[str, int] = field(default_factory=dict)
    volume_l: int | None = None
    heat_wh: int | None = None
    cold_wh: int | None = None
    voltage_mv: int | None = None
    current_ma: int | None = None
    power_w: int | None = None
    wallet_fen: int | None = None
    purchase_no: int | None = None
    flags: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.purchase_no is not None and self.wallet_fen is None:
            raise MessageRefused("a purchase number without a wallet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Registers):
    """One reading of `meter` (its serial). `frame_no` rises by one for each reading of the gateway,
    over restarts; it may arrive in another order, and a number that never comes was dropped there."""

    meter: str
    frame_no: int


@dataclass(frozen=True, slots=True)
class Cmd:
    """A command: `issued` and `expires` are absolute. A trip lives 120 s at most, others 24 hours.

    VEND carries `purchase_no` and `amount_fen` above zero, TARIFF `tariff_ver`, what sets something
    `settings` (see SETTINGS), the others none.
    """

    cmd_id: UUID
    meter: str
    op: Op
    issued: datetime
    expires: datetime
    purchase_no: int | None = None
    amount_fen: int | None = None
    tariff_ver: int | None = None
    settings: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        vend, tariff = self.op is Op.VEND, self.op is Op.TARIFF
        if (self.purchase_no is not None) != vend or (self.amount_fen is not None) != vend:
            raise MessageRefused("CMD: VEND has a number and an amount, others have none")
        if (self.tariff_ver is not None) != tariff:
            raise MessageRefused("CMD: TARIFF has a version, others have none")
        names = SETTINGS.get(self.op, frozenset())
        if bool(names) != bool(self.settings) or self.settings == {}:
            raise MessageRefused("CMD: what sets something has settings, others have none")
        if self.settings and not self.settings.keys() <= names:
            raise MessageRefused("CMD: settings of another kind")
        most = TRIP_LIFE if self.op is Op.TRIP else COMMAND_LIFE
        if not timedelta(0) < self.expires - self.issued <= most:
            raise MessageRefused("CMD: expires too late, or before it was issued")

    def refuse_unless_due(self, *, at: datetime, trips_allowed: bool) -> None:
        """Asked right before the meter is touched, with `at` the gateway's clock.

        Raises CommandExpired (no longer, or issued more than the tolerated 300 s ahead), TripHeld (a
        trip, or a clock to be set, in a session whose clocks differ by more than 60 s).
        """
        if at >= self.expires or self.issued - at > timedelta(seconds=300):
            raise CommandExpired("the command is not valid at this time")
        if self.op in (Op.TRIP, Op.SET_CLOCK) and not trips_allowed:
            raise TripHeld("no trip, and no clock set, while the clocks differ")


@dataclass(frozen=True, slots=True)
class Res:
    """What came of a command. `dar` is one of Dar (or a number that a newer gateway knows); the rest is
    read back from the meter after it, None when it could not be. `reading` is the whole meter: always
    there after a READ that succeeded, after other commands when it could be read. `settings` is what the
    meter holds, after a command that asks for it or has set it."""

    cmd_id: UUID
    dar: int
    relay: RelayState | None = None
    wallet_fen: int | None = None
    purchase_no: int | None = None
    reading: Registers | None = None
    settings: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if (self.wallet_fen is None) != (self.purchase_no is None):
            raise MessageRefused("RES: wallet and purchase number belong together")


@dataclass(frozen=True, slots=True)
class Alarm:
    """The gateway or one of its meters (`meter` None: the gateway itself) raises `name`."""

    name: str
    since: datetime
    meter: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """I am here; `backlog` readings wait to be sent. The cloud answers a gateway's PING with the same
    `at` once all frames before it are there and stored: `at` rises from PING to PING of a session."""

    at: datetime
    backlog: int = 0


@dataclass(frozen=True, slots=True)
class Bye:
    """The session ends."""

    reason: Farewell


Message = Read | Cmd | Res | Alarm | Ping | Bye


@dataclass(frozen=True, slots=True)
class _Shape:
    """`later`: fields that are absent where they are None."""

    build: Callable[..., Message]
    most: int
    fields: Mapping[str, Field]
    later: Mapping[str, Field] = field(default_factory=dict)


_SETTINGS: Mapping[str, Field] = {
    "settings": counts(frozenset[str]().union(*SETTINGS.values()), low=-_FEN, high=_FEN)
}
_WALLET = integer(-_FEN, _FEN, optional=True)

_FLAGS = frozenset({"arrears", "alarm1", "alarm2", "overload", "fault"}) | {
    "overload_cut",
    "malignant_load_cut",
    "timetable_cut",
}
_REGISTERS: Mapping[str, Field] = {
    "at": instant(),
    "meter_time": instant(optional=True),
    "relay": choice(RelayState),
    "energy_wh": integer(0, _WH, optional=True),
    "bands_wh": counts(_BANDS, high=_WH),
    "volume_l": integer(0, _WH, optional=True),
    "heat_wh": integer(0, _WH, optional=True),
    "cold_wh": integer(0, _WH, optional=True),
    "voltage_mv": integer(0, 10**9, optional=True),
    "current_ma": integer(-(10**9), 10**9, optional=True),
    "power_w": integer(-(10**9), 10**9, optional=True),
    "wallet_fen": _WALLET,
    "purchase_no": integer(0, _COUNT, optional=True),
    "flags": names(_FLAGS),
}

_SHAPES: Mapping[FrameType, _Shape] = {
    FrameType.READ: _Shape(
        Read,
        1024,
        {"meter": text(_METER), "frame_no": integer(1, 2**63 - 1), **_REGISTERS},
    ),
    FrameType.CMD: _Shape(
        Cmd,
        4096,
        {
            "cmd_id": uuid(),
            "meter": text(_METER),
            "op": choice(Op),
            "issued": instant(),
            "expires": instant(),
            "purchase_no": integer(1, _COUNT, optional=True),
            "amount_fen": integer(1, _FEN, optional=True),
            "tariff_ver": integer(1, _COUNT, optional=True),
        },
        later=_SETTINGS,
    ),
    FrameType.RES: _Shape(
        Res,
        4096,
        {
            "cmd_id": uuid(),
            "dar": integer(0, 255),
            "relay": choice(RelayState, optional=True),
            "wallet_fen": _WALLET,
            "purchase_no": integer(0, _COUNT, optional=True),
            "reading": record(Registers, _REGISTERS),
        },
        later=_SETTINGS,
    ),
    FrameType.ALARM: _Shape(
        Alarm,
        256,
        {
            "name": text(r"[A-Z][A-Z0-9_]{0,31}"),
            "since": instant(),
            "meter": text(_METER, optional=True),
        },
    ),
    FrameType.PING: _Shape(Ping, 128, {"at": instant(), "backlog": integer(0, _COUNT)}),
    FrameType.BYE: _Shape(Bye, 64, {"reason": choice(Farewell)}),
}
_TYPES: Mapping[object, FrameType] = {shape.build: kind for kind, shape in _SHAPES.items()}


def encode(message: Message) -> tuple[FrameType, bytes]:
    """Frame type and canonical JSON, held to the same rules as what comes in. Raises
    MessageRefused."""
    kind = _TYPES[type(message)]
    shape = _SHAPES[kind]
    fields = _fields(shape, {name for name in shape.later if getattr(message, name) is not None})
    payload = write_fields({name: getattr(message, name) for name in fields}, fields)
    decode(kind, payload)
    return kind, payload


def decode(kind: FrameType, payload: bytes) -> Message:
    """The message of an opened frame. Raises MessageRefused."""
    shape = _SHAPES.get(kind)
    if shape is None:
        raise MessageRefused(f"{kind.name} carries no message")
    value = parse(payload, most=shape.most)
    fields = _fields(shape, shape.later.keys() & value.keys())
    return shape.build(**read_fields(value, fields, where=kind.name))


def _fields(shape: _Shape, told: Set[str]) -> Mapping[str, Field]:
    """The fields of a message that says the later ones of `told`."""
    return {**shape.fields, **{name: shape.later[name] for name in told}} if told else shape.fields
