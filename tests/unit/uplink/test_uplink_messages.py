"""Messages: strict JSON, integers only, nothing unknown, nothing too big, no command past its time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.band_calendar import CALENDAR_NAMES
from backend.uplink.errors import CommandExpired, MessageRefused, TripHeld
from backend.uplink.fields import parse
from backend.uplink.frame import FrameType
from backend.uplink.message import (
    Alarm,
    Bye,
    Cmd,
    Farewell,
    Message,
    Op,
    Ping,
    Read,
    Registers,
    RelayState,
    Res,
    decode,
    encode,
)

from .uplink_world import NOON

SECOND = timedelta(seconds=1)
CMD_ID = UUID("019a8f3c-5d2e-7abc-8def-0123456789ab")  # with letters: their case matters
READ = Read(
    meter="M-0001",
    frame_no=12,
    at=NOON,
    meter_time=NOON + 2 * SECOND,
    relay=RelayState.CLOSED,
    energy_wh=1_234_567,
    bands_wh={"peak": 1_000_000, "valley": 234_567},
    voltage_mv=229_900,
    current_ma=-90,
    power_w=-20,
    wallet_fen=-350,
    purchase_no=4,
    flags=frozenset({"arrears", "alarm1"}),
)
HEAT = Registers(at=NOON, relay=RelayState.UNKNOWN, heat_wh=5_000, cold_wh=70, wallet_fen=12)
TRIP = Cmd(cmd_id=CMD_ID, meter="M-0001", op=Op.TRIP, issued=NOON, expires=NOON + 120 * SECOND)
VEND = replace(TRIP, op=Op.VEND, expires=NOON + timedelta(hours=1), purchase_no=5, amount_fen=5000)
PRICES = replace(TRIP, op=Op.SET_PRICES, settings={"peak": 9_876, "valley": 3_000})
WHOLE_LIMITS = {
    "on": 1,
    "most_w": 10**9,
    "step_w": 10**9,
    "factor_permille": 1_000,
    "trips": 10**9,
    "restore_minutes": 10**9,
}
MESSAGES: tuple[Message, ...] = (
    READ,
    Read(meter="W1", frame_no=1, at=NOON, relay=RelayState.UNKNOWN, volume_l=17),
    TRIP,
    VEND,
    replace(VEND, op=Op.TARIFF, purchase_no=None, amount_fen=None, tariff_ver=3),
    Res(cmd_id=uuid4(), dar=0, relay=RelayState.OPEN, wallet_fen=5000, purchase_no=5),
    Res(cmd_id=uuid4(), dar=21),
    Res(cmd_id=uuid4(), dar=0, relay=RelayState.UNKNOWN, reading=HEAT),
    replace(TRIP, op=Op.CLOSE),
    replace(TRIP, op=Op.ALLOW_CLOSE),
    replace(TRIP, op=Op.WALLET),
    PRICES,
    replace(PRICES, op=Op.SET_LOAD_LIMITS, settings=WHOLE_LIMITS),
    replace(TRIP, op=Op.SET_CLOCK),
    replace(TRIP, op=Op.THRESHOLDS),
    replace(TRIP, op=Op.CALENDAR),
    replace(TRIP, op=Op.SET_CALENDAR, settings={"zone1": 10_101, "table1_1": 3}),
    Res(cmd_id=uuid4(), dar=0, settings={"alarm1": 100_000, "overload_w": 0}),
    Res(cmd_id=uuid4(), dar=0, settings={}),
    Alarm(name="METER_LOST", since=NOON, meter="M-0001"),
    Alarm(name="CLOCK", since=NOON),
    Ping(at=NOON, backlog=9),
    Bye(reason=Farewell.REKEY),
)

each_message = pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)


def _with(message: Message, **changes: object) -> tuple[FrameType, bytes]:
    kind, payload = encode(message)
    return kind, json.dumps({**json.loads(payload), **changes}).encode()


@each_message
def test_what_is_sent_is_what_arrives(message: Message) -> None:
    assert decode(*encode(message)) == message


def test_a_reading_is_written_as_the_protocol_says() -> None:
    assert encode(READ) == (
        FrameType.READ,
        b'{"at":1772337600,"bands_wh":{"peak":1000000,"valley":234567},"cold_wh":null,'
        b'"current_ma":-90,"energy_wh":1234567,"flags":["alarm1","arrears"],"frame_no":12,'
        b'"heat_wh":null,"meter":"M-0001","meter_time":1772337602,"power_w":-20,'
        b'"purchase_no":4,"relay":"CLOSED","voltage_mv":229900,"volume_l":null,"wallet_fen":-350}',
    )


def test_a_command_that_sets_nothing_is_what_it_was_before_there_were_settings() -> None:
    """A box of an older version refuses a field that it does not know."""
    assert encode(VEND)[1] == (
        b'{"amount_fen":5000,"cmd_id":"019a8f3c-5d2e-7abc-8def-0123456789ab","expires":1772341200,'
        b'"issued":1772337600,"meter":"M-0001","op":"VEND","purchase_no":5,"tariff_ver":null}'
    )
    assert b"settings" not in encode(Res(cmd_id=CMD_ID, dar=0))[1]
    assert b'"settings":{"peak":9876,"valley":3000}' in encode(PRICES)[1]
    with pytest.raises(MessageRefused):
        decode(*_with(VEND, settings=None))


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": None},
        {"settings": {}},
        {"settings": {"alarm1": 1}},
        {"settings": {"peak": 1.5}},
        {"settings": {"peak": True}},
        {"settings": {"peak": 10**12}},
        {"op": "SET_THRESHOLDS"},
        {"op": "SET_CALENDAR"},
        {"op": "SET_CLOCK"},
        {"op": "PRICES"},
        {"op": "TRIP"},
        {"op": "VEND", "purchase_no": 1, "amount_fen": 1},
    ],
)
def test_settings_belong_to_what_sets_them_and_name_nothing_else(
    changes: dict[str, object],
) -> None:
    with pytest.raises(MessageRefused):
        decode(*_with(PRICES, **changes))
    with pytest.raises(MessageRefused):
        decode(*_with(TRIP, op="SET_PRICES"))


def test_no_clock_is_set_while_the_clocks_differ() -> None:
    command = replace(TRIP, op=Op.SET_CLOCK)
    command.refuse_unless_due(at=NOON, trips_allowed=True)
    with pytest.raises(TripHeld):
        command.refuse_unless_due(at=NOON, trips_allowed=False)
    PRICES.refuse_unless_due(at=NOON, trips_allowed=False)


@each_message
def test_an_unknown_field_and_a_missing_one_are_refused(message: Message) -> None:
    kind, payload = encode(message)
    with pytest.raises(MessageRefused):
        decode(*_with(message, extra=1))
    whole = json.loads(payload)
    for name in whole.keys() - {"settings"}:
        rest = {other: value for other, value in whole.items() if other != name}
        with pytest.raises(MessageRefused):
            decode(kind, json.dumps(rest).encode())


@pytest.mark.parametrize("wrong", [1.0, 1.5, True, "1", [1], {"a": 1}, -(10**12), 10**30])
@pytest.mark.parametrize(
    "name",
    [
        "at",
        "energy_wh",
        "wallet_fen",
        "purchase_no",
        "frame_no",
        "meter_time",
        "voltage_mv",
        "cold_wh",
    ],
)
def test_a_number_that_is_not_an_integer_in_its_range_is_refused(name: str, wrong: object) -> None:
    with pytest.raises(MessageRefused):
        decode(*_with(READ, **{name: wrong}))


@pytest.mark.parametrize(
    "changes",
    [
        {"meter": ""},
        {"meter": "a" * 37},
        {"meter": "M 1"},
        {"meter": "M1\n"},
        {"relay": "closed"},
        {"relay": None},
        {"relay": ["CLOSED"]},
        {"bands_wh": {"night": 1}},
        {"bands_wh": {"peak": 1.0}},
        {"bands_wh": {"peak": -1}},
        {"bands_wh": None},
        {"wallet_fen": None},
        {"frame_no": 0},
        {"meter_time": 0},
        {"meter_time": 10**12},
        {"at": None},
        {"at": 0},
        {"flags": None},
        {"flags": "arrears"},
        {"flags": ["on fire"]},
        {"flags": ["arrears", "alarm1"]},
        {"flags": ["arrears", "arrears"]},
        {"flags": [["arrears"]]},
    ],
)
def test_a_reading_that_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MessageRefused):
        decode(*_with(READ, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"at": None},
        {"energy_wh": 1.5},
        {"extra": 1},
        {"meter": "M-1"},
        {"purchase_no": 4, "wallet_fen": None},
    ],
)
def test_a_reading_inside_an_answer_is_held_to_the_same_rules(changes: dict[str, object]) -> None:
    kind, payload = encode(Res(cmd_id=CMD_ID, dar=0, reading=HEAT))
    whole = json.loads(payload)
    assert decode(kind, json.dumps(whole).encode()) == Res(cmd_id=CMD_ID, dar=0, reading=HEAT)
    whole["reading"].update(changes)
    for wrong in (whole, {**whole, "reading": []}, {**whole, "reading": {}}):
        with pytest.raises(MessageRefused):
            decode(kind, json.dumps(wrong).encode())


def test_the_fullest_messages_fit_their_limits() -> None:
    most = 10**15
    fullest = Registers(
        at=NOON,
        relay=RelayState.UNKNOWN,
        meter_time=NOON,
        energy_wh=most,
        bands_wh=dict.fromkeys(("spike", "peak", "flat", "valley", "deep"), most),
        volume_l=most,
        heat_wh=most,
        cold_wh=most,
        voltage_mv=10**9,
        current_ma=-(10**9),
        power_w=-(10**9),
        wallet_fen=-(10**11),
        purchase_no=2**31 - 1,
        flags=frozenset({"arrears", "alarm1", "alarm2", "overload", "fault"}),
    )
    named = {name: getattr(fullest, name) for name in Registers.__slots__}
    read = Read(meter="a" * 36, frame_no=2**63 - 1, **named)
    res = Res(
        cmd_id=CMD_ID,
        dar=255,
        relay=RelayState.UNKNOWN,
        wallet_fen=-(10**11),
        purchase_no=2**31 - 1,
        reading=fullest,
    )
    calendar = dict.fromkeys(CALENDAR_NAMES, 123_114)
    order = replace(TRIP, meter="a" * 36, op=Op.SET_CALENDAR, settings=calendar)
    for message in (read, res, order, Res(cmd_id=CMD_ID, dar=0, settings=calendar)):
        assert decode(*encode(message)) == message


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_fen": 0},
        {"amount_fen": -1},
        {"amount_fen": None},
        {"purchase_no": None},
        {"purchase_no": 0},
        {"tariff_ver": 1},
        {"op": "TRIP"},
        {"op": "SELL"},
        {"cmd_id": "x"},
        {"cmd_id": str(VEND.cmd_id).upper()},
        {"cmd_id": "{" + str(VEND.cmd_id) + "}"},
        {"expires": int(NOON.timestamp())},
        {"expires": int(NOON.timestamp()) + 86_401},
    ],
)
def test_a_command_that_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(MessageRefused):
        decode(*_with(VEND, **changes))


def test_a_trip_lives_120_seconds_at_most() -> None:
    with pytest.raises(MessageRefused):
        replace(TRIP, expires=TRIP.expires + SECOND)


def test_a_command_is_not_carried_out_after_its_time_nor_long_before() -> None:
    TRIP.refuse_unless_due(at=TRIP.expires - SECOND, trips_allowed=True)
    TRIP.refuse_unless_due(at=NOON - 300 * SECOND, trips_allowed=True)
    for at in (TRIP.expires, TRIP.expires + SECOND, NOON - 301 * SECOND):
        with pytest.raises(CommandExpired):
            TRIP.refuse_unless_due(at=at, trips_allowed=True)


def test_no_trip_while_the_clocks_differ_but_power_may_come_back() -> None:
    with pytest.raises(TripHeld):
        TRIP.refuse_unless_due(at=NOON, trips_allowed=False)
    restore = replace(TRIP, op=Op.RELEASE)
    restore.refuse_unless_due(at=NOON, trips_allowed=False)
    VEND.refuse_unless_due(at=NOON, trips_allowed=False)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"RESTART"',
        b'{"reason":"RESTART"',
        b'{"reason":"RESTART","reason":"RESTART"}',
        b'{"reason":NaN}',
        b'{"reason":Infinity}',
        b"\xff\xfe",
        b'{"reason":"RESTART"}' + b" " * 64,
        b'{"reason":"BORED"}',
    ],
)
def test_what_is_not_our_json_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageRefused):
        decode(FrameType.BYE, payload)


@pytest.mark.parametrize("number", [b"1.0", b"1e3", b"NaN", b"-Infinity"])
def test_no_float_gets_past_the_parser(number: bytes) -> None:
    with pytest.raises(MessageRefused):
        parse(b'{"anything":' + number + b"}", most=100)


def test_deep_and_long_payloads_are_refused_and_nothing_breaks() -> None:
    for payload in (b"[" * 1024, b"[" * 60_000, b'{"a":' * 200, b"9" * 1000, b" " * 60_000):
        with pytest.raises(MessageRefused):
            decode(FrameType.READ, payload)


@given(st.sampled_from(FrameType), st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_refused(kind: FrameType, payload: bytes) -> None:
    with pytest.raises(MessageRefused):
        decode(kind, payload)


def test_a_wrong_message_is_refused_before_it_is_sent() -> None:
    for wrong in (
        replace(READ, energy_wh=-1),
        replace(READ, meter="no blanks"),
        replace(READ, meter_time=NOON + timedelta(microseconds=1)),
        Ping(at=NOON.replace(tzinfo=None)),
        Res(cmd_id=uuid4(), dar=256),
    ):
        with pytest.raises(MessageRefused):
            encode(wrong)


def test_key_frames_carry_no_message() -> None:
    for kind in (FrameType.KEYUP, FrameType.KEYACK):
        with pytest.raises(MessageRefused):
            decode(kind, b"{}")
