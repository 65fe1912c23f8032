"""CJ/T 188: what is asked is what the public frames say, and no value is taken that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.errors import InvalidInput
from workers.protocols import cjt188_requests as requests
from workers.protocols import cjt188_values as values
from workers.protocols.cjt188 import ANY_ADDRESS, Cjt188Frame, check_answer, parse_frame
from workers.protocols.cjt188_values import Dialect, ValveBits, ValveOrder
from workers.protocols.errors import (
    BadValue,
    CrcError,
    FrameError,
    LongAnswer,
    MeterRefused,
    ShortAnswer,
    WrongFunction,
    WrongItem,
    WrongUnit,
)

_TREE = json.loads((Path(__file__).parents[2] / "vectors/meter-vectors.json").read_text("utf-8"))
VECTORS = {v["id"]: v for v in _TREE["vectors"] if v["protocol"] == "cjt188"}
FRAMES = [
    bytes.fromhex(v[side])
    for v in VECTORS.values()
    for side in ("request_hex", "response_hex")
    if side in v
]
PLAIN = Dialect()
frames = st.builds(
    Cjt188Frame,
    kind=st.integers(0, 255),
    address=st.from_regex(r"[0-9]{14}", fullmatch=True) | st.just(ANY_ADDRESS),
    control=st.integers(0, 255),
    data=st.binary(max_size=100),
    wake_up=st.integers(0, 5),
)


def _raw(vector: str, side: str = "response_hex") -> bytes:
    return bytes.fromhex(VECTORS[vector][side])


def _data(vector: str) -> bytes:
    return parse_frame(_raw(vector)).data


def test_a_frame_that_dlt645_could_read_as_well_is_what_it_was_asked_to_be() -> None:
    both = Cjt188Frame(kind=0, address="00680000000000", control=4, data=bytes(3), wake_up=0)
    assert parse_frame(both.encode()) == both


@given(frame=frames)
def test_a_frame_survives_the_wire(frame: Cjt188Frame) -> None:
    assert parse_frame(frame.encode()) == frame


@pytest.mark.parametrize("raw", FRAMES, ids=range(len(FRAMES)))
def test_every_public_frame_is_built_again_byte_for_byte(raw: bytes) -> None:
    assert parse_frame(raw).encode() == raw


def test_all_nineteen_public_frames_are_here() -> None:
    assert (len(VECTORS), len(FRAMES)) == (14, 19)


@pytest.mark.parametrize(
    ("vector", "made"),
    [
        (
            "cjt188-open-01",
            requests.read_meter(
                kind=0x10, address="78330011223344", dialect=Dialect(di_low_first=True)
            ),
        ),
        (
            "cjt188-open-06",
            requests.read_meter(kind=0x10, address=ANY_ADDRESS, ser=0xAA, wake_up=2),
        ),
        ("cjt188-open-10", requests.read_address(kind=0x10, ser=1, wake_up=3)),
        ("cjt188-open-14", requests.read_meter(kind=0x20, address="00000040314132", ser=1)),
        *(
            (
                f"cjt188-open-{number}",
                requests.order_valve(
                    kind=0x10, address="00000019121301", order=order, ser=1, wake_up=3
                ),
            )
            for number, order in (
                ("07", ValveOrder.CLOSE),
                ("08", ValveOrder.READ_STATE),
                ("09", ValveOrder.FREE_CLOSE),
            )
        ),
        (
            "cjt188-open-11",
            requests.order_valve(kind=0x10, address="78331505900569", order=ValveOrder.OPEN, ser=1),
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_our_questions_are_the_public_ones(vector: str, made: requests.Question) -> None:
    assert made.request == _raw(vector, "request_hex")
    if "response_hex" in VECTORS[vector]:
        answer = _raw(vector)
        taken, rest = made.expected.take(answer)
        assert (taken, rest) == (answer.lstrip(b"\xfe"), b"")


def test_each_fault_of_a_frame_has_its_own_error() -> None:
    right = _raw("cjt188-open-01")
    with pytest.raises(CrcError, match=r"right value 13\): 08 came"):
        parse_frame(right[:-2] + b"\x08\x16")
    with pytest.raises(ShortAnswer):
        parse_frame(right[:-1])
    with pytest.raises(ShortAnswer):
        parse_frame(b"\xfe\xfe")
    with pytest.raises(LongAnswer):
        parse_frame(right + b"\x00")
    with pytest.raises(FrameError, match="ends with 16"):
        parse_frame(right[:-1] + b"\x17")
    with pytest.raises(FrameError, match="starts with 68"):
        parse_frame(b"\x00" + right)
    with pytest.raises(FrameError, match="645"):
        parse_frame(bytes.fromhex("FE 68 12 90 78 56 34 12 68 11 04 33 33 34 33 68 16"))


def test_the_address_decides_who_answered_whatever_type_it_says() -> None:
    asked, answer = (
        parse_frame(_raw("cjt188-open-13", "request_hex")),
        parse_frame(_raw("cjt188-open-13")),
    )
    assert (asked.kind, answer.kind) == (0x20, 0x25)
    check_answer(request=asked, answer=answer)
    other = parse_frame(_raw("cjt188-open-12"))
    with pytest.raises(WrongUnit):
        check_answer(request=asked, answer=other)
    check_answer(request=Cjt188Frame(0x20, ANY_ADDRESS, 1, asked.data), answer=other)


def test_an_answer_to_another_question_is_not_ours() -> None:
    address = "00000000000001"
    asked = Cjt188Frame(0x10, address, 1, bytes.fromhex("901F00"))
    for order in ("901F07", "1F9007"):
        check_answer(request=asked, answer=Cjt188Frame(0x10, address, 0x81, bytes.fromhex(order)))
    with pytest.raises(WrongItem):
        check_answer(
            request=asked, answer=Cjt188Frame(0x10, address, 0x81, bytes.fromhex("810500"))
        )
    with pytest.raises(WrongFunction):
        check_answer(
            request=asked, answer=Cjt188Frame(0x10, address, 0x84, bytes.fromhex("901F00"))
        )


def test_a_refusal_is_told_with_its_status() -> None:
    raw = bytes.fromhex("68 10 01 00 00 00 00 00 00 C1 03 01 12 34 84 16")
    with pytest.raises(MeterRefused, match="status 12 34") as refused:
        requests.accepted(raw)
    assert refused.value.refusal == 0x1234
    assert requests.accepted(_raw("cjt188-open-01")).control == 0x81
    question = requests.read_meter(kind=0x10, address="00000000000001")
    assert question.expected.take(raw) == (raw, b"")


def test_a_broken_clock_does_not_cost_the_reading() -> None:
    data = bytearray(_data("cjt188-open-01"))
    for clock in (
        "00000000000000",
        "FFFFFFFFFFFFFF",
        "61012211051520",
        "31012230021520",
        "3A012211051520",
        "31012411051520",
    ):
        data[13:20] = bytes.fromhex(clock)
        reading = values.water_reading(bytes(data), dialect=PLAIN)
        assert reading.clock is None
        assert reading.current == values.Measured("556677.00", "m3")


def test_a_volume_that_is_no_number_is_refused_and_all_ff_is_no_volume() -> None:
    data = bytearray(_data("cjt188-open-01"))
    data[3:7] = bytes.fromhex("0A000000")
    with pytest.raises(BadValue, match="0A 00 00 00 are not BCD"):
        values.water_reading(bytes(data), dialect=PLAIN)
    data[3:7] = b"\xff" * 4
    assert values.water_reading(bytes(data), dialect=PLAIN).current.value is None


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        (ValveBits.STANDARD, ["open", "closed", "reserved", "abnormal"]),
        (ValveBits.MOVING_IS_1, ["open", "moving", "closed", "abnormal"]),
    ],
)
def test_the_valve_bits_are_read_as_the_make_has_them(bits: ValveBits, said: list[str]) -> None:
    data = bytearray(_data("cjt188-open-01"))
    for state, word in enumerate(said):
        data[20] = 0x04 | state
        reading = values.water_reading(bytes(data), dialect=Dialect(valve_bits=bits))
        assert (reading.valve, reading.battery_low) == (word, True)


def test_a_unit_before_its_value_is_seen_and_a_profile_can_say_so() -> None:
    data = _data("cjt188-open-14")
    seen = values.heat_reading(data, dialect=PLAIN)
    told = values.heat_reading(data, dialect=Dialect(unit_first=True))
    assert seen == told
    assert (seen.volume.value, seen.volume.unit) == ("10.34", "m3")
    after = values.heat_reading(_data("cjt188-open-13"), dialect=PLAIN)
    assert after == values.heat_reading(_data("cjt188-open-13"), dialect=Dialect(unit_first=False))
    assert after.energy_2 == values.Measured("54427.88", "kWh")


@given(number=st.integers(0, 99_999_999))
def test_an_amount_keeps_every_digit(number: int) -> None:
    raw = values.to_bcd(number, size=4)
    assert values.decimal(raw, places=2) == f"{number // 100}.{number % 100:02d}"
    assert values.decimal(raw, places=0) == str(number)


def test_a_purchase_is_written_with_its_number_and_read_back() -> None:
    question = requests.write_purchase(
        kind=0x10, address="00000000000001", sequence=7, amount_hundredths=12345, ser=3
    )
    frame = parse_frame(question.request)
    assert frame.data.hex(" ") == "a0 13 03 07 45 23 01 00"
    answer = Cjt188Frame(0x10, frame.address, 0x84, frame.data).encode()
    assert question.expected.take(answer) == (answer, b"")
    read = requests.read_purchase(kind=0x10, address=frame.address)
    assert parse_frame(read.request).data.hex() == "810500"
    held = values.purchase_data(bytes.fromhex("8105000745230100 99000000 50000000 0000"))
    assert (held.sequence, held.last, held.total, held.remaining) == (7, "123.45", "0.99", "0.50")


@pytest.mark.parametrize(
    "make",
    [
        lambda: requests.read_meter(kind=0x10, address="123"),
        lambda: requests.read_meter(kind=0x10, address="0000000000000F"),
        lambda: requests.write_purchase(
            kind=0x10, address="0" * 14, sequence=256, amount_hundredths=1
        ),
        lambda: requests.write_purchase(
            kind=0x10, address="0" * 14, sequence=1, amount_hundredths=100_000_000
        ),
        lambda: Cjt188Frame(0x10, "0" * 14, 1, bytes(101)).encode(),
    ],
)
def test_what_does_not_fit_a_frame_is_refused_before_the_wire(make: Any) -> None:
    with pytest.raises(InvalidInput):
        make()


@pytest.mark.parametrize(
    ("wire", "di"),
    [("901F", 0x901F), ("1F90", 0x901F), ("17A0", 0xA017), ("A017", 0xA017), ("0A81", 0x810A),
     ("20D1", 0xD120), ("D2D1", 0xD2D1), ("0102", 0x0102)],
)  # fmt: skip
def test_a_data_identifier_is_known_in_either_byte_order(wire: str, di: int) -> None:
    assert values.identifier(bytes.fromhex(wire)) == di
