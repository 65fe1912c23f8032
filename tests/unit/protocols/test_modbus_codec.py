"""The codec: what is asked is what is cut out of the stream, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.pdu import ExceptionResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from workers.protocols import modbus
from workers.protocols.acrel import PrivateWriteAnswer, PrivateWriteRequest
from workers.protocols.errors import (
    CrcError,
    LongAnswer,
    MeterRefused,
    ShortAnswer,
    WrongEcho,
    WrongFunction,
    WrongUnit,
)
from workers.protocols.values import RegisterType, WordOrder, read_int, to_words

words = st.integers(0, 0xFFFF)
units = st.integers(1, 247)


def _read_answer(unit: int, registers: list[int]) -> bytes:
    return modbus.frame_of(ReadHoldingRegistersResponse(dev_id=unit, registers=registers))


@given(unit=units, address=words, registers=st.lists(words, min_size=1, max_size=125))
def test_a_read_answer_is_cut_out_whole_however_the_stream_is_torn(
    unit: int, address: int, registers: list[int]
) -> None:
    question = modbus.read_registers(unit=unit, address=address, count=len(registers))
    frame = _read_answer(unit, registers)
    for cut in (0, 1, 2, 3, len(frame) // 2, len(frame) - 1):
        assert question.expected.take(frame[:cut]) == (None, frame[:cut])
    got, rest = question.expected.take(frame + b"\x07\x08")
    assert rest == b"\x07\x08"
    assert got is not None
    assert modbus.registers_of(got) == b"".join(word.to_bytes(2, "big") for word in registers)


@given(unit=units, values=st.lists(words, min_size=1, max_size=123), address=words)
def test_a_write_request_survives_the_wire(unit: int, values: list[int], address: int) -> None:
    request = modbus.write_registers(unit=unit, address=address, values=values).request
    pdu = modbus.parse_request(request)
    assert (pdu.dev_id, pdu.address, list(pdu.registers)) == (unit, address, values)
    assert modbus.frame_of(pdu) == request


@given(unit=units, values=st.lists(words, min_size=1, max_size=8), address=words)
def test_a_write_that_forces_a_relay_is_that_of_its_function_and_an_echo_says_it_was_taken(
    unit: int, values: list[int], address: int
) -> None:
    place = {"unit": unit, "address": address}
    forcing = modbus.forcing_write(function=0x10, values=tuple(values), **place)
    assert forcing == modbus.write_registers(values=values, **place)
    private = modbus.forcing_write(function=0x20, values=tuple(values), **place)
    assert private == modbus.private_write(values=values, **place)
    echo = forcing.request[:6]
    answer, _ = forcing.expected.take(echo + modbus.crc_of(echo))
    assert answer is not None
    modbus.check_taken(answer)
    refused, _ = forcing.expected.take(
        modbus.frame_of(ExceptionResponse(0x10, exception_code=3, device_id=unit))
    )
    assert refused is not None
    with pytest.raises(MeterRefused):
        modbus.check_taken(refused)


@given(unit=units, values=st.lists(words, min_size=4, max_size=4))
def test_a_sale_survives_the_wire_and_its_answer_is_15_bytes(unit: int, values: list[int]) -> None:
    question = modbus.private_write(unit=unit, address=0x0100, values=values)
    pdu = modbus.parse_request(question.request)
    assert isinstance(pdu, PrivateWriteRequest)
    assert (pdu.address, list(pdu.registers)) == (0x0100, values)
    answer = modbus.frame_of(PrivateWriteAnswer.taking(pdu))
    assert len(answer) == 15
    assert question.expected.take(answer) == (answer, b"")
    parsed = modbus.accepted(answer)
    assert isinstance(parsed, PrivateWriteAnswer)
    assert parsed.body == answer[2:-2]


def test_a_sale_of_50_yuan_as_number_1_has_these_bytes() -> None:
    question = modbus.private_write(unit=1, address=0x0100, values=(0, 5000, 1, 0))
    assert question.request.hex(" ") == "01 20 01 00 00 04 08 00 00 13 88 00 01 00 00 37 b7"


@given(frame=st.binary(min_size=0, max_size=300))
def test_noise_never_breaks_a_meters_ear(frame: bytes) -> None:
    _, rest = modbus.take_request(frame)
    assert frame.endswith(rest)


def test_a_request_is_found_behind_noise_and_two_glued_ones_are_both_heard() -> None:
    first = modbus.read_registers(unit=3, address=0x0200, count=48).request
    second = modbus.read_registers(unit=4, address=0x0200, count=48).request
    pdu, rest = modbus.take_request(b"\xff\xfe" + first + second)
    assert pdu is not None
    assert (pdu.dev_id, rest) == (3, second)


def test_two_glued_answers_are_split() -> None:
    question = modbus.read_registers(unit=9, address=0x021F, count=3)
    first, second = _read_answer(9, [0, 100, 1]), _read_answer(9, [0, 200, 2])
    got, rest = question.expected.take(first + second)
    assert (got, rest) == (first, second)
    assert question.expected.take(rest) == (second, b"")


def test_each_kind_of_wrong_answer_has_its_own_error() -> None:
    expected = modbus.read_registers(unit=9, address=0x021F, count=3).expected
    right = _read_answer(9, [0, 100, 1])
    with pytest.raises(WrongUnit):
        expected.take(_read_answer(8, [0, 100, 1]))
    with pytest.raises(WrongFunction):
        expected.take(modbus.write_registers(unit=9, address=0, values=[1]).request)
    with pytest.raises(ShortAnswer):
        expected.take(_read_answer(9, [0, 100]))
    with pytest.raises(LongAnswer):
        expected.take(_read_answer(9, [0, 100, 1, 2]))
    with pytest.raises(CrcError):
        expected.take(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(ShortAnswer):
        modbus.parse_answer(b"\x09\x03")
    echo = modbus.write_registers(unit=9, address=0x0057, values=[1, 1]).expected
    with pytest.raises(WrongEcho):
        echo.take(modbus.write_registers(unit=9, address=0x0058, values=[1, 1]).request[:8])


def test_an_exception_answer_is_the_meters_refusal_with_its_code() -> None:
    question = modbus.private_write(unit=9, address=0x0100, values=[0, 1, 7, 0])
    frame = modbus.frame_of(ExceptionResponse(0x20, 3, device_id=9))
    assert question.expected.take(frame) == (frame, b"")
    with pytest.raises(MeterRefused, match="value refused") as refused:
        modbus.accepted(frame)
    assert refused.value.refusal == 3


@given(kind=st.sampled_from(RegisterType), order=st.sampled_from(WordOrder), data=st.data())
def test_a_number_survives_its_registers(
    kind: RegisterType, order: WordOrder, data: st.DataObject
) -> None:
    bits = 16 * kind.words
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind.signed else (0, 2**bits - 1)
    value = data.draw(st.integers(low, high))
    registers = b"".join(
        word.to_bytes(2, "big") for word in to_words(value, kind=kind, order=order)
    )
    assert read_int(b"\0\0" + registers, at=1, kind=kind, order=order) == value
    with pytest.raises(IndexError):
        read_int(registers, at=1, kind=kind, order=order)


def test_the_high_word_comes_first_unless_the_profile_says_otherwise() -> None:
    registers = bytes.fromhex("00010002")
    assert read_int(registers, at=0, kind=RegisterType.U32, order=WordOrder.BIG) == 0x00010002
    assert read_int(registers, at=0, kind=RegisterType.U32, order=WordOrder.LITTLE) == 0x00020001
