"""What must answer a question that somebody else made: known from the question's own bytes.

RTU over TCP has no borders, but every question says what answers it: Modbus by unit, function and byte
count, DL/T 645 and CJ/T 188 by address and control. The three cannot be mixed up, because each carries
a check sum; Modbus is tried first, its 16 bits are the strongest.
"""

from __future__ import annotations

from backend.kernel.errors import InvalidInput
from workers.protocols import cjt188, dlt645_answers, dlt645_frame, modbus
from workers.protocols.errors import FrameError
from workers.protocols.framing import Framing

MOST_BYTES = 512


def answer_to(request: bytes) -> Framing | None:
    """The framing of the answer to `request`; None when `request` is no whole question we know."""
    return _of_modbus(request) or _of_dlt645(request) or _of_cjt188(request)


def _of_modbus(request: bytes) -> Framing | None:
    try:
        return modbus.ask(modbus.parse_request(request)).expected
    except (FrameError, ValueError):  # ValueError: a function whose answer is not known
        return None


def _of_dlt645(request: bytes) -> Framing | None:
    try:
        frame = dlt645_frame.parse(request)
    except FrameError:
        return None
    for edition in ("2007", "1997"):
        try:
            return dlt645_answers.answer_to(frame, edition=edition)
        except InvalidInput:
            continue
    return None


def _of_cjt188(request: bytes) -> Framing | None:
    try:
        return cjt188.Cjt188Answer(cjt188.parse_frame(request))
    except FrameError:
        return None
