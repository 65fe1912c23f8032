"""Acrel's 4G frames: an end is where the CRC holds, whatever the body contains."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.kernel.errors import InvalidInput
from workers.protocols import acrel4g, modbus
from workers.protocols.acrel4g import Cmd, DataUpload, Packet, Registration, Section
from workers.protocols.errors import BadValue, CrcError, FrameError, LongAnswer, ShortAnswer

REGISTER = bytes.fromhex(
    "7B 7B 84 31 32 33 30 37 32 31 30 37 32 30 30 38 35 00 00 00 00 00 00 38 39 38 36 30 34 32 38 32 32 31 39"
    " 43 30 34 32 33 36 31 30 00 00 00 00 00 00 00 00 00 00 1A 01 00 01 00 01 00 1E 70 F7 7D 7D"
)
HEARTBEAT = bytes.fromhex("7B 7B 94 BE EF 7D 7D")
packets = st.builds(Packet, command=st.integers(0, 255), body=st.binary(max_size=200))
hostile = st.lists(st.sampled_from([b"\x7b", b"\x7d", b"))]]", b"[[", b"\x00"]), max_size=60).map(
    b"".join
)
names = st.from_regex(r"[0-9A-Za-z]{1,20}", fullmatch=True)


def _outcome(parse: Callable[[bytes], object], body: bytes) -> object:
    """What `parse` makes of `body`, or why it refuses; any other error goes through."""
    try:
        return parse(body) or "nothing"
    except FrameError as refused:
        return refused.message


def _rtu(payload: bytes) -> bytes:
    return payload + acrel4g.crc16(payload).to_bytes(2, "little")


@given(packet=packets | st.builds(Packet, command=st.just(0x90), body=hostile))
def test_a_frame_survives_the_wire(packet: Packet) -> None:
    raw = packet.encode()
    assert acrel4g.parse_packet(raw) == packet
    assert acrel4g.take_packet(raw + b"\x7b") == (packet, b"\x7b")


@given(body=hostile, cut=st.integers(0, 300))
def test_7d7d_inside_a_body_does_not_end_the_frame(body: bytes, cut: int) -> None:
    first, second = Packet(0x91, b"\x7d\x7d\x7d" + body), Packet(0x94)
    stream = b"\x00ping" + first.encode() + second.encode()
    found, buffer = [], b""
    for piece in (stream[:cut], stream[cut:]):
        buffer += piece
        packet, buffer = acrel4g.take_packet(buffer)
        while packet is not None:
            found.append(packet)
            packet, buffer = acrel4g.take_packet(buffer)
    assert found == [first, second]
    assert buffer == b""


def test_a_frame_behind_one_that_was_cut_is_found_at_every_cut() -> None:
    # Not the public login: its first six bytes and a heartbeat happen to have a right CRC together.
    whole = acrel4g.transparent(bytes(range(60))).encode()
    for cut in range(len(whole)):
        packet, rest = acrel4g.take_packet(whole[:cut] + HEARTBEAT)
        assert (packet, rest) == (Packet(Cmd.HEARTBEAT), b"")


@settings(max_examples=200)
@given(noise=st.binary(max_size=1500) | hostile)
def test_noise_never_breaks_the_ear(noise: bytes) -> None:
    packet, rest = acrel4g.take_packet(noise)
    assert noise.endswith(rest)
    assert packet is None or packet.encode() in noise


def test_a_flood_of_marks_is_looked_through_in_a_blink_and_forgotten() -> None:
    packet, rest = acrel4g.take_packet(b"\x7b" * 3000 + b"\x7d" * 3000)
    assert packet is None
    assert len(rest) <= 1024


def test_each_fault_of_a_frame_has_its_own_error() -> None:
    with pytest.raises(CrcError, match="crc calc BE EF got BE EE"):
        acrel4g.parse_packet(HEARTBEAT[:4] + b"\xee\x7d\x7d")
    with pytest.raises(ShortAnswer):
        acrel4g.parse_packet(HEARTBEAT[:6])
    with pytest.raises(FrameError, match="starts with"):
        acrel4g.parse_packet(b"\x00" + HEARTBEAT)
    with pytest.raises(FrameError, match="ends with"):
        acrel4g.parse_packet(HEARTBEAT + b"\x00")
    with pytest.raises(LongAnswer):
        acrel4g.parse_packet(b"\x7b\x7b" + bytes(1100))
    with pytest.raises(InvalidInput):
        Packet(0x90, bytes(1100)).encode()


def test_the_public_login_is_read_and_written() -> None:
    packet = acrel4g.parse_packet(REGISTER)
    registered = acrel4g.parse_registration(packet.body)
    assert registered == Registration(
        "12307210720085", "898604282219C0423610", 26, ("0100", "0100", "0100"), 30
    )
    assert Packet(Cmd.REGISTER, registered.encode()).encode() == REGISTER
    with pytest.raises(ShortAnswer):
        acrel4g.parse_registration(packet.body[:-1])
    with pytest.raises(BadValue):
        acrel4g.parse_registration(b"\xff" + packet.body[1:])
    with pytest.raises(InvalidInput):
        Registration("1" * 21, "", 0, ("0100", "0100", "0100"), 30).encode()


@pytest.mark.parametrize(("sunday", "byte"), [(1, 3), (0, 2)])
def test_the_time_is_told_with_the_weekday_as_the_model_counts_it(sunday: int, byte: int) -> None:
    tuesday = datetime.fromisoformat("2023-10-10T08:09:10+08:00")
    packet = acrel4g.time_answer(tuesday, sunday=sunday)
    assert packet.body == bytes([23, 10, 10, byte, 8, 9, 10])
    assert acrel4g.parse_time(packet.body) == ("2023-10-10 08:09:10", byte)
    the_day = datetime.fromisoformat("2023-10-15T08:09:10+08:00")
    assert acrel4g.time_answer(the_day, sunday=sunday).body[3] == sunday
    with pytest.raises(BadValue):
        acrel4g.parse_time(bytes([23, 13, 10, 3, 8, 9, 10]))
    with pytest.raises(BadValue):
        acrel4g.parse_time(bytes([23, 12, 10, 3, 24, 9, 10]))


@given(
    serial=names | st.none(),
    parts=st.lists(st.tuples(names, st.binary(min_size=3, max_size=80) | hostile)),
)
def test_data_sections_survive_whatever_the_modbus_answer_holds(
    serial: str | None, parts: list[tuple[str, bytes]]
) -> None:
    sections = tuple(Section(name, _rtu(b"\x01\x03\x00" + data)) for name, data in parts)
    if serial is None and not sections:
        sections = (Section("1", _rtu(b"\x01\x03\x00")),)
    upload = DataUpload(serial, sections)
    assert acrel4g.parse_data(upload.encode()) == upload


def test_a_damaged_section_is_refused() -> None:
    good = DataUpload("A1", (Section("001", _rtu(b"\x01\x03\x02\x00\x07")),)).encode()
    with pytest.raises(CrcError):
        acrel4g.parse_data(good.replace(b"\x07", b"\x08"))
    with pytest.raises(ShortAnswer):
        acrel4g.parse_data(good[:-2])
    with pytest.raises(FrameError):
        acrel4g.parse_data(good + b"\x00")


def test_a_modbus_frame_goes_through_and_comes_back_with_or_without_the_serial() -> None:
    asked = modbus.read_registers(unit=1, address=0x0200, count=48).request
    assert acrel4g.parse_transparent(acrel4g.transparent(asked).body).frame == asked
    with_serial = acrel4g.parse_transparent(acrel4g.transparent(asked, serials=["A1"]).body)
    assert (with_serial.serial, with_serial.frame) == ("A1", asked)
    receipt = acrel4g.parse_transparent(b"12307210720085".ljust(20, b"\0"))
    assert (receipt.serial, receipt.frame) == ("12307210720085", None)
    with pytest.raises(FrameError):
        acrel4g.parse_transparent(asked[:-1])


@given(body=st.binary(max_size=80) | hostile)
def test_no_body_breaks_a_parser(body: bytes) -> None:
    for parse in (
        acrel4g.parse_data,
        acrel4g.parse_registration,
        acrel4g.parse_serial,
        acrel4g.parse_time,
        acrel4g.parse_transparent,
    ):
        assert _outcome(parse, body)
