"""Acrel's 4G meters: the meter itself dials in and speaks 7B7B frames. Weak, off by default.

Weak: the login (84) carries no secret, a serial number proves nothing, and nothing is encrypted. Put
such meters behind an APN or VPN of their own; the allow-list only keeps strangers from being polled.

Evidence: 84 and its empty answer, 93 and 94 by the vendor's sample page and by one open system [V+E];
91, its empty answer, and 90 by that open system alone [1] (reference/meter-protocols.md section 6.1).
The count of the weekday in the time answer is contradicted between the two; the vendor's is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from backend.kernel.clock import CHINA
from workers.protocols import modbus
from workers.protocols.acrel4g import (
    Cmd,
    Packet,
    parse_data,
    parse_registration,
    parse_serial,
    parse_transparent,
    take_packet,
    time_answer,
    transparent,
)
from workers.protocols.errors import FrameError, LongAnswer

from .expected import MOST_BYTES
from .ports import Beat, Broken, BusBytes, DialInRow, Event, Gone, Named, Registered, Reply, Upload

_OPENING = 1024
_SUNDAY = 1  # the vendor's sample calls Tuesday 3
_ADDRESS = re.compile(r"0*([1-9]\d{0,2})")


class Acrel4g:
    """One meter's connection; see DialInProtocol. `now` tells the instant, for the time answer."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._row: DialInRow | None = None
        self._serial = ""
        self._buffer = b""
        self._strange = 0
        self._request = b""
        self._asking = False

    @property
    def asking(self) -> bool:
        """See DialInProtocol.asking."""
        return self._asking

    def received(self, data: bytes, /) -> Sequence[Event]:
        """See DialInProtocol.received."""
        self._buffer += data
        events: list[Event] = []
        while True:
            packet, self._buffer = take_packet(self._buffer)
            if packet is None:
                break
            try:
                events += self._opening(packet) if self._row is None else self._packet(packet)
            except FrameError as unreadable:
                events.append(Broken(f"packet {packet.command:02X}: {unreadable.message}"))
        if self._row is None:
            self._strange += len(data)
            if self._strange > _OPENING:
                return [Gone(f"more than {_OPENING} bytes and no registration")]
        return events

    def admit(self, row: DialInRow, /) -> Sequence[Event]:
        """See DialInProtocol.admit."""
        self._row = row
        return [Registered(), Reply(Packet(Cmd.REGISTER).encode())]

    def wrap(self, bus_bytes: bytes, /) -> bytes:
        """See DialInProtocol.wrap: each whole Modbus question in a transparent packet (90)."""
        self._request += bus_bytes
        if len(self._request) > MOST_BYTES:
            raise LongAnswer(f"a question of more than {MOST_BYTES} bytes")
        wrapped = b""
        while True:
            question, self._request = modbus.take_request(self._request)
            if question is None:
                return wrapped
            self._asking = True
            wrapped += transparent(modbus.frame_of(question)).encode()

    def _opening(self, packet: Packet) -> list[Event]:
        if packet.command != Cmd.REGISTER:
            return []
        self._serial = parse_registration(packet.body).serial
        return [Named((self._serial.encode(),))] if self._serial else []

    def _packet(self, packet: Packet) -> list[Event]:
        match packet.command:
            case Cmd.REGISTER:
                if parse_registration(packet.body).serial != self._serial:
                    return [Gone("it registers again under another serial")]
                return [Reply(Packet(Cmd.REGISTER).encode())]
            case Cmd.TIME:
                self._check_serial(parse_serial(packet.body))
                return [Reply(time_answer(self._now().astimezone(CHINA), sunday=_SUNDAY).encode())]
            case Cmd.DATA:
                return self._data(packet.body)
            case Cmd.TRANSPARENT:
                return self._answer(packet.body)
        return [Beat()]

    def _data(self, body: bytes) -> list[Event]:
        upload = parse_data(body)
        self._check_serial(upload.serial or self._serial)
        events: list[Event] = []
        for section in upload.sections:
            address = _ADDRESS.fullmatch(section.address)
            if address is None:
                events.append(Broken(f"{section.address!r} is no bus address"))
            else:
                events.append(Upload(int(address[1]), section.answer))
        return [*events, Reply(Packet(Cmd.DATA).encode())]

    def _answer(self, body: bytes) -> list[Event]:
        passed = parse_transparent(body)
        if passed.frame is None or not self._asking:
            return []  # a receipt, or an answer that nobody waits for
        self._asking = False
        return [BusBytes(passed.frame)]

    def _check_serial(self, serial: str) -> None:
        if serial != self._serial:
            raise FrameError("it speaks for another serial")
