"""A 645 answer is found in any stream, however it is torn, and nothing else is taken for it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from itertools import pairwise
from types import FrameType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backend.kernel.errors import InvalidInput
from workers.protocols import dlt645_requests as requests
from workers.protocols.dlt645 import Edition, decode_frame
from workers.protocols.dlt645_answers import Question, answer, refusal, take_request
from workers.protocols.dlt645_frame import Frame, parse
from workers.protocols.dlt645_functions import Action
from workers.protocols.dlt645_requests import Password, di_to_wire
from workers.protocols.errors import (
    CrcError,
    FrameError,
    LongAnswer,
    ShortAnswer,
    WrongFunction,
    WrongItem,
    WrongUnit,
)

ASKED, OTHER = "151230011061", "151230011062"
addresses = st.text("0123456789", min_size=12, max_size=12).filter(lambda a: a != "9" * 12)
editions: st.SearchStrategy[Edition] = st.sampled_from(("2007", "1997"))
# Data on the wire is + 33h: these become 68h, 16h and FEh there.
tricky = st.lists(st.sampled_from([0x35, 0xE3, 0xCB, 0, 0xFF]), max_size=196).map(bytes)
bodies = st.one_of(st.binary(max_size=196), tricky)
noise = st.one_of(
    st.binary(max_size=40), st.lists(st.sampled_from([0x68, 0x16, 0xFE]), max_size=40).map(bytes)
)


def _asked(address: str = ASKED, di: str = "00010000") -> tuple[Question, Frame]:
    question = requests.read(address=address, di=di, wake_up=0)
    return question, parse(question.request)


def _answer_to(request: Frame, body: bytes, address: str = "") -> bytes:
    return answer(request, data=request.data + body, address=address).encode()


@given(address=addresses, number=st.integers(0, 2**32 - 1), body=bodies, edition=editions)
def test_any_read_and_its_answer_survive_the_wire(
    address: str, number: int, body: bytes, edition: Edition
) -> None:
    di = f"{number:08X}" if edition == "2007" else f"{number & 0xFFFF:04X}"
    question = requests.read(address=address, di=di, edition=edition)
    said = decode_frame(question.request, edition=edition)
    assert (said["address"], said["di"], said["wake_up_bytes"]) == (address, di, 4)
    request = parse(question.request)
    sent = _answer_to(request, body)
    assert question.expected.take(sent + b"\x68") == (sent, b"\x68")
    assert parse(sent).data == di_to_wire(di, edition=edition) + body


@given(body=bodies, before=noise, wake_up=st.integers(0, 5), sizes=st.lists(st.integers(1, 30)))
def test_the_same_frames_come_out_wherever_the_stream_is_cut(
    body: bytes, before: bytes, wake_up: int, sizes: list[int]
) -> None:
    question, request = _asked()
    sent = bytes([0xFE]) * wake_up + _answer_to(request, body)
    stream = before + question.request + sent + _answer_to(request, body[::-1])
    whole = _frames(question, [stream])
    assert any(frame.endswith(sent) for frame in whole)
    assert _frames(question, [bytes([byte]) for byte in stream]) == whole
    cuts = [sum(sizes[:n]) for n in range(len(sizes) + 1)] + [len(stream)]
    assert _frames(question, [stream[a:b] for a, b in pairwise(sorted(cuts))]) == whole


def test_an_answer_cut_in_two_at_any_byte_is_the_same_answer() -> None:
    question, request = _asked()
    stream = b"\x00\x68\xfe" + b"\xfe\xfe" + _answer_to(request, bytes([0x35, 0xE3, 0x35, 0xCB]))
    for cut in range(len(stream) + 1):
        assert _frames(question, [stream[:cut], stream[cut:]]) == [stream[2:]]


def _frames(question: Question, chunks: list[bytes]) -> list[bytes]:
    found, rest = [], b""
    for chunk in chunks:
        rest += chunk
        frame, rest = question.expected.take(rest)
        while frame is not None:
            found.append(frame)
            frame, rest = question.expected.take(rest)
    return found


def test_a_broken_answer_is_passed_over_and_the_next_one_is_taken() -> None:
    question, request = _asked()
    sent = _answer_to(request, bytes(4))
    for cut in range(len(sent)):
        assert question.expected.take(sent[:cut] + sent)[0] == sent
    for at in range(len(sent)):
        broken = sent[:at] + bytes([sent[at] ^ 0x01]) + sent[at + 1 :]
        # A flipped length may claim one byte of what follows, so the next answer comes twice.
        assert _frames(question, [broken + sent + sent])[-1:] == [sent]


def test_a_cut_off_long_answer_of_another_meter_does_not_hold_up_ours() -> None:
    question, request = _asked()
    foreign = _answer_to(request, bytes(190), address=OTHER)
    sent = _answer_to(request, bytes(4))
    assert question.expected.take(foreign[:60] + sent) == (sent, b"")


def test_late_and_foreign_answers_are_not_taken_for_ours() -> None:
    question, request = _asked()
    _, other_item = _asked(di="00020000")
    write = Frame(ASKED, 0x14, b"")
    for stray in (
        _answer_to(request, bytes(4), address=OTHER),
        _answer_to(other_item, bytes(4)),
        refusal(request, code=2, address=OTHER).encode(),
        answer(write).encode(),
        question.request,
    ):
        assert question.expected.take(stray)[0] is None
        sent = _answer_to(request, bytes(4))
        assert question.expected.take(stray + sent) == (sent, b"")


def test_the_answer_to_another_question_is_refused_by_name() -> None:
    question, request = _asked()
    sent = _answer_to(request, bytes(4))
    with pytest.raises(WrongUnit, match=OTHER):
        decode_frame(_answer_to(request, bytes(4), address=OTHER), request=question.request)
    with pytest.raises(WrongItem, match="00010000 came, 00020000"):
        decode_frame(sent, request=_asked(di="00020000")[0].request)
    with pytest.raises(WrongFunction):
        decode_frame(sent, request=requests.read_address().request)
    with pytest.raises(WrongFunction):
        decode_frame(question.request, request=question.request)


def test_a_wildcard_or_a_short_address_is_answered_by_the_real_meter() -> None:
    for asked in ("AAAAAAAAAAAA", "AAAAAAAA1061"):
        question, request = _asked(address=asked)
        sent = _answer_to(request, bytes(4), address=ASKED)
        assert question.expected.take(sent) == (sent, b"")
        assert decode_frame(sent, request=question.request)["address"] == ASKED
    question, request = _asked(address="AAAAAAAA1062")
    assert question.expected.take(_answer_to(request, bytes(4), address=ASKED))[0] is None


@pytest.mark.parametrize(
    "address", ["1234", "12345678901A", "12AAAAAAAAAA", "", "１２３４５６７８９０１２"]
)
def test_a_mistyped_address_is_refused_before_anything_is_sent(address: str) -> None:
    with pytest.raises(InvalidInput):
        requests.read(address=address, di="00010000")


def test_a_read_holds_200_bytes_and_a_write_50_and_no_more() -> None:
    _, request = _asked()
    assert len(parse(_answer_to(request, bytes(196))).data) == 200
    with pytest.raises(InvalidInput):
        _answer_to(request, bytes(197))
    long = bytearray(_answer_to(request, bytes(196)))
    long[9] = 201
    with pytest.raises(LongAnswer):
        parse(bytes(long))
    password = Password(4, bytes(3))
    wrote = requests.write(address=ASKED, di="04001001", data=bytes(38), password=password)
    assert take_request(wrote.request) == (wrote.request, b"")
    with pytest.raises(InvalidInput):
        requests.write(address=ASKED, di="04001001", data=bytes(39), password=password)
    too_long = Frame(ASKED, 0x14, bytes(51)).encode()
    assert take_request(too_long)[0] is None
    with pytest.raises(LongAnswer):
        decode_frame(too_long)


def test_a_cut_a_glued_and_a_misordered_frame_are_refused_as_what_they_are() -> None:
    sent = _answer_to(_asked()[1], bytes(4))
    with pytest.raises(ShortAnswer):
        decode_frame(sent[:-1])
    with pytest.raises(LongAnswer):
        decode_frame(sent + sent)
    with pytest.raises(FrameError, match="start"):
        decode_frame(sent[1:] + b"\x16")
    with pytest.raises(CrcError):
        decode_frame(sent[:-2] + bytes([sent[-2] ^ 1, 0x16]))
    with pytest.raises(FrameError, match="ends with 17"):
        decode_frame(sent[:-1] + b"\x17")
    with pytest.raises(WrongFunction):
        decode_frame(sent, edition="1997")


def test_nobody_answers_a_broadcast() -> None:
    moment = datetime(2026, 11, 22, 9, 5, 7, tzinfo=UTC)
    sent = requests.broadcast_time(moment=moment)
    assert decode_frame(sent)["time"] == "2026-11-22 09:05:07"
    assert decode_frame(sent, edition="1997")["time"] == "2026-11-22 09:05:07"
    with pytest.raises(InvalidInput):
        decode_frame(_answer_to(_asked()[1], bytes(4)), request=sent)
    with pytest.raises(InvalidInput):
        requests.freeze(address="999999999999")


def test_a_flood_of_wake_up_bytes_is_not_kept_and_a_few_are_counted() -> None:
    question, request = _asked()
    _, rest = question.expected.take(b"\xfe" * 5000)
    assert len(rest) <= 16
    sent = _answer_to(request, bytes(4))
    taken, _ = question.expected.take(b"\xfe" * 5 + sent)
    assert taken is not None
    assert decode_frame(taken)["wake_up_bytes"] == 5


def test_a_meter_finds_each_request_in_what_it_hears() -> None:
    first, second = _asked()[0].request, requests.read_address().request
    heard = b"\x68\x00" + first + _answer_to(_asked()[1], bytes(4)) + second
    taken, rest = take_request(heard)
    assert taken == first
    assert take_request(rest) == (second, b"")


def test_a_password_is_in_no_decoded_frame_and_no_repr() -> None:
    password = Password(2, bytes.fromhex("BBFFEE"))
    sent = requests.remote_control(
        address=ASKED,
        action=Action.TRIP,
        valid_until=datetime(2026, 11, 22, 9, 10, tzinfo=UTC),
        password=password,
    )
    changed = requests.write(address=ASKED, di="04000C02", data=b"\x02abc", password=password)
    old = Frame(ASKED, 0x18, di_to_wire("04000C02") + password.wire + password.wire)
    for frame in (sent.request, changed.request, old.encode(), Frame(ASKED, 0x98, b"abc").encode()):
        shown = f"{decode_frame(frame)} {password!r}"
        assert "bb" not in shown.lower()
        assert "ff ee" not in shown.lower()
        assert "61 62 63" not in shown


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A frame with a right checksum and any control, identifier and data, some bytes changed."""
    control = draw(st.one_of(st.integers(0, 255), st.sampled_from([0x91, 0xB1, 0x92, 0x81, 0x14])))
    di = draw(st.sampled_from(["00010000", "0001FF00", "04000101", "04000503", "040100FF"]))
    body = di_to_wire(di) + draw(bodies)
    frame = bytearray(Frame(ASKED, control, body).encode())
    for at, value in draw(
        st.lists(st.tuples(st.integers(0, 211), st.integers(0, 255)), max_size=3)
    ):
        frame[at % len(frame)] = value
    return bytes(frame)


@settings(max_examples=600)
@given(data=st.one_of(st.binary(max_size=300), _mutated(), bodies), edition=editions)
@example(data=b"", edition="2007")
@example(data=b"\xfe" * 20, edition="1997")
def test_any_bytes_decode_or_are_refused_with_a_typed_error(data: bytes, edition: Edition) -> None:
    for request in (None, _asked()[0].request if edition == "2007" else None):
        try:
            said = decode_frame(data, request=request, edition=edition)
        except FrameError:  # any other kind of error fails the test
            continue
        assert parse(data).encode() == data
        assert said["address"] == ASKED or request is None
    for take in (_asked()[0].expected.take, take_request):
        frame, rest = take(data)
        assert data.endswith(rest)
        assert frame is None or frame in data


@settings(max_examples=300)
@given(control=st.integers(0, 255), body=st.binary(max_size=60), edition=editions)
def test_every_control_byte_over_any_data_decodes_or_is_refused(
    control: int, body: bytes, edition: Edition
) -> None:
    frame = Frame(ASKED, control, body).encode()
    try:
        said = decode_frame(frame, edition=edition)
    except FrameError:  # any other kind of error fails the test
        return
    assert said["control"] == f"{control:02X}"


@pytest.mark.parametrize(
    "piece", [b"\x68", b"\x68\x61\x10\x01\x30\x12\x15\x68\x91\xc8", b"\x68" * 8 + b"\xc8", b"\xfe"]
)
def test_work_on_a_hostile_stream_is_linear(piece: bytes) -> None:
    question, _ = _asked()
    looks = 0

    def looked(_frame: FrameType, event: str, _: object) -> None:
        nonlocal looks
        looks += event in ("call", "c_call")

    def count(size: int) -> int:
        nonlocal looks
        looks = 0
        stream = (piece * size)[:size]
        sys.setprofile(looked)
        try:
            question.expected.take(stream)
            take_request(stream)
        finally:
            sys.setprofile(None)
        return looks

    small, large = count(2000), count(20000)
    assert large <= 11 * small + 100
