"""A CJ/T 188 answer is found on a bus with noise, other meters and DL/T 645, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.protocols.cjt188 import Cjt188Answer, Cjt188Frame, parse_frame, take_frame
from workers.protocols.cjt188_requests import Question, read_meter
from workers.protocols.errors import FrameError

WATER = bytes.fromhex(
    "68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 13 16"
)
OTHER = bytes.fromhex(
    "68 10 92 01 00 10 00 00 00 81 16 90 1F 01 00 22 22 00 2C 00 00 00 00 2C 00 00 00 00 00 00 00 00 00 FE 16"
)
DL645 = bytes.fromhex("68 12 90 78 56 34 12 68 91 08 33 33 34 33 89 67 45 33 54 16")
ASKED = read_meter(kind=0x10, address="78330011223344")
noise = st.binary(max_size=30)


def _fed(question: Question, stream: bytes, *cuts: int) -> bytes | None:
    """What the question's Framing takes when `stream` comes in pieces cut at `cuts`."""
    buffer, last = b"", 0
    for cut in (*sorted(cuts), len(stream)):
        buffer += stream[last:cut]
        last = cut
        taken, buffer = question.expected.take(buffer)
        if taken is not None:
            return taken
    return None


def _heard(stream: bytes, *cuts: int) -> list[Cjt188Frame]:
    """All frames a meter's ear takes from `stream` cut at `cuts`."""
    found, buffer, last = [], b"", 0
    for cut in (*sorted(cuts), len(stream)):
        buffer += stream[last:cut]
        last = cut
        frame, buffer = take_frame(buffer)
        while frame is not None:
            found.append(frame)
            frame, buffer = take_frame(buffer)
    return found


@pytest.mark.parametrize(
    "stream",
    [
        WATER,
        b"\xfe" * 40 + WATER,
        b"\x00\x68\x16\xff" + WATER,
        DL645 + WATER,
        OTHER + b"\xfe\xfe" + WATER + OTHER,
        WATER[:20] + WATER,
        OTHER[:20] + WATER,
        b"\x68" + WATER,
        b"\x68" * 12 + WATER,
        DL645[:15] + WATER,
        WATER + DL645 + WATER,
    ],
    ids=range(11),
)
def test_the_answer_is_the_same_wherever_the_stream_is_cut(stream: bytes) -> None:
    for cut in range(len(stream) + 1):
        assert _fed(ASKED, stream, cut) == WATER, cut
    assert _fed(ASKED, stream, *range(len(stream))) == WATER


def test_an_answer_behind_a_cut_longer_frame_of_another_meter_is_not_held_up() -> None:
    cut_heat = bytes.fromhex("68 20 51 21 31 17 00 11 11 81 2E 1F 90")
    assert _fed(ASKED, cut_heat + WATER) == WATER


def test_nothing_of_others_is_taken_for_the_answer() -> None:
    stream = DL645 + OTHER + b"\xfe" + ASKED.request + DL645
    assert ASKED.expected.take(stream) == (None, stream)
    for cut in range(len(stream)):
        assert _fed(ASKED, stream, cut) is None


def test_a_damaged_answer_is_never_taken() -> None:
    for at in range(len(WATER)):
        for bit in range(8):
            damaged = WATER[:at] + bytes([WATER[at] ^ 1 << bit]) + WATER[at + 1 :]
            assert _fed(ASKED, damaged) is None


def test_marks_inside_the_data_do_not_cut_a_frame() -> None:
    data = bytes.fromhex("90 1F 00") + bytes.fromhex("16 68 16 68 16 68 10 68 16") * 3
    frame = Cjt188Frame(0x10, "78330011223344", 0x81, data)
    raw = frame.encode()
    for cut in range(len(raw) + 1):
        assert _fed(ASKED, raw + WATER, cut) == raw
        assert _heard(raw + raw, cut) == [frame, frame]


def test_a_dlt645_frame_is_not_heard_as_cjt188_even_where_both_readings_hold() -> None:
    both = bytearray(
        40
    )  # the first 30 bytes are a right CJ/T 188 frame, all 40 a right DL/T 645 one
    both[0], both[7], both[9], both[10] = 0x68, 0x68, 40 - 12, 30 - 13
    both[28], both[29] = sum(both[:28]) & 0xFF, 0x16
    both[39], both[38] = 0x16, sum(both[:38]) & 0xFF
    assert _heard(bytes(both[:30])) == [parse_frame(bytes(both[:30]))]
    assert _heard(bytes(both)) == []
    with pytest.raises(FrameError, match="645"):
        parse_frame(bytes(both))


def test_a_meter_whose_maker_byte_is_68_is_still_heard() -> None:
    frame = Cjt188Frame(0x10, "78681122334455", 0x81, WATER[11:33])
    assert frame.encode()[7] == 0x68
    question = read_meter(kind=0x10, address=frame.address)
    for cut in range(35):
        assert _fed(question, frame.encode(), cut) == frame.encode()


@given(before=noise, between=noise, cuts=st.lists(st.integers(0, 120), max_size=6))
def test_noise_around_frames_is_dropped_and_both_are_heard(
    before: bytes, between: bytes, cuts: list[int]
) -> None:
    before, between = (part.replace(b"\x68", b"\x67") for part in (before, between))
    stream = before + WATER + between + OTHER
    assert _heard(stream, *(cut for cut in cuts if cut <= len(stream))) == [
        parse_frame(WATER),
        parse_frame(OTHER),
    ]


@settings(max_examples=300)
@given(
    chunks=st.lists(st.binary(max_size=60) | st.sampled_from([WATER, OTHER, DL645]), max_size=12)
)
def test_no_stream_breaks_or_stops_the_ear_and_every_frame_heard_is_right(
    chunks: list[bytes],
) -> None:
    stream = b"".join(chunks)
    for frame in _heard(stream, *range(0, len(stream), 7)):
        assert frame.encode() in stream
    taken = _fed(ASKED, stream[:1000])
    assert taken is None or taken in stream


def test_a_bus_that_never_answers_is_given_up() -> None:
    with pytest.raises(FrameError, match="1025 bytes"):
        Cjt188Answer(parse_frame(ASKED.request)).take(b"\x68" * 1025)
