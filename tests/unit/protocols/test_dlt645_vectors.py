"""Every public DL/T 645 frame decodes to what its source says and is made again from those fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workers.protocols import dlt645_requests as requests
from workers.protocols.dlt645 import Edition, decode_frame
from workers.protocols.dlt645_answers import LongRead, accepted, answer, ask, refusal
from workers.protocols.dlt645_data import decode_values, encode_data
from workers.protocols.dlt645_frame import Frame, hunt, parse
from workers.protocols.dlt645_functions import Action
from workers.protocols.dlt645_requests import Password, di_to_wire
from workers.protocols.errors import BadValue, CrcError, FrameError, MeterRefused, WrongSequence

_TREE = json.loads((Path(__file__).parents[2] / "vectors/meter-vectors.json").read_text("utf-8"))
_EDITIONS: dict[str, Edition] = {"dlt645-2007": "2007", "dlt645-1997": "1997"}
_VECTORS = [v for v in _TREE["vectors"] if v["protocol"] in _EDITIONS]
_NEGATIVE = [v for v in _TREE["negative"] if v["protocol"] in _EDITIONS]
_CONSTRUCTED = {
    v["id"]: bytes.fromhex(v["frame_hex"])
    for v in _TREE["constructed_not_public"]
    if v["protocol"] in _EDITIONS
}


def _name(vector: dict[str, Any]) -> str:
    return str(vector["id"])


_each_vector = pytest.mark.parametrize("vector", _VECTORS, ids=_name)
_answered = pytest.mark.parametrize(
    "vector", [v for v in _VECTORS if "request_hex" in v and "response_hex" in v], ids=_name
)


def _request_of(said: dict[str, Any], edition: Edition, original: bytes) -> bytes:
    """The request made by our own builders from the decoded fields. Only a password, which decoded
    fields never show, is taken from the original bytes."""
    wake_up: int = said["wake_up_bytes"]
    address = said["address"]
    match said["function"]:
        case "read" | "read(1997)":
            question = requests.read(
                address=address, di=said["di"], edition=edition, wake_up=wake_up
            )
            return question.request
        case "read-address":
            return requests.read_address(wake_up=wake_up).request
        case "broadcast-time":
            moment = datetime.fromisoformat(said["time"]).replace(tzinfo=UTC)
            return requests.broadcast_time(moment=moment, wake_up=wake_up)
        case "remote-control":
            return requests.remote_control(
                address=address,
                action=Action[said["action"].upper().replace("-", "_")],
                valid_until=datetime.fromisoformat(said["valid_until"]).replace(tzinfo=UTC),
                password=Password(int(said["password_level"], 16), parse(original).data[1:4]),
                operator=bytes.fromhex(said["operator"]),
                wake_up=wake_up,
            ).request
        case "security":
            operator = bytes.fromhex(said["operator_bytes_on_wire_order"])
            question = requests.security(
                address=address, di=said["di"], operator=operator, wake_up=wake_up
            )
            return question.request
    raise AssertionError(f"no builder for {said['function']}")


def _answer_of(said: dict[str, Any], edition: Edition) -> bytes:
    asked = Frame(said["address"], int(said["control"], 16) & 0x1F, b"")
    if said["error"]:
        sent = refusal(asked, code=int(said["error_code"], 16))
    elif "read_address" in said:
        sent = answer(asked, data=bytes.fromhex(said["read_address"])[::-1])
    elif "di" in said:
        data = encode_data(said, di=said["di"], edition=edition)
        sent = answer(asked, data=di_to_wire(said["di"], edition=edition) + data)
    else:
        sent = answer(asked)
    return Frame(sent.address, sent.control, sent.data, said["wake_up_bytes"]).encode()


def test_all_public_vectors_are_here() -> None:
    assert len(_VECTORS) == 35
    assert sum(("request_hex" in v) + ("response_hex" in v) for v in _VECTORS) == 56
    assert (len(_NEGATIVE), len(_CONSTRUCTED)) == (4, 8)


@_each_vector
def test_a_public_frame_decodes_to_what_its_source_says(vector: dict[str, Any]) -> None:
    edition = _EDITIONS[vector["protocol"]]
    for side in ("request", "response"):
        if f"{side}_hex" in vector:
            frame = bytes.fromhex(vector[f"{side}_hex"])
            assert decode_frame(frame, edition=edition) == vector["decoded"][side]


@_each_vector
def test_a_public_frame_is_made_again_from_its_fields(vector: dict[str, Any]) -> None:
    edition = _EDITIONS[vector["protocol"]]
    if "request_hex" in vector:
        frame = bytes.fromhex(vector["request_hex"])
        assert parse(frame).encode() == frame
        assert _request_of(vector["decoded"]["request"], edition, frame) == frame
    if "response_hex" in vector:
        frame = bytes.fromhex(vector["response_hex"])
        assert parse(frame).encode() == frame
        assert _answer_of(vector["decoded"]["response"], edition) == frame


@_answered
def test_a_public_answer_is_taken_as_the_answer_to_its_request(vector: dict[str, Any]) -> None:
    edition = _EDITIONS[vector["protocol"]]
    request, response = (bytes.fromhex(vector[f"{side}_hex"]) for side in ("request", "response"))
    expected = ask(parse(request), edition=edition).expected
    assert expected.take(response) == (response, b"")
    said = vector["decoded"]["response"]
    assert decode_frame(response, request=request, edition=edition) == said
    if said["error"]:
        with pytest.raises(MeterRefused) as refused:
            accepted(response, edition=edition)
        assert refused.value.refusal == int(said["error_code"], 16)


@pytest.mark.parametrize("vector", _NEGATIVE, ids=_name)
def test_a_wrong_public_frame_is_refused_with_its_reason(vector: dict[str, Any]) -> None:
    kind = CrcError if vector["expect"].startswith("checksum error") else BadValue
    reason = vector["expect"].split(")")[0]
    with pytest.raises(kind) as refused:
        decode_frame(bytes.fromhex(vector["frame_hex"]), edition=_EDITIONS[vector["protocol"]])
    assert refused.value.message.startswith(reason)


def test_the_noise_before_a_public_answer_is_passed_over() -> None:
    frame = bytes.fromhex("68 22 22 22 22 22 22 68 93 06 55 55 55 55 55 55 33 16")
    noise = bytes.fromhex("FE FE AA AA")
    assert requests.read_address().expected.take(noise + frame) == (frame, b"")
    with pytest.raises(FrameError):
        decode_frame(noise + frame)


def test_a_long_answer_is_put_together_part_by_part() -> None:
    first, asked, last = (_CONSTRUCTED[f"con-open-0{n}"] for n in (1, 2, 3))
    assert decode_frame(first)["more_frames"] is True
    assert decode_frame(asked)["seq"] == "01"
    assert decode_frame(last, request=asked)["data"] == "03 00 00 00 04 00 00 00 05 00 00 00"
    begun = LongRead.of(first)
    question = begun.next_question(wake_up=0)
    assert question.request == asked
    assert question.expected.take(last) == (last, b"")
    whole = begun.add(last)
    assert not whole.has_more
    values = decode_values(whole.data, di=whole.di, edition="2007")
    assert [value.value for value in values] == ["0.01", "0.02", "0.03", "0.04", "0.05"]
    with pytest.raises(WrongSequence):
        whole.next_question()


def test_a_repeated_part_of_a_long_answer_is_not_added_twice() -> None:
    begun = LongRead.of(_CONSTRUCTED["con-open-01"])
    part = parse(_CONSTRUCTED["con-open-03"])
    again = begun.add(Frame(part.address, 0xB2, part.data).encode())
    with pytest.raises(WrongSequence):
        again.add(part.encode())
    assert again.next_question().expected.take(part.encode())[0] is None


@pytest.mark.parametrize(
    ("key", "action"),
    [("con-open-04", Action.KEEP_POWER), ("con-open-05", Action.RELEASE_KEEP_POWER)],
)
def test_keep_power_and_its_release_are_made_as_constructed(key: str, action: Action) -> None:
    question = requests.remote_control(
        address="000000000001",
        action=action,
        valid_until=datetime(2099, 12, 31, tzinfo=UTC),
        password=Password(2, bytes(3)),
        wake_up=0,
    )
    assert question.request == _CONSTRUCTED[key]
    said = decode_frame(_CONSTRUCTED[key])
    assert (said["action"], said["valid_until"]) == (action.word, "2099-12-31 00:00:00")


def test_a_wrong_password_is_told_as_the_meter_says_it() -> None:
    refused = _CONSTRUCTED["con-open-06"]
    said = decode_frame(refused, request=_CONSTRUCTED["con-open-04"])
    assert said["error_bits"] == ["password wrong / not authorised"]
    with pytest.raises(MeterRefused, match="password wrong"):
        accepted(refused)


def test_a_written_time_and_its_confirmation_are_understood() -> None:
    written, confirmed = _CONSTRUCTED["con-open-07"], _CONSTRUCTED["con-open-08"]
    said = decode_frame(written)
    assert (said["di"], said["time"], said["password_level"]) == ("04000102", "21:53:55", "02")
    question = requests.write(
        address="000000000001",
        di="04000102",
        data=encode_data({"time": "21:53:55"}, di="04000102"),
        password=Password(2, bytes(3)),
        wake_up=0,
    )
    assert question.request == written
    assert question.expected.take(confirmed) == (confirmed, b"")


def test_no_public_frame_is_found_inside_its_own_pieces() -> None:
    for vector in _VECTORS:
        for side in ("request_hex", "response_hex"):
            frame = bytes.fromhex(vector.get(side, ""))
            for cut in range(len(frame)):
                taken, rest = hunt(frame[:cut], fits_head=lambda _: True, fits=lambda _: True)
                assert taken is None
                assert frame[:cut].endswith(rest)
