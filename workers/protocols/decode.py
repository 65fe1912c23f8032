"""One frame of any protocol we speak as a plain dictionary: what an engineer with a capture asks for.

The spelling is that of tests/vectors/meter-vectors.json (`decoded`). Codecs are imported when they are
asked for: a command that decodes one frame should not wait for all of them.
"""

from __future__ import annotations

from .errors import FrameError, ShortAnswer

PROTOCOLS = ("modbus-rtu", "dlt645-2007", "dlt645-1997", "cjt188", "acrel-4g")
_ALIASES = {"acrel-4g-7b7b": "acrel-4g"}


class UnknownProtocol(FrameError):
    """No codec of that name."""

    code = "FRAME_UNKNOWN_PROTOCOL"


def decode(protocol: str, frame: bytes, request: bytes | None = None) -> dict[str, object]:
    """The fields of one `frame`, JSON-ready; numbers of meters are decimal strings, never floats.

    With `request` (the frame that was asked) the frame is an answer and must answer it. Raises
    UnknownProtocol and FrameError, whose message says what is wrong.
    """
    name = _ALIASES.get(protocol, protocol)
    if name not in PROTOCOLS:
        raise UnknownProtocol(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    if not frame:
        raise ShortAnswer("0 bytes are no frame")
    if name == "modbus-rtu":
        from . import modbus_decode

        return modbus_decode.decode_frame(frame, request=request)
    if name == "cjt188":
        from . import cjt188_decode

        return cjt188_decode.decode_frame(frame, request=request)
    if name == "acrel-4g":
        from . import acrel4g_decode

        return acrel4g_decode.decode_frame(frame, request=request)
    from . import dlt645

    if name == "dlt645-1997":
        return dlt645.decode_frame(frame, request=request, edition="1997")
    return dlt645.decode_frame(frame, request=request, edition="2007")
