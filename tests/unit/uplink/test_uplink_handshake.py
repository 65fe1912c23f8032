"""HELLO and WELCOME: who lacks the key gets nowhere, clocks far apart are refused, sessions end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.uplink.errors import (
    ClockSkew,
    FrameForged,
    FrameMalformed,
    HandshakeForged,
    SessionSpent,
    UplinkRefused,
)
from backend.uplink.frame import FrameType, Mode
from backend.uplink.handshake import (
    HELLO_SIZE,
    WELCOME_SIZE,
    GatewayHandshake,
    answer_hello,
    read_hello,
)
from backend.uplink.keys import new_root
from backend.uplink.session import Session

from .uplink_world import NOON, Identity, both_ends, identity, ping

MILLI = timedelta(milliseconds=1)


def _hello(who: Identity, mode: Mode = Mode.DATAGRAM) -> GatewayHandshake:
    return GatewayHandshake(key=who.key, root=who.root, mode=mode, at=NOON)


def _answer(hello: bytes, who: Identity, after: timedelta = timedelta(0)) -> tuple[bytes, Session]:
    return answer_hello(hello, root=who.root, mode=Mode.DATAGRAM, at=NOON + after)


def test_both_ends_speak_after_the_handshake() -> None:
    gateway, cloud = both_ends()
    reading = gateway.seal(FrameType.READ, b"reading", at=NOON)
    command = cloud.seal(FrameType.CMD, b"command", at=NOON)
    assert cloud.open(reading, at=NOON) == (FrameType.READ, b"reading")
    assert gateway.open(command, at=NOON) == (FrameType.CMD, b"command")
    assert gateway.session == cloud.session


def test_every_changed_bit_of_hello_is_refused() -> None:
    who = identity()
    hello = _hello(who).hello
    assert len(hello) == HELLO_SIZE
    for bit in range(len(hello) * 8):
        changed = (int.from_bytes(hello, "big") ^ 1 << bit).to_bytes(len(hello), "big")
        with pytest.raises(UplinkRefused):
            _answer(changed, who)


def test_every_changed_bit_of_welcome_is_refused_and_the_true_one_still_counts() -> None:
    who = identity()
    shake = _hello(who)
    welcome, cloud = _answer(shake.hello, who)
    assert len(welcome) == WELCOME_SIZE
    for bit in range(len(welcome) * 8):
        changed = (int.from_bytes(welcome, "big") ^ 1 << bit).to_bytes(len(welcome), "big")
        with pytest.raises(UplinkRefused):
            shake.finish(changed, at=NOON)
    assert cloud.open(ping(shake.finish(welcome, at=NOON)), at=NOON)[0] is FrameType.PING


def test_who_lacks_the_root_key_can_neither_greet_nor_answer() -> None:
    who = identity()
    impostor = Identity(who.key, new_root())
    with pytest.raises(HandshakeForged):
        _answer(_hello(impostor).hello, who)
    shake = _hello(who)
    with pytest.raises(HandshakeForged):
        _answer(shake.hello, impostor)
    welcome, _ = _answer(_hello(impostor).hello, impostor)
    with pytest.raises(HandshakeForged):
        shake.finish(welcome, at=NOON)


def test_a_welcome_for_another_hello_is_refused() -> None:
    who = identity()
    old, _ = _answer(_hello(who).hello, who)
    with pytest.raises(HandshakeForged):
        _hello(who).finish(old, at=NOON)


def test_a_hello_that_comes_back_is_no_welcome() -> None:
    shake = _hello(identity())
    for reflected in (shake.hello, shake.hello + bytes(WELCOME_SIZE - HELLO_SIZE)):
        with pytest.raises(FrameMalformed):
            shake.finish(reflected, at=NOON)


def test_a_welcome_makes_one_session_only() -> None:
    who = identity()
    shake = _hello(who)
    welcome, _ = _answer(shake.hello, who)
    shake.finish(welcome, at=NOON)
    with pytest.raises(HandshakeForged):
        shake.finish(welcome, at=NOON)


def test_a_replayed_hello_gives_a_session_whose_keys_differ() -> None:
    who = identity()
    shake = _hello(who)
    welcome, _ = _answer(shake.hello, who)
    _, replayed = _answer(shake.hello, who)
    gateway = shake.finish(welcome, at=NOON)
    frame = ping(gateway)
    with pytest.raises(FrameForged):
        replayed.open(frame[:12] + replayed.session + frame[20:], at=NOON)


def test_a_hello_for_another_mode_is_refused() -> None:
    who = identity()
    with pytest.raises(FrameMalformed):
        _answer(_hello(who, Mode.ORDERED).hello, who)


@pytest.mark.parametrize("sign", [1, -1])
def test_clocks_more_than_300_s_apart_are_refused_by_the_cloud(sign: int) -> None:
    who = identity()
    hello = _hello(who).hello
    limit = timedelta(seconds=300)
    _answer(hello, who, sign * limit)
    with pytest.raises(ClockSkew) as refused:
        _answer(hello, who, sign * (limit + MILLI))
    assert refused.value.skew_ms == 300_001
    assert refused.value.alarmed


@pytest.mark.parametrize("sign", [1, -1])
def test_clocks_more_than_60_s_apart_forbid_trips_at_both_ends(sign: int) -> None:
    who = identity()
    for skew, allowed in ((timedelta(seconds=60), True), (timedelta(seconds=60) + MILLI, False)):
        shake = _hello(who)
        welcome, cloud = _answer(shake.hello, who, sign * skew)
        assert cloud.trips_allowed is allowed
        assert shake.finish(welcome, at=NOON).trips_allowed is allowed


def test_a_gateway_refuses_a_welcome_whose_clock_is_far_off() -> None:
    who = identity()
    shake = _hello(who)
    welcome, _ = _answer(shake.hello, who)
    with pytest.raises(ClockSkew):
        shake.finish(welcome, at=NOON + timedelta(seconds=301))


def test_a_session_ends_after_24_hours_and_asks_for_a_new_one_before() -> None:
    gateway, cloud = both_ends()
    assert not gateway.rekey_due(at=NOON + timedelta(hours=22))
    assert gateway.rekey_due(at=NOON + timedelta(hours=23))
    late = NOON + timedelta(hours=24)
    frame = ping(gateway, at=late - MILLI)
    with pytest.raises(SessionSpent):
        ping(gateway, at=late)
    with pytest.raises(SessionSpent):
        cloud.open(frame, at=late)
    assert cloud.open(frame, at=late - MILLI)[0] is FrameType.PING


def test_a_session_with_few_numbers_left_asks_for_a_new_one() -> None:
    gateway, _ = both_ends(limit=2**20 + 1)
    assert not gateway.rekey_due(at=NOON)
    ping(gateway)
    assert gateway.rekey_due(at=NOON)


def test_a_greeting_names_its_key_and_noise_is_refused() -> None:
    who = identity(version=7)
    assert read_hello(_hello(who).hello).key == who.key
    for noise in (b"", bytes(HELLO_SIZE), b"SD\x01\x01" + bytes(HELLO_SIZE - 4)):
        with pytest.raises(FrameMalformed):
            read_hello(noise)
