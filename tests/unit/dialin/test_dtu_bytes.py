"""What a DTU sends is taken apart at the borders of frames, however TCP glues and cuts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.links.dialin.dtu import Dtu
from workers.links.dialin.ports import Beat, Gone, Named, Registered
from workers.protocols.errors import LongAnswer

from .talks import (
    ICCID,
    Talk,
    bare,
    bus_bytes,
    cjt188_talk,
    cut,
    dlt645_talk,
    modbus_talk,
    registered,
    row_of,
    sale_talk,
)

# Heartbeats as DTUs have them, and such as look like the beginning of an answer or occur inside one.
HEARTBEATS = (
    *(b"ping", b"$", b"\xfe\xfe", b"heartbeat", b"\x01\x03", b"\x01\x03\x08", b"\x01"),
    *(b"\x68", b"\x68" * 8, b"\x00\x00", b"\x16", b"\x07\x20", ICCID),
)
TALKS = (
    modbus_talk(0x0103, 0, 0x7069, 0x6E67),  # holds 01 03, zeros and "ping"
    modbus_talk(*range(48)),
    sale_talk(),
    dlt645_talk(b"\x35\x68\x16\x00"),
    cjt188_talk(b"ping\x68\x16\x00\x00" + bytes(11)),
)


@given(
    heartbeat=st.sampled_from(HEARTBEATS),
    talks=st.lists(st.sampled_from(TALKS), min_size=1, max_size=3),
    beats=st.lists(st.integers(0, 2), min_size=12, max_size=12),
    cuts=st.lists(st.integers(0, 500), max_size=12),
    prefix=st.booleans(),
)
def test_an_answer_comes_out_whole_and_alone_whatever_is_glued_around_it(
    heartbeat: bytes,
    talks: list[Talk],
    beats: list[int],
    cuts: list[int],
    prefix: bool,
) -> None:
    dtu = registered(row_of(heartbeat=heartbeat, prefix=prefix))
    counts = iter(beats)
    for talk in talks:
        unasked = [dtu.received(part) for part in cut(heartbeat * next(counts), cuts)]
        assert [bus_bytes(events) for events in unasked] == [[]] * len(unasked)
        assert dtu.wrap(talk.question) == talk.question
        assert dtu.asking
        head = ICCID if prefix else b""
        raw = heartbeat * next(counts) + head + talk.answer + heartbeat * next(counts)
        came = [data for part in cut(raw, cuts) for data in bus_bytes(dtu.received(part))]
        assert bare(came) == [talk.answer]
        assert not dtu.asking


@given(
    talk=st.sampled_from(TALKS),
    heartbeat=st.binary(min_size=1, max_size=40),
    before=st.integers(0, 2),
)
def test_no_heartbeat_an_operator_may_type_can_cut_a_frame(
    talk: Talk, heartbeat: bytes, before: int
) -> None:
    dtu = registered(row_of(heartbeat=heartbeat))
    dtu.wrap(talk.question)
    assert bare(bus_bytes(dtu.received(heartbeat * before + talk.answer))) == [talk.answer]


def test_heartbeat_bytes_inside_a_frame_stay_there_even_when_cut_out_of_it_exactly() -> None:
    talk = modbus_talk(0x7069, 0x6E67)
    at = talk.answer.index(b"ping")
    dtu = registered(row_of())
    dtu.wrap(talk.question)
    parts = (talk.answer[:at], b"ping", talk.answer[at + 4 :])
    assert [bus_bytes(dtu.received(part)) for part in parts] == [[], [], [talk.answer]]


def test_a_heartbeat_put_into_the_middle_of_an_answer_spoils_it_and_only_it() -> None:
    first, second = modbus_talk(1, 2), modbus_talk(3, 4)
    dtu = registered(row_of())
    dtu.wrap(first.question)
    spoiled = first.answer[:4] + b"ping" + first.answer[4:]
    assert b"".join(bus_bytes(dtu.received(spoiled))) == spoiled, "its asker decides, as on any bus"
    assert dtu.asking, "no right answer has come"
    dtu.wrap(second.question)
    assert bus_bytes(dtu.received(b"ping" + second.answer)) == [second.answer]


def test_what_nobody_asked_for_reaches_nobody() -> None:
    talk = modbus_talk(1, 2)
    dtu = registered(row_of())
    assert bus_bytes(dtu.received(talk.answer)) == []
    dtu.wrap(talk.question)
    assert bus_bytes(dtu.received(talk.answer + talk.answer)) == [talk.answer], "once is enough"
    assert bus_bytes(dtu.received(b"noise")) == []


def test_a_refusal_of_the_meter_is_an_answer() -> None:
    talk = modbus_talk(1, 2)
    refusal = bytes.fromhex("018302") + bytes.fromhex("C0F1")
    dtu = registered(row_of())
    dtu.wrap(talk.question)
    assert bus_bytes(dtu.received(b"ping" + refusal + b"ping")) == [refusal]


def test_a_question_in_two_parts_is_one_question() -> None:
    talk = modbus_talk(1, 2)
    dtu = registered(row_of())
    assert dtu.wrap(talk.question[:3]) + dtu.wrap(talk.question[3:]) == talk.question
    assert bus_bytes(dtu.received(b"pi")) == []
    assert bus_bytes(dtu.received(b"ng" + talk.answer)) == [talk.answer]


def test_an_answer_to_a_question_we_do_not_know_goes_on_as_it_comes() -> None:
    dtu = registered(row_of())
    dtu.wrap(b"AT+CSQ\r\n")
    assert bus_bytes(dtu.received(b"ping+CSQ: ")) == [b"+CSQ: "]
    assert bus_bytes(dtu.received(b"26ping")) == [b"26ping"]
    assert bus_bytes(dtu.received(b"ping")) == [b"ping"]


def test_a_question_without_end_is_refused() -> None:
    dtu = registered(row_of())
    with pytest.raises(LongAnswer):
        dtu.wrap(bytes(600))


@pytest.mark.parametrize("after", [b"", b"ping", b"pingping", b"pi", ICCID, ICCID + b"pingpi"])
def test_a_registration_is_found_with_heartbeats_glued_to_it(after: bytes) -> None:
    dtu = Dtu()
    (named,) = dtu.received(ICCID + after)
    assert isinstance(named, Named)
    assert ICCID in named.candidates
    assert dtu.admit(row_of()) == [Registered()]
    talk = modbus_talk(9)
    dtu.wrap(talk.question)
    rest = b"ng" if after.endswith(b"pi") else b""
    assert bus_bytes(dtu.received(rest + talk.answer)) == [talk.answer]


def test_a_short_registration_on_the_list_does_not_catch_longer_ones() -> None:
    dtu = Dtu()
    dtu.received(ICCID)
    (gone,) = dtu.admit(row_of(ICCID[:4]))
    assert isinstance(gone, Gone)


def test_a_registration_is_named_whole_only_when_no_more_of_it_can_come() -> None:
    dtu = Dtu()
    assert dtu.received(b"abc") == []
    assert dtu.received(b"d") == [Named((b"abcd",), whole=False)]
    (named,) = dtu.received(b"e" * 40)
    assert isinstance(named, Named)
    assert named.whole
    assert [len(candidate) for candidate in named.candidates] == list(range(4, 41))


def test_a_stranger_that_talks_and_talks_is_cut() -> None:
    dtu = Dtu()
    for _ in range(4):
        dtu.received(b"x" * 60)
    (gone,) = dtu.received(b"x" * 60)
    assert isinstance(gone, Gone)


def test_a_heartbeat_that_begins_like_the_registration_waits_for_the_rest() -> None:
    row = row_of(b"1234", heartbeat=b"12", prefix=True)
    dtu = registered(row)
    talk = modbus_talk(5)
    dtu.wrap(talk.question)
    assert bus_bytes(dtu.received(b"12")) == []
    assert bus_bytes(dtu.received(b"34" + talk.answer)) == [talk.answer]
    assert dtu.received(b"121") == [Beat()]


@pytest.mark.parametrize(("prefix", "left"), [(False, [ICCID + b"OK"]), (True, [b"OK"])])
def test_a_registration_sent_once_is_the_buss_own_bytes_afterwards(
    prefix: bool, left: list[bytes]
) -> None:
    dtu = registered(row_of(prefix=prefix))
    dtu.wrap(b"AT\r\n")
    assert bus_bytes(dtu.received(ICCID + b"OK")) == left
