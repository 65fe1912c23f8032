"""What CJ/T 188 data bytes mean: identifiers, amounts with units, clock, status, valve. No float (C2).

Amounts are exact decimal strings as the meter shows them; all FF means the meter has none. Source:
reference/meter-protocols.md sections 3.4-3.8; the two forms of 901F are backed by public frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum, IntEnum

from backend.kernel.errors import InvalidInput

from .errors import BadValue, LongAnswer, ShortAnswer

READING = 0x901F
PURCHASE_DATA = 0x8105
ADDRESS = 0x810A
WRITE_PURCHASE = 0xA013
WRITE_VALVE = 0xA017
WRITE_ADDRESS = 0xA018

WATER_SIZE, HEAT_SIZE = 0x16, 0x2E
_ENERGY = {
    0x02: "Wh", 0x05: "kWh", 0x08: "MWh", 0x0A: "MWh*100",
    0x01: "J", 0x0B: "kJ", 0x0E: "MJ", 0x11: "GJ", 0x13: "GJ*100",
}  # fmt: skip
_POWER = {0x14: "W", 0x17: "kW", 0x1A: "MW"}
_VOLUME = {0x29: "L", 0x2C: "m3"}
_FLOW = {0x32: "L/h", 0x35: "m3/h"}
UNITS = _ENERGY | _POWER | _VOLUME | _FLOW
_HEAT_FIELDS = ((_ENERGY, 2), (_ENERGY, 2), (_POWER, 2), (_FLOW, 4), (_VOLUME, 2))
_WATER_FIELDS = ((_VOLUME, 2), (_VOLUME, 2))
_FIELD = 5  # four BCD bytes and a unit byte, in either order
_GROUPS = frozenset({0x81, 0x90, 0x91, 0xA0, 0xA1, *range(0xD0, 0xD5)})
_KNOWN = frozenset(
    {READING, 0x911F, 0x903F, 0x904F, 0x905F, 0x906F, 0x907F, ADDRESS}
    | set(range(0x8102, 0x8107)) | set(range(0xA010, 0xA01A)) | set(range(0xA101, 0xA108))
    | set(range(0xD120, 0xD12C))
)  # fmt: skip


class ValveBits(Enum):
    """What the two low bits of the first status byte mean; makes differ."""

    STANDARD = ("open", "closed", "reserved", "abnormal")
    MOVING_IS_1 = ("open", "moving", "closed", "abnormal")


class ValveOrder(IntEnum):
    """The value byte of a valve command (A017); 55 and 99 are common, the others some makes' own."""

    READ_STATE = 0x00
    OPEN = 0x55
    CLOSE = 0x99
    FREE_OPEN = 0x66
    FREE_CLOSE = 0x77


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one make differs: DI order in requests, unit byte before its value (None: look), valve bits."""

    di_low_first: bool = False
    unit_first: bool | None = None
    valve_bits: ValveBits = ValveBits.STANDARD


@dataclass(frozen=True, slots=True)
class Measured:
    """An amount as the meter shows it (`value` None: all FF) and its unit."""

    value: str | None
    unit: str


@dataclass(frozen=True, slots=True)
class WaterReading:
    """901F of a water or gas meter. `clock` is the meter's own local time, None when it has none."""

    current: Measured
    settlement: Measured
    clock: str | None
    status: bytes
    valve: str
    battery_low: bool


@dataclass(frozen=True, slots=True)
class HeatReading:
    """901F of a heat meter. Which energy is heat or cold, now or at settlement, is the profile's word."""

    energy_1: Measured
    energy_2: Measured
    power: Measured
    flow: Measured
    volume: Measured
    supply_temp_c: str | None
    return_temp_c: str | None
    working_hours: str | None
    clock: str | None
    status: bytes


@dataclass(frozen=True, slots=True)
class PurchaseData:
    """8105 of a meter that holds money or volume: last purchase, its number, total, remaining.

    Layout by the standard, unseen on a real meter: believe it only where a profile says it was.
    """

    sequence: int
    last: str | None
    total: str | None
    remaining: str | None
    status: bytes


def identifier(wire: bytes) -> int:
    """The data identifier of two wire bytes in whichever order they were sent; 1F 90 is 901F."""
    high_first, low_first = int.from_bytes(wire[:2], "big"), int.from_bytes(wire[:2], "little")
    for known in (_KNOWN, {di for di in (high_first, low_first) if di >> 8 in _GROUPS}):
        for di in (high_first, low_first):
            if di in known:
                return di
    return high_first


def digits(raw: bytes) -> str | None:
    """The decimal digits of BCD bytes, low byte first; None when all are FF. Raises BadValue."""
    text = raw[::-1].hex()
    if raw and set(raw) == {0xFF}:
        return None
    if not text.isdecimal():
        raise BadValue(f"the value bytes {raw.hex(' ').upper()} are not BCD")
    return text


def decimal(raw: bytes, *, places: int) -> str | None:
    """BCD bytes, low first, as an exact decimal string without leading zeros. Raises BadValue."""
    text = digits(raw)
    if text is None:
        return None
    whole, fraction = (text[:-places], text[-places:]) if places else (text, "")
    return f"{int(whole or '0')}{'.' if places else ''}{fraction}"


def to_bcd(value: int, *, size: int) -> bytes:
    """`value` as `size` BCD bytes, low first. Raises InvalidInput when it does not fit."""
    text = f"{value:0{2 * size}d}"
    if value < 0 or len(text) != 2 * size:
        raise InvalidInput(f"{value} does not fit {size} BCD bytes")
    return bytes.fromhex(text)[::-1]


def clock(raw: bytes) -> str | None:
    """ss mm hh DD MM YY CC as "YYYY-MM-DD hh:mm:ss"; None for a clock that is not set or broken.

    Never raises: pulse and photo meters have no clock, and their reading counts all the same.
    """
    text = raw[::-1].hex()
    if len(text) != 14 or not text.isdecimal():
        return None
    day, hour, minute, second = text[:8], text[8:10], text[10:12], text[12:]
    try:
        written = date(int(day[:4]), int(day[4:6]), int(day[6:])).isoformat()
    except ValueError:
        return None
    if hour > "23" or minute > "59" or second > "59":
        return None
    return f"{written} {hour}:{minute}:{second}"


def valve_of(status: bytes, *, bits: ValveBits = ValveBits.STANDARD) -> str:
    """What the first status byte says of the valve: open, closed, moving, reserved or abnormal."""
    words: tuple[str, ...] = bits.value
    return words[status[0] & 3]


def water_reading(data: bytes, *, dialect: Dialect) -> WaterReading:
    """The 22 data bytes of a water or gas answer to 901F. Raises ShortAnswer, LongAnswer, BadValue."""
    _check_size(data, WATER_SIZE)
    current, settlement = _measures(data[3:13], fields=_WATER_FIELDS, dialect=dialect)
    status = data[20:22]
    return WaterReading(
        current=current,
        settlement=settlement,
        clock=clock(data[13:20]),
        status=status,
        valve=valve_of(status, bits=dialect.valve_bits),
        battery_low=bool(status[0] & 4),
    )


def heat_reading(data: bytes, *, dialect: Dialect) -> HeatReading:
    """The 46 data bytes of a heat answer to 901F. Raises ShortAnswer, LongAnswer, BadValue."""
    _check_size(data, HEAT_SIZE)
    measures = _measures(data[3:28], fields=_HEAT_FIELDS, dialect=dialect)
    energy_1, energy_2, power, flow, volume = measures
    return HeatReading(
        energy_1=energy_1,
        energy_2=energy_2,
        power=power,
        flow=flow,
        volume=volume,
        supply_temp_c=decimal(data[28:31], places=2),
        return_temp_c=decimal(data[31:34], places=2),
        working_hours=decimal(data[34:37], places=0),
        clock=clock(data[37:44]),
        status=data[44:46],
    )


def purchase_data(data: bytes) -> PurchaseData:
    """The 18 data bytes of an answer to 8105. Raises ShortAnswer, LongAnswer, BadValue."""
    _check_size(data, 18)
    last, total, remaining = (decimal(data[at : at + 4], places=2) for at in (4, 8, 12))
    return PurchaseData(data[3], last, total, remaining, data[16:18])


def _check_size(data: bytes, size: int) -> None:
    if len(data) < size:
        raise ShortAnswer(f"{len(data)} data bytes, {size} are right")
    if len(data) > size:
        raise LongAnswer(f"{len(data)} data bytes, {size} are right")


def _measures(
    block: bytes, *, fields: tuple[tuple[dict[int, str], int], ...], dialect: Dialect
) -> list[Measured]:
    """The amounts of `block`; where the unit byte stands is told by the dialect or seen in the bytes.

    Seen: before, only when every byte there is a unit of its field and not every byte after is.
    """

    def all_units(offset: int) -> bool:
        codes = block[offset::_FIELD]
        return all(code in units for code, (units, _) in zip(codes, fields, strict=True))

    first = dialect.unit_first
    if first is None:
        first = all_units(0) and not all_units(_FIELD - 1)
    found = []
    for at, (_, places) in zip(range(0, len(block), _FIELD), fields, strict=True):
        field = block[at : at + _FIELD]
        code, raw = (field[0], field[1:]) if first else (field[-1], field[:-1])
        found.append(
            Measured(decimal(raw, places=places), UNITS.get(code, f"unknown ({code:02X})"))
        )
    return found
