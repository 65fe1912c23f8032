"""Questions of our drivers with their right answers, by protocol, and a DTU that is registered."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import uuid4

from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from workers.links.dialin.dtu import Dtu
from workers.links.dialin.ports import BusBytes, DialInRow, Event, Registered
from workers.protocols import cjt188, dlt645_answers, dlt645_frame, dlt645_requests, modbus
from workers.protocols.acrel import PrivateWriteAnswer, PrivateWriteRequest

ICCID = b"89860428221900423610"


@dataclass(frozen=True)
class Talk:
    """A question and its answer."""

    question: bytes
    answer: bytes


def modbus_talk(*values: int, unit: int = 1) -> Talk:
    """Reading as many registers as there are values."""
    question = modbus.read_registers(unit=unit, address=0x0200, count=len(values))
    answer = ReadHoldingRegistersResponse(dev_id=unit, registers=list(values))
    return Talk(question.request, modbus.frame_of(answer))


def sale_talk() -> Talk:
    """Acrel's private write, whose answer is opaque."""
    question = modbus.private_write(unit=7, address=0x0100, values=[0, 5000, 5, 0])
    request = modbus.parse_request(question.request)
    assert isinstance(request, PrivateWriteRequest)
    return Talk(question.request, modbus.frame_of(PrivateWriteAnswer.taking(request)))


def dlt645_talk(data: bytes) -> Talk:
    """Reading the active energy of a DL/T 645 meter."""
    question = dlt645_requests.read(address="112233445566", di="00010000")
    request = dlt645_frame.parse(question.request)
    answer = dlt645_answers.answer(request, data=bytes.fromhex("00000100") + data)
    return Talk(question.request, answer.encode())


def cjt188_talk(data: bytes) -> Talk:
    """Reading a water meter."""
    item = b"\x90\x1f\x00"
    request = cjt188.Cjt188Frame(0x10, "00000012345678", cjt188.READ, item)
    answer = cjt188.Cjt188Frame(0x10, "00000012345678", 0x81, item + data)
    return Talk(request.encode(), answer.encode())


def row_of(
    registration: bytes = ICCID, *, heartbeat: bytes | None = b"ping", prefix: bool = False
) -> DialInRow:
    """A DTU on the list."""
    return DialInRow(1, uuid4(), uuid4(), "GW-1", "DTU", registration, prefix, heartbeat)


def registered(row: DialInRow) -> Dtu:
    """A DTU that has named itself."""
    dtu = Dtu()
    dtu.received(row.registration)
    assert dtu.admit(row) == [Registered()]
    return dtu


def bus_bytes(events: Iterable[Event]) -> list[bytes]:
    """What reaches the user of the line."""
    return [event.data for event in events if isinstance(event, BusBytes)]


def cut(raw: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`raw` in parts, cut at the given places."""
    places = sorted({0, len(raw), *(place % (len(raw) + 1) for place in cuts)})
    return [raw[start:end] for start, end in itertools.pairwise(places) if end > start]


def bare(frames: Iterable[bytes]) -> list[bytes]:
    """Without wake-up bytes, which a heartbeat of FE bytes cannot be told from and which mean nothing."""
    return [frame.lstrip(b"\xfe") for frame in frames]
