"""A frame of Acrel's 4G meters as a plain dictionary, in the spelling of meter-vectors.json.

The frame does not say who sent it. With `request` (the frame it answers) the direction is known from
who may ask; without, 84 with no body and 93 with seven bytes come from the server, all else from the
meter.
"""

from __future__ import annotations

from .acrel4g import (
    Cmd,
    Packet,
    parse_data,
    parse_packet,
    parse_registration,
    parse_serial,
    parse_time,
    parse_transparent,
)
from .errors import FrameError, WrongFunction

_ASKED_BY_METER = frozenset({Cmd.REGISTER, Cmd.TIME, Cmd.DATA, Cmd.ALARM})
_SERVER_SIZES: dict[int, int] = {Cmd.REGISTER: 0, Cmd.TIME: 7, Cmd.DATA: 0, Cmd.ALARM: 0}
_Fields = dict[str, object]


def decode_frame(raw: bytes, *, request: bytes | None = None) -> _Fields:
    """The fields of one frame under "uplink" or "downlink", and what its body says beside it.

    Raises FrameError (its kinds), WrongFunction when `request` asked something else.
    """
    packet = parse_packet(raw)
    if request is None:
        from_meter = _SERVER_SIZES.get(packet.command) != len(packet.body)
    else:
        asked = parse_packet(request)
        if asked.command != packet.command:
            raise WrongFunction(f"answer {packet.command:02X} to command {asked.command:02X}")
        from_meter = packet.command not in _ASKED_BY_METER
    side = "uplink" if from_meter else "downlink"
    fields: _Fields = {side: {"cmd": f"{packet.command:02X}", "body_len": len(packet.body)}}
    return fields | (_uplink(packet) if from_meter else _downlink(packet))


def _uplink(packet: Packet) -> _Fields:
    body = packet.body
    if packet.command == Cmd.HEARTBEAT:
        return {"heartbeat": True}
    if packet.command == Cmd.REGISTER:
        registered = parse_registration(body)
        return {
            "register": {
                "serial": registered.serial,
                "iccid": registered.iccid,
                "signal": registered.signal,
                "upload_interval_min": registered.upload_interval_min,
            }
        }
    if packet.command == Cmd.TIME:
        return {"time_request": {"serial": parse_serial(body)}}
    if packet.command == Cmd.DATA:
        upload = parse_data(body)
        sections = [
            {"address": part.address, "answer": _hex(part.answer)} for part in upload.sections
        ]
        return {"data": {"serial": upload.serial, "sections": sections}}
    if packet.command == Cmd.TRANSPARENT:
        passed = parse_transparent(body)
        frame = None if passed.frame is None else _hex(passed.frame)
        return {"transparent": {"serial": passed.serial, "frame": frame}}
    return _body(body)


def _downlink(packet: Packet) -> _Fields:
    body = packet.body
    if packet.command == Cmd.REGISTER and body:
        raise FrameError(f"the answer to a registration is empty, {len(body)} bytes came")
    if packet.command == Cmd.TIME:
        at, weekday = parse_time(body)
        return {"time": {"value": at, "weekday": weekday}}
    return _body(body)


def _body(body: bytes) -> _Fields:
    return {"body": _hex(body)} if body else {}


def _hex(raw: bytes) -> str:
    return raw.hex(" ").upper()
