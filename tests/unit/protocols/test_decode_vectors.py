"""Every public frame of every protocol decodes to what its source says; every wrong one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from backend.kernel.errors import DomainError
from workers.protocols import modbus
from workers.protocols.acrel4g import parse_packet
from workers.protocols.cjt188 import parse_frame
from workers.protocols.decode import PROTOCOLS, UnknownProtocol, decode
from workers.protocols.errors import (
    FrameError,
    LongAnswer,
    ShortAnswer,
    WrongEcho,
    WrongFunction,
    WrongItem,
    WrongUnit,
)

_TREE = json.loads((Path(__file__).parents[2] / "vectors/meter-vectors.json").read_text("utf-8"))
VECTORS: list[dict[str, Any]] = _TREE["vectors"]
# Their `values` say what a profile knows (an event record, floats): no frame carries that.
MEANING_OUTSIDE = ("modbus-open-01", "modbus-open-08")
SIDES = ("request_hex", "response_hex")


def _name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def _sides(vector: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
    request, response = (bytes.fromhex(vector[side]) if side in vector else None for side in SIDES)
    return request, response


def _decoded(vector: dict[str, Any]) -> dict[str, Any]:
    protocol = vector["protocol"]
    request, response = _sides(vector)
    asked = {} if request is None else decode(protocol, request)
    answered = {} if response is None else decode(protocol, response, request)
    if protocol == "acrel-4g-7b7b":
        return asked | answered
    return {side: fields for side, fields in (("request", asked), ("response", answered)) if fields}


def test_all_public_vectors_are_here() -> None:
    assert (len(VECTORS), len(_TREE["negative"])) == (65, 5)


@pytest.mark.parametrize("vector", VECTORS, ids=_name)
def test_a_public_frame_decodes_to_exactly_what_its_source_says(vector: dict[str, Any]) -> None:
    said, got = vector["decoded"], _decoded(vector)
    if vector["id"] in MEANING_OUTSIDE:
        said["response"].pop("values")
        words = [int(word, 16) for word in said["response"]["registers"]]
        assert [value["value"] for value in got["response"].pop("values")] == words
    assert got == said
    assert json.loads(json.dumps(got)) == got


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS if v["protocol"] in ("cjt188", "dlt645-2007", "dlt645-1997")],
    ids=_name,
)
def test_an_answer_is_known_as_one_without_its_request(vector: dict[str, Any]) -> None:
    _, response = _sides(vector)
    if response is not None:
        assert decode(vector["protocol"], response) == vector["decoded"]["response"]
    else:
        assert "response" not in vector["decoded"]


def _rebuilt(protocol: str, raw: bytes, *, is_answer: bool) -> bytes:
    if protocol == "cjt188":
        return parse_frame(raw).encode()
    if protocol == "acrel-4g-7b7b":
        return parse_packet(raw).encode()
    return modbus.frame_of(modbus.parse_answer(raw) if is_answer else modbus.parse_request(raw))


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if not v["protocol"].startswith("dlt645")], ids=_name
)
def test_a_public_frame_is_built_again_byte_for_byte(vector: dict[str, Any]) -> None:
    for is_answer, raw in enumerate(_sides(vector)):
        if raw is not None:
            assert _rebuilt(vector["protocol"], raw, is_answer=bool(is_answer)) == raw


@pytest.mark.parametrize("wrong", _TREE["negative"], ids=_name)
def test_a_wrong_public_frame_is_refused_with_its_reason(wrong: dict[str, Any]) -> None:
    with pytest.raises(FrameError) as refused:
        decode(wrong["protocol"], bytes.fromhex(wrong["frame_hex"]))
    reason = wrong["expect"].split(")")[0].split(":")[0]
    assert refused.value.message.startswith(reason)


@pytest.mark.parametrize("made", _TREE["constructed_not_public"], ids=_name)
def test_a_constructed_frame_is_read(made: dict[str, Any]) -> None:
    assert decode(made["protocol"], bytes.fromhex(made["frame_hex"]))


def test_a_refused_read_of_a_water_meter_is_an_error_answer() -> None:
    frame = bytes.fromhex("68 10 01 00 00 00 00 00 00 C1 03 01 00 00 3E 16")
    assert decode("cjt188", frame) == {
        "type": "10",
        "type_name": "cold water",
        "address": "00000000000001",
        "control": "C1",
        "error": True,
        "ser": "01",
        "wake_up_bytes": 0,
        "status": "00 00",
    }


@pytest.mark.parametrize(
    ("protocol", "frame", "request_hex", "error"),
    [
        ("modbus-rtu", "02 03 02 00 07", "01 03 00 00 00 01", WrongUnit),
        ("modbus-rtu", "01 04 02 00 07", "01 03 00 00 00 01", WrongFunction),
        ("modbus-rtu", "01 03 02 00 07", "01 03 00 00 00 02", ShortAnswer),
        ("modbus-rtu", "01 03 04 00 07 00 08", "01 03 00 00 00 01", LongAnswer),
        ("modbus-rtu", "01 06 00 0A 00 03", "01 06 00 0A 00 02", WrongEcho),
        ("modbus-rtu", "02 08 00 00 A5 37", "01 08 00 00 A5 37", WrongUnit),
        ("modbus-rtu", "01 08 00 00 A5 37", "01 07", WrongFunction),
        ("cjt188", "68 10 44 33 22 11 00 33 79 81 03 90 1F 00", None, None),
    ],
)
def test_an_answer_to_another_question_is_refused(
    protocol: str, frame: str, request_hex: str | None, error: type[FrameError] | None
) -> None:
    body = bytes.fromhex(frame)
    if protocol == "modbus-rtu":
        assert request_hex is not None
        assert error is not None
        with pytest.raises(error):
            decode(protocol, _rtu(body), _rtu(bytes.fromhex(request_hex)))
        return
    answer = body + bytes([sum(body) & 0xFF, 0x16])
    asked = bytes.fromhex("68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16")
    assert decode(protocol, answer)["address"] == "79330011223344"
    with pytest.raises(WrongUnit):
        decode(protocol, answer, asked)
    with pytest.raises(WrongFunction):
        decode(protocol, answer, answer)
    other = bytes.fromhex("68 10 44 33 22 11 00 33 78 81 03 81 05 00")
    with pytest.raises(WrongItem):
        decode(protocol, other + bytes([sum(other) & 0xFF, 0x16]), asked)


def test_a_function_without_a_fixed_answer_is_still_read() -> None:
    echo = _rtu(bytes.fromhex("01 08 00 00 A5 37"))
    assert decode("modbus-rtu", echo) == {"unit": 1, "fc": 8, "pdu": "08 00 00 A5 37"}
    assert decode("modbus-rtu", echo, echo) == {"unit": 1, "fc": 8}


def test_a_4g_meters_time_data_and_transparent_answers_are_read() -> None:
    from workers.protocols.acrel4g import Cmd, DataUpload, Packet, Section, transparent

    rtu = _rtu(b"\x01\x03\x02\x00\x07")
    upload = Packet(Cmd.DATA, DataUpload("A1", (Section("001", rtu),)).encode()).encode()
    assert decode("acrel-4g", upload)["data"] == {
        "serial": "A1",
        "sections": [{"address": "001", "answer": "01 03 02 00 07 F9 86"}],
    }
    asked = Packet(Cmd.TIME, b"A1".ljust(20, b"\0")).encode()
    assert decode("acrel-4g", asked) == {
        "uplink": {"cmd": "93", "body_len": 20},
        "time_request": {"serial": "A1"},
    }
    told = Packet(Cmd.TIME, bytes([23, 10, 10, 3, 8, 9, 10])).encode()
    for request in (asked, None):
        assert decode("acrel-4g", told, request) == {
            "downlink": {"cmd": "93", "body_len": 7},
            "time": {"value": "2023-10-10 08:09:10", "weekday": 3},
        }
    with pytest.raises(WrongFunction):
        decode("acrel-4g", told, upload)
    passed = transparent(rtu, serials=["A1"]).encode()
    assert decode("acrel-4g", passed, transparent(rtu).encode())["transparent"] == {
        "serial": "A1",
        "frame": "01 03 02 00 07 F9 86",
    }


def test_an_unknown_protocol_and_no_bytes_are_refused() -> None:
    with pytest.raises(UnknownProtocol, match="modbus-rtu, dlt645-2007"):
        decode("dlms", b"\x7e")
    for protocol in PROTOCOLS:
        with pytest.raises(ShortAnswer):
            decode(protocol, b"")


def _rtu(payload: bytes) -> bytes:
    return payload + FramerRTU.compute_CRC(payload).to_bytes(2, "big")


def _outcome(protocol: str, raw: bytes, asked: bytes | None = None) -> str:
    """The fields as JSON, or why the frame is refused; any other error goes through."""
    try:
        return json.dumps(decode(protocol, raw, asked))
    except DomainError as refused:
        return refused.message


def _sealed(protocol: str, raw: bytes) -> bytes:
    """`raw` with its sum made right, so that a mutation gets past the first check."""
    if protocol == "modbus-rtu":
        return _rtu(raw[:-2])
    if protocol.startswith("acrel"):
        inside = raw[2:-4]
        return raw[:2] + _rtu(inside) + raw[-2:]
    start = raw.find(b"\x68")
    return raw[:-2] + bytes([sum(raw[max(start, 0) : -2]) & 0xFF]) + raw[-1:]


_FRAMES = [(v["protocol"], raw) for v in VECTORS for raw in _sides(v) if raw]


@settings(max_examples=1500)
@given(
    base=st.sampled_from(_FRAMES),
    changes=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 3),
    extra=st.binary(max_size=3),
    sealed=st.booleans(),
    asked=st.none() | st.sampled_from(_FRAMES),
)
def test_no_mutation_of_a_frame_gets_more_than_a_typed_refusal(
    base: tuple[str, bytes],
    changes: list[tuple[int, int]],
    cut: int,
    extra: bytes,
    sealed: bool,
    asked: tuple[str, bytes] | None,
) -> None:
    protocol, frame = base
    raw = bytearray(frame)
    for at, value in changes:
        raw[at % len(raw)] = value
    mutated = bytes(raw[: len(raw) - cut]) + extra
    mutated = _sealed(protocol, mutated) if sealed else mutated
    assert _outcome(protocol, mutated, None if asked is None else asked[1])


@settings(max_examples=500)
@given(
    protocol=st.sampled_from(PROTOCOLS),
    head=st.sampled_from(
        [b"", b"\x68", b"\x7b\x7b", b"\x01\x03", b"\x01\x10", b"\x01\x2b", b"\x01\x17"]
    ),
    body=st.binary(max_size=260),
    sealed=st.booleans(),
)
def test_random_bytes_get_only_a_typed_refusal(
    protocol: str, head: bytes, body: bytes, sealed: bool
) -> None:
    raw = _sealed(protocol, head + body) if sealed else head + body
    assert _outcome(protocol, raw)
