"""Acrel's two dial-in protocols: logins, answers the transport must give, uploads, bad packets."""

from __future__ import annotations

import hashlib
import json
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from workers.links.dialin import acrel_gateway_packets as packets
from workers.links.dialin.acrel4g import Acrel4g
from workers.links.dialin.acrel_gateway import AcrelGateway
from workers.links.dialin.acrel_gateway_packets import Kind
from workers.links.dialin.ports import (
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
    Upload,
)
from workers.protocols import acrel4g
from workers.protocols.acrel4g import Cmd
from workers.protocols.errors import FrameError, LongAnswer

from .talks import bus_bytes, modbus_talk, row_of, sale_talk

NOW = datetime(2026, 11, 22, 4, 5, 6, tzinfo=UTC)
SERIAL = "12307210720085"
SECRET = secrets.token_hex(8)
VECTORS = Path(__file__).parents[2] / "vectors" / "meter-vectors.json"
Found = TypeVar("Found")


def only(kind: type[Found], events: Iterable[Event]) -> list[Found]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def meter_4g() -> Acrel4g:
    """A 4G meter that is registered."""
    meter = Acrel4g(now=lambda: NOW)
    meter.received(sample("request_hex"))
    meter.admit(replace(row_of(SERIAL.encode(), heartbeat=None), link="ACREL_4G"))
    return meter


def sample(what: str) -> bytes:
    """The vendor's printed registration or its answer."""
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]
    (entry,) = [vector for vector in vectors if vector["id"] == "acrel4g-open-01"]
    return bytes.fromhex(entry[what])


def test_the_vendors_printed_registration_is_answered_as_printed() -> None:
    meter = Acrel4g(now=lambda: NOW)
    (named,) = meter.received(sample("request_hex"))
    assert named == Named((SERIAL.encode(),))
    row = replace(row_of(SERIAL.encode()), link="ACREL_4G")
    assert meter.admit(row) == [Registered(), Reply(sample("response_hex"))]


def test_a_4g_meter_is_told_the_time_in_china_and_its_heartbeat_gets_no_answer() -> None:
    meter = meter_4g()
    ask = acrel4g.Packet(Cmd.TIME, SERIAL.encode().ljust(20, b"\0")).encode()
    (reply,) = only(Reply, meter.received(ask))
    told = acrel4g.parse_time(acrel4g.parse_packet(reply.data).body)
    assert told == ("2026-11-22 12:05:06", 1), "a Sunday, which the vendor's sample counts as 1"
    assert meter.received(acrel4g.Packet(Cmd.HEARTBEAT).encode()) == [Beat()]


def test_an_upload_is_taken_apart_by_meter_and_answered() -> None:
    meter, talk = meter_4g(), modbus_talk(*range(48))
    sections = tuple(acrel4g.Section(name, talk.answer) for name in ("1", "002", "x"))
    body = acrel4g.DataUpload(SERIAL, sections).encode()
    events = meter.received(acrel4g.Packet(Cmd.DATA, body).encode())
    assert only(Upload, events) == [Upload(1, talk.answer), Upload(2, talk.answer)]
    assert [event.reason for event in only(Broken, events)] == ["'x' is no bus address"]
    assert only(Reply, events) == [Reply(acrel4g.Packet(Cmd.DATA).encode())]


def test_a_damaged_upload_and_one_for_another_serial_are_dropped_without_an_answer() -> None:
    meter, talk = meter_4g(), modbus_talk(1, 2)
    damaged = acrel4g.Section("1", talk.answer[:-1] + b"\0")
    foreign = acrel4g.DataUpload("99999999999999", (acrel4g.Section("1", talk.answer),))
    for upload in (acrel4g.DataUpload(SERIAL, (damaged,)), foreign):
        events = meter.received(acrel4g.Packet(Cmd.DATA, upload.encode()).encode())
        assert [type(event) for event in events] == [Broken]


@pytest.mark.parametrize("talk", [modbus_talk(1, 2), sale_talk()])
def test_a_question_travels_in_a_transparent_packet_and_its_answer_comes_out_bare(
    talk: object,
) -> None:
    assert isinstance(talk, type(sale_talk()))
    meter = meter_4g()
    assert meter.wrap(talk.question[:4]) == b"", "not before it is whole"
    wrapped = meter.wrap(talk.question[4:])
    assert acrel4g.parse_packet(wrapped) == acrel4g.transparent(talk.question)
    assert meter.asking
    receipt = acrel4g.transparent(b"", serials=[SERIAL]).encode()
    answer = acrel4g.transparent(talk.answer, serials=[SERIAL]).encode()
    assert bus_bytes(meter.received(receipt + answer + answer)) == [talk.answer]
    assert not meter.asking


def test_a_4g_meter_that_changes_its_serial_is_cut() -> None:
    registration = acrel4g.Registration("99999999999999", "", 0, ("0100",) * 3, 30)
    raw = acrel4g.Packet(Cmd.REGISTER, registration.encode()).encode()
    assert [type(event) for event in meter_4g().received(raw)] == [Gone]


def test_a_stranger_that_never_registers_is_cut_after_a_kilobyte() -> None:
    meter = Acrel4g(now=lambda: NOW)
    assert meter.received(acrel4g.Packet(Cmd.HEARTBEAT).encode() * 20) == []
    assert [type(event) for event in meter.received(b"{" * 1024)] == [Gone]


def gateway_row(secret: str = SECRET) -> DialInRow:
    """An Acrel gateway on the list."""
    return replace(row_of(b"GW-001", heartbeat=None), link="ACREL_GATEWAY", secret=secret)


def login_xml(operation: str, inside: str = "") -> bytes:
    """A login packet of the gateway."""
    body = f'<id_validate operation="{operation}">{inside}</id_validate>'
    xml = packets.common_xml(building="B1", gateway="GW-001", kind="id_validate", inside=body)
    return packets.packet(Kind.AUTHENTICATE, xml)


def proof(reply: Reply, secret: str) -> bytes:
    """The gateway's answer to a sequence."""
    xml = packets.read_xml(reply.data[7:])
    sequence = packets.text_of(xml, "id_validate", "sequence")
    digest = hashlib.md5((secret + sequence).encode(), usedforsecurity=False).hexdigest()
    return login_xml("md5", f"<md5>{digest.upper()}</md5>")


def gateway(secret: str = SECRET) -> AcrelGateway:
    """An Acrel gateway that is registered."""
    made = AcrelGateway(now=lambda: NOW)
    assert made.received(login_xml("request")) == [Named((b"GW-001",))]
    (sequence,) = only(Reply, made.admit(gateway_row(secret)))
    assert Registered() in made.received(proof(sequence, secret))
    return made


def result_of(events: Iterable[Event]) -> str:
    """What the gateway is told of its login."""
    (reply,) = only(Reply, events)
    return packets.text_of(packets.read_xml(reply.data[7:]), "id_validate", "result")


def test_a_gateway_proves_its_secret_by_the_md5_of_secret_and_sequence() -> None:
    made = AcrelGateway(now=lambda: NOW)
    made.received(login_xml("request"))
    (sequence,) = only(Reply, made.admit(gateway_row()))
    events = made.received(proof(sequence, SECRET))
    assert result_of(events) == "pass"
    assert events[-1] == Registered()


def test_a_wrong_secret_is_refused_and_the_same_sequence_is_not_taken_twice() -> None:
    made = AcrelGateway(now=lambda: NOW)
    made.received(login_xml("request"))
    (sequence,) = only(Reply, made.admit(gateway_row()))
    wrong = made.received(proof(sequence, "0" * 16))
    assert (result_of(wrong), wrong[-1]) == ("fail", Refused("wrong secret"))
    late = made.received(proof(sequence, SECRET))
    assert late[-1] == Refused("wrong secret")


def test_before_the_login_nothing_but_the_login_is_heard() -> None:
    made = AcrelGateway(now=lambda: NOW)
    assert made.received(packets.packet(Kind.HEARTBEAT, b"<root/>")) == []
    assert made.received(login_xml("md5", "<md5>00</md5>")) == []
    (long,) = made.received(packets.packet(Kind.AUTHENTICATE, bytes(5000))[:7])
    assert isinstance(long, Gone)


def test_a_heartbeat_is_answered_with_the_time_in_china() -> None:
    events = gateway().received(packets.packet(Kind.HEARTBEAT, b"<root/>"))
    (reply,) = only(Reply, events)
    xml = packets.read_xml(reply.data[7:])
    assert packets.text_of(xml, "heart_beat", "time") == "20261122120506"
    assert Beat() in events


def test_a_question_goes_out_as_port_and_address_with_hexadecimal_and_is_answered_so() -> None:
    made, talk = gateway(), modbus_talk(1, 2, unit=12)
    wrapped = made.wrap(talk.question)
    assert wrapped[:3] == b"\x1f\x1f\xf1"
    assert packets.decrypt(wrapped[7:], secret=SECRET).decode() == f"01012|{talk.question.hex()}"
    other = packets.encrypt(f"01013|{talk.answer.hex()}".encode(), secret=SECRET)
    right = packets.encrypt(f"01012|{talk.answer.hex()}".encode(), secret=SECRET)
    assert made.received(packets.packet(Kind.DOWNLINK_ANSWER, other)) == []
    events = made.received(packets.packet(Kind.DOWNLINK_ANSWER, right) * 2)
    assert events == [BusBytes(talk.answer)]


DATA = (
    b"<root><common><gateway_id>GW-001</gateway_id></common><data><time>20261122120000</time>"
    b'<meter id="01001"><function id="WPP">123.45</function></meter>'
    b'<meter id="01002"><function id="WPP">7</function><function id="EPISG">1</function></meter>'
    b"</data></root>"
)


@pytest.mark.parametrize(
    ("kind", "plain"), [(Kind.DATA, DATA), (Kind.DEFLATED_DATA, zlib.compress(DATA))]
)
def test_a_report_is_decrypted_inflated_and_taken_apart_by_meter(kind: Kind, plain: bytes) -> None:
    sealed = packets.encrypt(plain, secret=SECRET)
    assert gateway().received(packets.packet(kind, sealed)) == [
        Report("01001", {"WPP": "123.45"}),
        Report("01002", {"WPP": "7", "EPISG": "1"}),
    ]


@pytest.mark.parametrize(
    "plain",
    [
        b"no xml",
        b"<root>",
        b'<!DOCTYPE r [<!ENTITY a "b">]><root>&a;</root>',
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><root/>',
        b"<a>" * 20 + b"</a>" * 20,
    ],
    ids=["no xml", "cut short", "an entity", "a file outside", "too deep"],
)
def test_bad_xml_is_dropped_and_the_line_goes_on(plain: bytes) -> None:
    made = gateway()
    sealed = packets.encrypt(plain, secret=SECRET)
    assert [type(e) for e in made.received(packets.packet(Kind.DATA, sealed))] == [Broken]
    assert Beat() in made.received(packets.packet(Kind.HEARTBEAT, b"<root/>"))


def test_what_is_damaged_or_sealed_with_another_secret_does_not_open() -> None:
    made = gateway()
    foreign = packets.encrypt(DATA, secret=secrets.token_hex(8))
    for sealed in (foreign, foreign[:-1], b""):
        assert [type(e) for e in made.received(packets.packet(Kind.DATA, sealed))] == [Broken]


def test_a_small_packet_that_inflates_to_much_is_not_inflated() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(LongAnswer):
        packets.inflate(bomb)
    for broken in (b"", b"\x00\x01", zlib.compress(DATA)[:-5]):
        with pytest.raises(FrameError):
            packets.inflate(broken)


def test_a_packet_that_claims_to_be_huge_ends_the_line_at_its_header() -> None:
    (gone,) = gateway().received(b"\x1f\x1f\x03\xff\xff\xff\xff")
    assert isinstance(gone, Gone)
    (gone,) = gateway().received(b"GET / HTTP/1.1")
    assert isinstance(gone, Gone)
