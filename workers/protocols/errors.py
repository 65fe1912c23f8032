"""What can be wrong with the bytes of an answer. Links add what can be wrong with the line."""

from __future__ import annotations

from backend.kernel.errors import DomainError, Unavailable


class FrameError(Unavailable):
    """Bytes came, but they are not an answer to the question. Whether the meter acted is unknown."""

    code = "FRAME_ERROR"


class CrcError(FrameError):
    """The check sum of the frame is wrong."""

    code = "FRAME_CRC"


class WrongUnit(FrameError):
    """Another bus address answered."""

    code = "FRAME_WRONG_UNIT"


class WrongFunction(FrameError):
    """The answer is to another kind of question, or to no known one."""

    code = "FRAME_WRONG_FUNCTION"


class ShortAnswer(FrameError):
    """Fewer bytes than the question asked for."""

    code = "FRAME_SHORT"


class LongAnswer(FrameError):
    """More bytes than the question asked for."""

    code = "FRAME_LONG"


class WrongEcho(FrameError):
    """A write was confirmed for another address, count or value."""

    code = "FRAME_WRONG_ECHO"


class WrongItem(FrameError):
    """The answer holds another data item than the one asked for."""

    code = "FRAME_WRONG_ITEM"


class WrongSequence(FrameError):
    """A part of a long answer is missing, repeated or out of order."""

    code = "FRAME_WRONG_SEQUENCE"


class BadValue(FrameError):
    """The frame is whole, but a value in it is no number (not BCD) or no possible date or time."""

    code = "FRAME_BAD_VALUE"


class MeterRefused(DomainError):
    """The meter itself said no. `refusal` is its own code (Modbus: 1 function, 2 address, 3 value,
    4 device failure, 6 busy)."""

    code = "METER_REFUSED"

    def __init__(self, message: str, *, refusal: int) -> None:
        super().__init__(message)
        self.refusal = refusal
