"""Every public Modbus frame we know decodes to what its source says and encodes back to itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pymodbus.pdu import ExceptionResponse

from workers.protocols import modbus
from workers.protocols.errors import CrcError, MeterRefused

_TREE = json.loads((Path(__file__).parents[1] / "vectors/meter-vectors.json").read_text("utf-8"))
_VECTORS = [v for v in _TREE["vectors"] if v["protocol"] == "modbus-rtu"]
_ANSWERED = [v for v in _VECTORS if "response_hex" in v]
_NEGATIVE = [v for v in _TREE["negative"] if v["protocol"] == "modbus-rtu"]


def _name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def test_all_fourteen_public_vectors_are_here() -> None:
    assert len(_VECTORS) == 14
    assert len(_NEGATIVE) == 1


@pytest.mark.parametrize("vector", _VECTORS, ids=_name)
def test_a_public_request_decodes_and_encodes_back(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["request_hex"])
    said = vector["decoded"]["request"]
    pdu = modbus.parse_request(frame)
    assert (pdu.dev_id, pdu.function_code) == (said["unit"], said["fc"])
    assert pdu.address == int(said["address"], 16)
    if "count" in said:
        assert pdu.count == said["count"]
    if "registers" in said:
        assert list(pdu.registers) == [int(word, 16) for word in said["registers"]]
    assert modbus.frame_of(pdu) == frame
    assert modbus.ask(pdu).request == frame
    taken, rest = modbus.take_request(frame + b"\x01")
    assert taken is not None
    assert (type(taken), rest) == (type(pdu), b"\x01")


@pytest.mark.parametrize("vector", _ANSWERED, ids=_name)
def test_a_public_answer_is_the_answer_to_its_request(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["response_hex"])
    said = vector["decoded"]["response"]
    question = modbus.ask(modbus.parse_request(bytes.fromhex(vector["request_hex"])))
    assert question.expected.take(frame) == (frame, b"")
    pdu = modbus.parse_answer(frame)
    assert modbus.frame_of(pdu) == frame
    if "registers" in said:
        assert modbus.registers_of(frame).hex().upper() == "".join(said["registers"])
    if "exception" in said:
        assert isinstance(pdu, ExceptionResponse)
        with pytest.raises(MeterRefused) as refused:
            modbus.accepted(frame)
        assert refused.value.refusal == said["exception"]


@pytest.mark.parametrize("vector", _NEGATIVE, ids=_name)
def test_a_public_wrong_frame_is_refused(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame_hex"])
    with pytest.raises(CrcError, match="right would be c0 f1"):
        modbus.parse_answer(frame)
    with pytest.raises(CrcError):
        modbus.read_registers(unit=1, address=0, count=2).expected.take(frame)
