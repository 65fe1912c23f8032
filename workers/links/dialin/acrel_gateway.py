"""Acrel's data gateway: it dials in, proves a shared secret by MD5, and passes RTU frames on. Weak.

Off by default, for gateways that are there already. Why it is weak: MD5 of secret and sequence can be
tried offline by whoever listens once; the cipher has a fixed IV (equal beginnings look equal), no
authentication (whoever sits on the line can replay and change packets) and its key is the login secret.
New sites take the sealed uplink. Put these behind an APN or VPN of their own.

Evidence: one open system that runs such gateways [1] (reference/meter-protocols.md section 6.2). What it
does not show is not here: no other function, no second port ("PP" is always 01).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from backend.kernel.clock import CHINA
from workers.protocols import modbus
from workers.protocols.errors import FrameError, LongAnswer

from . import acrel_gateway_packets as packets
from .acrel_gateway_packets import Element, Kind, common_xml, read_xml, text_of
from .expected import MOST_BYTES
from .ports import (
    Beat,
    Broken,
    BusBytes,
    DialInRow,
    Event,
    Gone,
    Named,
    Refused,
    Registered,
    Reply,
    Report,
)

_OPENING = 4 * 1024
_LONGEST = 32 * 1024
_PORT = "01"


class AcrelGateway:
    """One gateway's connection; see DialInProtocol. `now` tells the instant, for the heartbeat answer."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._row: DialInRow | None = None
        self._proven = False
        self._gateway = ""
        self._building = ""
        self._sequence = ""
        self._buffer = b""
        self._request = b""
        self._asked: str | None = None

    @property
    def asking(self) -> bool:
        """See DialInProtocol.asking."""
        return self._asked is not None

    def received(self, data: bytes, /) -> Sequence[Event]:
        """See DialInProtocol.received."""
        self._buffer += data
        events: list[Event] = []
        while True:
            try:
                most = _LONGEST if self._proven else _OPENING
                taken, self._buffer = packets.take_packet(self._buffer, most=most)
            except FrameError as wrong:
                return [*events, Gone(wrong.message)]
            if taken is None:
                return events
            kind, inside = taken
            try:
                events += self._packet(kind, inside) if self._proven else self._login(kind, inside)
            except FrameError as unreadable:
                events.append(Broken(f"packet {kind:02X}: {unreadable.message}"))

    def admit(self, row: DialInRow, /) -> Sequence[Event]:
        """See DialInProtocol.admit: the sequence goes out; its MD5 with the secret must come back."""
        self._row = row
        self._sequence = str(secrets.randbelow(10**18)).zfill(18)
        inside = f"<sequence>{self._sequence}</sequence>"
        return [self._validate("sequence", inside)]

    def wrap(self, bus_bytes: bytes, /) -> bytes:
        """See DialInProtocol.wrap: each whole Modbus question as "PPAAA|hex", encrypted (F1)."""
        self._request += bus_bytes
        if len(self._request) > MOST_BYTES:
            raise LongAnswer(f"a question of more than {MOST_BYTES} bytes")
        wrapped = b""
        while True:
            question, self._request = modbus.take_request(self._request)
            if question is None:
                return wrapped
            self._asked = f"{_PORT}{question.dev_id:03d}"
            text = f"{self._asked}|{modbus.frame_of(question).hex()}"
            sealed = packets.encrypt(text.encode(), secret=self._secret())
            wrapped += packets.packet(Kind.DOWNLINK, sealed)

    def _login(self, kind: int, inside: bytes) -> list[Event]:
        if kind != Kind.AUTHENTICATE:
            return []
        elements = read_xml(inside)
        validate = next((item for item in elements if item.path[1:] == ("id_validate",)), None)
        operation = validate.attributes.get("operation", "") if validate else ""
        gateway = text_of(elements, "common", "gateway_id")
        if operation == "request" and self._row is None:
            self._gateway = gateway
            self._building = text_of(elements, "common", "building_id")
            return [Named((gateway.encode(),))] if gateway else []
        if operation == "md5" and self._row is not None:
            return self._prove(gateway, text_of(elements, "id_validate", "md5"))
        return []

    def _prove(self, gateway: str, answer: str) -> list[Event]:
        right = hashlib.md5((self._secret() + self._sequence).encode(), usedforsecurity=False)
        self._sequence = str(secrets.randbelow(10**18)).zfill(18)  # one answer for each
        good = hmac.compare_digest(right.hexdigest().encode(), answer.lower().encode())
        if not good or gateway != self._gateway:
            return [self._validate("result", "<result>fail</result>"), Refused("wrong secret")]
        self._proven = True
        return [self._validate("result", "<result>pass</result>"), Registered()]

    def _packet(self, kind: int, inside: bytes) -> list[Event]:
        match kind:
            case Kind.HEARTBEAT:
                return [Beat(), self._time()]
            case Kind.DATA:
                return self._reports(packets.decrypt(inside, secret=self._secret()))
            case Kind.DEFLATED_DATA:
                plain = packets.inflate(packets.decrypt(inside, secret=self._secret()))
                return self._reports(plain)
            case Kind.DOWNLINK_ANSWER:
                return self._answer(packets.decrypt(inside, secret=self._secret()))
        return [Beat()]

    def _time(self) -> Reply:
        now = self._now().astimezone(CHINA).strftime("%Y%m%d%H%M%S")
        inside = f'<heart_beat operation="time"><time>{now}</time></heart_beat>'
        xml = common_xml(
            building=self._building, gateway=self._gateway, kind="heart_beat", inside=inside
        )
        return Reply(packets.packet(Kind.HEARTBEAT, xml))

    def _validate(self, operation: str, inside: str) -> Reply:
        body = f'<id_validate operation="{operation}" version="2">{inside}</id_validate>'
        xml = common_xml(
            building=self._building, gateway=self._gateway, kind="id_validate", inside=body
        )
        return Reply(packets.packet(Kind.AUTHENTICATE, xml))

    def _reports(self, xml: bytes) -> list[Event]:
        """Each <meter id=".."> and the <function id=".."> values inside it."""
        events: list[Event] = []
        values: dict[str, str] = {}
        for item in read_xml(xml):
            match item.path[1:]:
                case ("data", "meter", "function"):
                    values[item.attributes.get("id", "")] = item.text
                case ("data", "meter"):
                    events.append(Report(_name(item), values))
                    values = {}
        return events

    def _answer(self, plain: bytes) -> list[Event]:
        name, mark, digits = plain.decode("ascii", "replace").partition("|")
        if name != self._asked or not mark:
            return []  # to no question of ours
        try:
            frame = bytes.fromhex(digits)
        except ValueError as wrong:
            raise FrameError("no hexadecimal digits") from wrong
        self._asked = None
        return [BusBytes(frame)]

    def _secret(self) -> str:
        assert self._row is not None
        return self._row.secret or ""


def _name(meter: Element) -> str:
    return meter.attributes.get("id", "")
