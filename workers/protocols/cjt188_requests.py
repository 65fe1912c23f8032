"""Questions to a CJ/T 188 meter: the request on the wire and the answer it must get."""

from __future__ import annotations

from dataclasses import dataclass

from backend.kernel.errors import InvalidInput

from .cjt188 import (
    ANY_ADDRESS,
    READ,
    READ_ADDRESS,
    WRITE,
    Cjt188Answer,
    Cjt188Frame,
    parse_frame,
)
from .cjt188_values import (
    ADDRESS,
    PURCHASE_DATA,
    READING,
    WRITE_PURCHASE,
    WRITE_VALVE,
    Dialect,
    ValveOrder,
    to_bcd,
)
from .errors import MeterRefused

_WAKE_UP = 4
_PLAIN = Dialect()


@dataclass(frozen=True, slots=True)
class Question:
    """A request frame ready for the wire and what its answer must look like."""

    request: bytes
    expected: Cjt188Answer


def ask(frame: Cjt188Frame) -> Question:
    """The question of a request frame. Raises InvalidInput for a field out of range."""
    return Question(frame.encode(), Cjt188Answer(frame))


def read_meter(
    *, kind: int, address: str, ser: int = 0, dialect: Dialect = _PLAIN, wake_up: int = _WAKE_UP
) -> Question:
    """Ask for the reading (901F): cjt188_values.water_reading or heat_reading reads the answer."""
    data = _data(READING, ser, b"", dialect)
    return ask(Cjt188Frame(kind, address, READ, data, wake_up))


def read_purchase(
    *, kind: int, address: str, ser: int = 0, dialect: Dialect = _PLAIN, wake_up: int = _WAKE_UP
) -> Question:
    """Ask for the purchase data (8105) of a meter that holds them."""
    data = _data(PURCHASE_DATA, ser, b"", dialect)
    return ask(Cjt188Frame(kind, address, READ, data, wake_up))


def read_address(
    *, kind: int, ser: int = 0, dialect: Dialect = _PLAIN, wake_up: int = _WAKE_UP
) -> Question:
    """Ask the only meter on the line for its address (810A): the answer's address field is it."""
    data = _data(ADDRESS, ser, b"", dialect)
    return ask(Cjt188Frame(kind, ANY_ADDRESS, READ_ADDRESS, data, wake_up))


def order_valve(
    *,
    kind: int,
    address: str,
    order: ValveOrder,
    ser: int = 0,
    dialect: Dialect = _PLAIN,
    wake_up: int = _WAKE_UP,
) -> Question:
    """Order the valve (A017). The answer means "taken", not "moved": read 901F until the status says so."""
    data = _data(WRITE_VALVE, ser, bytes([order]), dialect)
    return ask(Cjt188Frame(kind, address, WRITE, data, wake_up))


def write_purchase(
    *,
    kind: int,
    address: str,
    sequence: int,
    amount_hundredths: int,
    ser: int = 0,
    dialect: Dialect = _PLAIN,
    wake_up: int = _WAKE_UP,
) -> Question:
    """Credit purchase `sequence` (0-255) of `amount_hundredths` (fen, or 1/100 m3) (A013).

    After a time-out read 8105, never resend blindly (C8, C9). Raises InvalidInput when it does not fit.
    """
    if not 0 <= sequence <= 255:
        raise InvalidInput(f"purchase number {sequence} does not fit a byte", field="sequence")
    value = bytes([sequence]) + to_bcd(amount_hundredths, size=4)
    data = _data(WRITE_PURCHASE, ser, value, dialect)
    return ask(Cjt188Frame(kind, address, WRITE, data, wake_up))


def accepted(raw: bytes) -> Cjt188Frame:
    """The answer frame when the meter did not refuse. Raises MeterRefused, FrameError.

    The refusal is the two status bytes as one number, high first: their bits are the maker's own.
    """
    frame = parse_frame(raw)
    if frame.is_error:
        status = frame.data[1:3]
        raise MeterRefused(
            f"meter {frame.address} refused control {frame.control & 0x3F:02X}: "
            f"status {status.hex(' ').upper() or 'none'}",
            refusal=int.from_bytes(status, "big"),
        )
    return frame


def _data(di: int, ser: int, value: bytes, dialect: Dialect) -> bytes:
    return di.to_bytes(2, "little" if dialect.di_low_first else "big") + bytes([ser]) + value
