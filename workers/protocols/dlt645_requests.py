"""The questions and orders of DL/T 645, ready for the wire.

Addresses are 12 digits in human order, identifiers 8 hexadecimal digits (4 in 1997). Every function
raises InvalidInput for what cannot be sent; nothing here knows the time: moments come as arguments,
in the meter's own zone, and their wall clock is what is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from backend.kernel.errors import InvalidInput

from .dlt645_answers import Question, ask
from .dlt645_frame import (
    ALL_METERS,
    ANY_METER,
    MAX_READ,
    MAX_WRITE,
    Edition,
    Frame,
    check_address,
)
from .dlt645_functions import (
    BAUD_CODES,
    BROADCAST_TIME,
    CHANGE_BAUD,
    DI_SIZE,
    FREEZE,
    OLD_READ,
    OLD_WRITE,
    READ,
    READ_ADDRESS,
    READ_NEXT,
    REMOTE_CONTROL,
    SECURITY,
    WRITE,
    WRITE_ADDRESS,
    Action,
)
from .dlt645_values import bcd_bytes, encode_moment

WAKE_UPS = 4
EVERY = 99
_NOBODY = bytes(4)


@dataclass(frozen=True, slots=True)
class Password:
    """Level (a byte; usually 02 for control and time, 04 for parameters) and three password bytes as
    on the wire, P0 first. The bytes stay out of repr, logs and decoded frames."""

    level: int
    secret: bytes = field(repr=False)

    @property
    def wire(self) -> bytes:
        """PA P0 P1 P2. Raises InvalidInput."""
        if not 0 <= self.level <= 0xFF or len(self.secret) != 3:
            raise InvalidInput("a password is a level byte and three bytes", field="password")
        return bytes([self.level]) + self.secret


def di_to_wire(di: str, *, edition: Edition = "2007") -> bytes:
    """The identifier bytes, low byte first. Raises InvalidInput."""
    size = DI_SIZE[edition]
    if not re.fullmatch(f"[0-9A-Fa-f]{{{2 * size}}}", di):
        raise InvalidInput(f"{di!r} is no identifier of {2 * size} digits", field="di")
    return bytes.fromhex(di)[::-1]


def read(
    *,
    address: str,
    di: str,
    blocks: int | None = None,
    since: datetime | None = None,
    edition: Edition = "2007",
    wake_up: int = WAKE_UPS,
) -> Question:
    """Read item `di`. `blocks` (0 to 99) load records, from `since` on (2007 only)."""
    data = di_to_wire(di, edition=edition)
    if (blocks is not None or since is not None) and edition == "1997":
        raise InvalidInput("1997 knows no blocks", field="blocks")
    if blocks is not None:
        data += _two_digits(blocks, "blocks")
    if since is not None:
        if blocks is None:
            raise InvalidInput("a start time needs a number of blocks", field="since")
        data += encode_moment(since.strftime("%Y-%m-%d %H:%M"))
    function = READ if edition == "2007" else OLD_READ
    return ask(Frame(check_address(address), function, data, wake_up), edition=edition)


def read_next(*, address: str, di: str, part: int, wake_up: int = WAKE_UPS) -> Question:
    """Read part 1 to 255 of a long answer (2007); `LongRead` asks for them in order."""
    if not 1 <= part <= 0xFF:
        raise InvalidInput(f"{part} is no part of an answer", field="part")
    return ask(Frame(check_address(address), READ_NEXT, di_to_wire(di) + bytes([part]), wake_up))


def read_address(*, wake_up: int = WAKE_UPS) -> Question:
    """Ask the only meter on the line for its address (2007)."""
    return ask(Frame(ANY_METER, READ_ADDRESS, b"", wake_up))


def write(
    *,
    address: str,
    di: str,
    data: bytes,
    password: Password,
    operator: bytes = _NOBODY,
    edition: Edition = "2007",
    wake_up: int = WAKE_UPS,
) -> Question:
    """Write `data` to item `di`; `operator` (4 bytes as on the wire, 2007 only) is logged by the meter.

    A frame that was sent and not answered may still have been obeyed: read back, do not resend (C9).
    """
    who = _operator(operator) if edition == "2007" else b""
    whole = di_to_wire(di, edition=edition) + password.wire + who + data
    if len(whole) > MAX_WRITE:
        raise InvalidInput(f"{len(whole)} bytes, {MAX_WRITE} can be written", field="data")
    function = WRITE if edition == "2007" else OLD_WRITE
    return ask(Frame(check_address(address), function, whole, wake_up), edition=edition)


def write_address(*, new_address: str, wake_up: int = WAKE_UPS) -> Question:
    """Give the only meter on the line another address; its programming key must be enabled."""
    data = bcd_bytes(_own_address(new_address))
    return ask(Frame(ANY_METER, WRITE_ADDRESS, data, wake_up))


def broadcast_time(*, moment: datetime, wake_up: int = WAKE_UPS) -> bytes:
    """Set the clock of all meters; none answers. The frame of 2007 and 1997 alike."""
    data = encode_moment(moment.strftime("%Y-%m-%d %H:%M:%S"))
    return Frame(ALL_METERS, BROADCAST_TIME, data, wake_up).encode()


def freeze(
    *,
    address: str,
    month: int = EVERY,
    day: int = EVERY,
    hour: int = EVERY,
    minute: int = EVERY,
    wake_up: int = WAKE_UPS,
) -> Question:
    """Freeze the registers at that time; 99 = every, all 99 = now. Every part after a given one is
    given too: day and hour and minute, not day alone."""
    return ask(_freeze(check_address(address), (month, day, hour, minute), wake_up))


def broadcast_freeze(
    *,
    month: int = EVERY,
    day: int = EVERY,
    hour: int = EVERY,
    minute: int = EVERY,
    wake_up: int = WAKE_UPS,
) -> bytes:
    """Freeze the registers of all meters; none answers."""
    return _freeze(ALL_METERS, (month, day, hour, minute), wake_up).encode()


def remote_control(
    *,
    address: str,
    action: Action,
    valid_until: datetime,
    password: Password,
    operator: bytes = _NOBODY,
    channel: int = 0,
    wake_up: int = WAKE_UPS,
) -> Question:
    """Trip, close, warn or keep power. After `valid_until` (meter-local, absolute) the meter must
    refuse, so a frame that lies in a gateway for an hour moves nothing: give it minutes.

    `channel` is N2, 0 by the standard; some vendors put the relay there.
    """
    until = encode_moment(valid_until.strftime("%Y-%m-%d %H:%M:%S"))
    order = bytes([action, _byte(channel, "channel")])
    data = password.wire + _operator(operator) + order + until
    return ask(Frame(check_address(address), REMOTE_CONTROL, data, wake_up))


def change_baud(*, address: str, baud: int, wake_up: int = WAKE_UPS) -> Question:
    """Change the speed of the meter's line: 600 to 19200."""
    if baud not in BAUD_CODES:
        raise InvalidInput(f"{baud} baud has no code", field="baud")
    return ask(Frame(check_address(address), CHANGE_BAUD, bytes([BAUD_CODES[baud]]), wake_up))


def security(
    *, address: str, di: str, operator: bytes, payload: bytes = b"", wake_up: int = WAKE_UPS
) -> Question:
    """The outline of a prepaid security frame (03). Cipher texts and MACs in `payload` come from a
    key machine; nothing here can make them (1.11)."""
    data = di_to_wire(di) + _operator(operator) + payload
    if len(data) > MAX_READ:
        raise InvalidInput(f"{len(data)} bytes, {MAX_READ} are the most", field="payload")
    return ask(Frame(check_address(address), SECURITY, data, wake_up))


def _freeze(address: str, parts: tuple[int, int, int, int], wake_up: int) -> Frame:
    given = [part != EVERY for part in parts]
    if given != sorted(given):
        raise InvalidInput("every part of the time after the first given one is given", field="day")
    for part, (name, low, high) in zip(
        parts, (("month", 1, 12), ("day", 1, 31), ("hour", 0, 23), ("minute", 0, 59)), strict=True
    ):
        if part != EVERY and not low <= part <= high:
            raise InvalidInput(f"{part} is no {name}", field=name)
    return Frame(address, FREEZE, bcd_bytes("".join(f"{part:02d}" for part in parts)), wake_up)


def _own_address(address: str) -> str:
    if not re.fullmatch("[0-9]{12}", address) or address == ALL_METERS:
        raise InvalidInput(f"{address!r} is no meter's own address", field="address")
    return address


def _operator(operator: bytes) -> bytes:
    if len(operator) != 4:
        raise InvalidInput("an operator code has four bytes", field="operator")
    return operator


def _two_digits(number: int, name: str) -> bytes:
    if not 0 <= number <= 99:
        raise InvalidInput(f"{number} is no number of {name}", field=name)
    return bcd_bytes(f"{number:02d}")


def _byte(number: int, name: str) -> int:
    if not 0 <= number <= 0xFF:
        raise InvalidInput(f"{number} is no {name}", field=name)
    return number
