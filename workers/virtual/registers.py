"""The register table of the virtual prepaid meters (reference/meter-protocols.md sections 5.1 to 5.4).

DDSY1352, DTSY1352, ADF300's circuits and what is taken for their like share one table; `Family` says
where they differ. Registers inside a known block that are not modelled read as zero; others do not
exist. Written from the reference, not from the profiles.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.kernel.clock import CHINA

from .load_control import MALIGNANT_LOAD, OVERLOAD
from .state import MeterSpec, MeterState, drawn_w

FORCED_CONTROL, SALE, FEE_WRITE, LOAD_WRITE, FORCED_PHASES, CLOCK_WRITE = (
    0x0057, 0x0100, 0x0200, 0x0400, 0x0500, 0x0354,
)  # fmt: skip
TABLE_REGISTERS, ZONE_REGISTERS = 21, 6
ADF300 = 10
_CENTI_KWH = 10  # Wh
_VOLTAGE_DV = 2200  # 220.0 V
_POWER_FACTOR = 980
_MOST_W = 0x7FFF
_POLL = struct.Struct(">H3H3H4h4h4H2H5Ii3H2HI7BH4BBBB")


@dataclass(frozen=True, slots=True)
class Family:
    """Where the prepaid models differ. `ct`, `pt`: what hangs before it; its registers then show
    secondary values. `by_phase`: the forced control is function 20h, phase by phase."""

    type_code: int
    phases: int
    zones: int
    tables: tuple[int, int]
    fee: int
    load: int
    by_phase: bool = False
    ct: int = 1
    pt: int = 1
    box_class: int = 0
    box: tuple[int, int] | None = None  # three-phase and single-phase circuits of the box


@dataclass(frozen=True, slots=True)
class Shown:
    """What a meter shows of itself at an instant: its state, its count, its clock (China)."""

    spec: MeterSpec
    family: Family
    state: MeterState
    count: int
    clock: int

    @property
    def power_w(self) -> int:
        """Drawn now, on the primary side."""
        return drawn_w(self.state, self.spec) if self.state.closed else 0


Blocks = tuple[tuple[int, int, Callable[[Shown], bytes]], ...]


def blocks_of(family: Family) -> Blocks:
    """The known blocks of a family, the one that is read most first: (address, count, builder)."""
    box = family.type_code == ADF300
    return (
        (0x0200, 48, _poll),
        (0x0000, 99, _measurement),
        (family.fee, 18 if box else 25, _box_fee if box else _fee),
        (family.load, 8 if box else 1 + 6 * family.phases, _load),
        *_calendar(family),
        (0x0362, 3, _number),
        (0x0903, 8, _box),
        (0x5030, 2, lambda shown: bytes(4)),
    )


def read(blocks: Blocks, shown: Shown, address: int, count: int) -> bytes | None:
    """The bytes of `count` registers from `address` on; None when they lie in no known block."""
    for first, length, build in blocks:
        if first <= address and address + count <= first + length:
            data = build(shown).ljust(2 * length, b"\0")
            return data[2 * (address - first) :][: 2 * count]
    return None


def _calendar(family: Family) -> Blocks:
    """The day tables, with the zones before or behind them, or among the measurements."""
    first, both = family.tables[0], 2 * TABLE_REGISTERS
    if family.zones + ZONE_REGISTERS == first:
        return ((family.zones, 48, lambda shown: _zones(shown) + _tables(shown)),)
    if first + both == family.zones:
        return ((first, 48, lambda shown: _tables(shown) + _zones(shown)),)
    return ((first, both, _tables),)


def _energies(shown: Shown) -> list[int]:
    total, bands = shown.state.shown_wh()
    ratio = shown.family.ct * shown.family.pt
    return [value // ratio // _CENTI_KWH for value in (total, *bands)]


def _electric(shown: Shown) -> tuple[list[int], list[int], list[int]]:
    """Per phase: voltage 0.1 V, current 0.01 A, power W, on the meter's own side."""
    family = shown.family
    whole = shown.power_w // (family.ct * family.pt)
    share = whole // family.phases
    powers = [whole - share * (family.phases - 1)] + [share] * (family.phases - 1)
    powers = [min(power, _MOST_W) for power in powers]  # a register ends there, it does not wrap
    # I = P / (U x PF): W -> 0.01 A with U in 0.1 V and PF in 0.001.
    currents = [power * 1_000_000 // (_VOLTAGE_DV * _POWER_FACTOR) for power in powers]
    absent = [0] * (3 - family.phases)
    return [_VOLTAGE_DV] * family.phases + absent, currents + absent, powers + absent


def _poll(shown: Shown) -> bytes:
    family, state = shown.family, shown.state
    volts, amps, watts = _electric(shown)
    factors = [_POWER_FACTOR] * family.phases + [0] * (3 - family.phases)
    clock = datetime.fromtimestamp(shown.clock, UTC).astimezone(CHINA)
    return _POLL.pack(
        family.type_code, *volts, *amps, *watts, min(sum(watts), _MOST_W),
        0, 0, 0, 0, *factors, _POWER_FACTOR,
        family.pt, family.ct, *_energies(shown), state.remaining_fen, shown.count,
        state.load.trips, state.settings.load.trips, status(shown), controls(shown), 0,
        # Sunday is 1, as in the official sample of section 6.1.
        clock.year % 100, clock.month, clock.day, clock.isoweekday() % 7 + 1,
        clock.hour, clock.minute, clock.second,
        0, 0, 0, 0, 0, 0, family.box_class, 0 if family.phases == 3 else 1,
    )  # fmt: skip


def status(shown: Shown) -> int:
    """The status word: relays of the phases, and what the meter warns of."""
    state, settings = shown.state, shown.state.settings
    phases = (1 << shown.family.phases) - 1
    word = (phases << 13 if state.closed else 0) | (phases if state.closed else 0)
    word |= 0x08 if settings.fee_on else 0
    word |= 0x10 if 0 < settings.load.most_w < shown.power_w else 0
    word |= 0x20 if state.arrears else 0
    word |= 0x40 if settings.fee_on and state.remaining_fen <= settings.alarm1_fen else 0
    word |= 0x80 if settings.fee_on and state.remaining_fen <= settings.alarm2_fen else 0
    return word


def controls(shown: Shown) -> int:
    """The word of the meter's own controls: each on or off, and the phases that it leaves closed. There is no
    time control in it."""
    if not shown.state.settings.load.on:
        return 0
    phases, cut = (1 << shown.family.phases) - 1, shown.state.load.cut
    load = 0x08 | (0 if cut == OVERLOAD else phases)
    malignant = 0x08 | (0 if cut == MALIGNANT_LOAD else phases)
    return load << 8 | malignant


def _measurement(shown: Shown) -> bytes:
    state, settings, family = shown.state, shown.state.settings, shown.family
    volts, amps, watts = _electric(shown)
    image = bytearray(2 * 99)
    _put(image, 0x0000, ">5I", *_energies(shown))
    _put(image, 0x000B, ">HHh", volts[0], amps[0], min(sum(watts), _MOST_W))
    _put(image, 0x0010, ">H", _POWER_FACTOR)
    if family.zones < 0x63:
        _put(image, family.zones, "12s", settings.zones)
    _put(image, 0x0037, ">2H", family.ct, family.pt)
    _put(image, 0x0043, "6s", _bcd(state.number))
    _put(image, 0x0046, ">3I", settings.alarm1_fen, settings.alarm2_fen, settings.overdraft_fen)
    _put(image, 0x004E, ">Hi", shown.count, state.remaining_fen)
    _put(image, FORCED_CONTROL, ">2H", state.forced, state.forced_open)
    _put(image, 0x0059, ">4I", *settings.prices)
    _put(image, 0x0061, ">H", settings.load.most_w)
    return bytes(image)


def _fee(shown: Shown) -> bytes:
    state, settings = shown.state, shown.state.settings
    image = bytearray(50)
    _put(image, 0x00, ">2H4I", settings.fee_on, shown.count, *settings.prices)
    _put(image, 0x0A, ">3I", settings.alarm1_fen, settings.alarm2_fen, settings.overdraft_fen)
    _put(image, 0x14, ">i", state.remaining_fen)
    return bytes(image)


def _box_fee(shown: Shown) -> bytes:
    settings = shown.state.settings
    image = bytearray(36)
    _put(image, 0x00, ">H4I", settings.fee_on, *settings.prices)
    _put(image, 0x09, ">2I", settings.alarm1_fen, settings.alarm2_fen)
    _put(image, 0x0F, ">H", shown.count)
    return bytes(image)


def _load(shown: Shown) -> bytes:
    told, box = shown.state.settings.load, shown.family.type_code == ADF300
    one = struct.pack(
        ">5H", told.most_w, told.step_w, told.factor_permille, told.odd_word, told.trips
    )
    # The box has a register for each of what shares one in the others.
    one += struct.pack(">2H" if box else ">2B", told.restore_minutes, told.odd_byte)
    copies = 1 if box else shown.family.phases
    return struct.pack(">H", told.on) + one * copies


def _zones(shown: Shown) -> bytes:
    return shown.state.settings.zones.ljust(2 * ZONE_REGISTERS, b"\0")


def _tables(shown: Shown) -> bytes:
    size = 2 * TABLE_REGISTERS
    tables = (*shown.state.settings.tables, b"", b"")[:2]
    return b"".join(table.ljust(size, b"\0") for table in tables)


def _number(shown: Shown) -> bytes:
    return _bcd(shown.state.number)


def _box(shown: Shown) -> bytes:
    three, single = shown.family.box or (0, 0)
    return struct.pack(">2H", three, single) + _bcd(shown.state.number)[1:] + bytes(7)


def _put(image: bytearray, register: int, form: str, *values: object) -> None:
    struct.pack_into(form, image, 2 * register, *values)


def _bcd(number: str) -> bytes:
    digits = "".join(filter(str.isdecimal, number))
    return bytes.fromhex(digits[-12:].rjust(12, "0"))
