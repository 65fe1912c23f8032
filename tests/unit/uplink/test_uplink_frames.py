"""Frames: nothing changed, repeated, reflected or carried over is taken; no nonce comes twice."""

from __future__ import annotations

import copy
import os
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from backend.uplink.errors import (
    FrameForged,
    FrameMalformed,
    FrameOutOfOrder,
    FrameReplayed,
    SessionSpent,
    UplinkRefused,
    WrongDirection,
    WrongSession,
)
from backend.uplink.frame import (
    FRAME_LIMIT,
    HEADER_SIZE,
    MAX_FRAME,
    MAX_PLAIN,
    TAG_SIZE,
    FrameType,
    Mode,
    Opener,
    Sealer,
    Window,
    read_header,
)
from backend.uplink.keys import (
    DirectionKeys,
    KeyName,
    SessionKeys,
    new_gateway,
    session_keys,
)
from backend.uplink.session import Session, Side

from .uplink_world import NOON, both_ends, identity, ping


def _flipped(frame: bytes, bit: int) -> bytes:
    return (int.from_bytes(frame, "big") ^ 1 << bit).to_bytes(len(frame), "big")


def _lane(mode: Mode, limit: int = FRAME_LIMIT) -> tuple[Sealer, Opener]:
    keys = DirectionKeys(os.urandom(32), os.urandom(4))
    key, session = KeyName(new_gateway(), 1), os.urandom(8)
    return (
        Sealer(keys=keys, key=key, session=session, mode=mode, limit=limit),
        Opener(keys=keys, key=key, session=session, mode=mode),
    )


def test_the_header_stands_byte_for_byte_where_the_protocol_says() -> None:
    keys = DirectionKeys(os.urandom(32), os.urandom(4))
    sealer = Sealer(
        keys=keys, key=KeyName(b"GATEWAY1", 0x0203), session=b"SESSION1", mode=Mode.DATAGRAM
    )
    frame = sealer.seal(FrameType.READ, b"hello")
    assert frame[:HEADER_SIZE] == (
        b"SD\x01\x03GATEWAY1SESSION1\x02\x03\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01"
    )
    assert len(frame) == HEADER_SIZE + 5 + TAG_SIZE
    assert b"hello" not in frame


@pytest.mark.parametrize("mode", Mode)
def test_every_single_changed_bit_is_refused_and_the_true_frame_still_opens(mode: Mode) -> None:
    gateway, cloud = both_ends(mode=mode)
    frame = gateway.seal(FrameType.READ, b'{"a":1}', at=NOON)
    for bit in range(len(frame) * 8):
        with pytest.raises(UplinkRefused):
            cloud.open(_flipped(frame, bit), at=NOON)
    assert cloud.open(frame, at=NOON) == (FrameType.READ, b'{"a":1}')


def test_a_shortened_lengthened_or_random_frame_is_refused() -> None:
    gateway, cloud = both_ends()
    frame = ping(gateway)
    for cut in range(len(frame)):
        with pytest.raises(UplinkRefused):
            cloud.open(frame[:cut], at=NOON)
    with pytest.raises(FrameForged):
        cloud.open(frame + b"\x00", at=NOON)
    with pytest.raises(FrameMalformed):
        cloud.open(frame + bytes(MAX_FRAME), at=NOON)


@given(st.binary(max_size=200))
def test_noise_is_never_anything_but_malformed(noise: bytes) -> None:
    with pytest.raises(FrameMalformed):
        read_header(noise)


def test_the_biggest_payload_fits_and_one_byte_more_does_not() -> None:
    gateway, cloud = both_ends()
    frame = gateway.seal(FrameType.READ, bytes(MAX_PLAIN), at=NOON)
    assert len(frame) == MAX_FRAME == 65_536
    assert cloud.open(frame, at=NOON)[1] == bytes(MAX_PLAIN)
    with pytest.raises(FrameMalformed):
        gateway.seal(FrameType.READ, bytes(MAX_PLAIN + 1), at=NOON)


@pytest.mark.parametrize("mode", Mode)
def test_a_replayed_frame_is_refused(mode: Mode) -> None:
    gateway, cloud = both_ends(mode=mode)
    frames = [ping(gateway) for _ in range(100)]
    for frame in frames:
        cloud.open(frame, at=NOON)
    for frame in frames:
        with pytest.raises(FrameReplayed):
            cloud.open(frame, at=NOON)


def test_ordered_mode_refuses_a_gap_and_a_swap_and_goes_on_with_the_right_frame() -> None:
    gateway, cloud = both_ends(mode=Mode.ORDERED)
    first, second, third = (ping(gateway) for _ in range(3))
    with pytest.raises(FrameOutOfOrder):
        cloud.open(second, at=NOON)
    for frame in (first, second, third):
        cloud.open(frame, at=NOON)
    with pytest.raises(FrameReplayed):
        cloud.open(second, at=NOON)


def test_a_genuine_frame_of_the_other_mode_is_refused() -> None:
    keys = DirectionKeys(os.urandom(32), os.urandom(4))
    key, session = KeyName(new_gateway(), 1), os.urandom(8)
    sealer = Sealer(keys=keys, key=key, session=session, mode=Mode.DATAGRAM)
    opener = Opener(keys=keys, key=key, session=session, mode=Mode.ORDERED)
    with pytest.raises(FrameMalformed):
        opener.open(sealer.seal(FrameType.PING, b""))


def test_a_reflected_frame_is_refused_by_its_own_sender() -> None:
    gateway, cloud = both_ends()
    with pytest.raises(FrameForged):
        gateway.open(ping(gateway), at=NOON)
    with pytest.raises(FrameForged):
        cloud.open(ping(cloud), at=NOON)


def test_a_frame_of_another_session_is_refused_even_under_the_right_header() -> None:
    who = identity()
    gateway, _ = both_ends(who)
    _, cloud = both_ends(who)
    frame = ping(gateway)
    with pytest.raises(WrongSession):
        cloud.open(frame, at=NOON)
    dressed = frame[:12] + cloud.session + frame[20:]
    with pytest.raises(FrameForged):
        cloud.open(dressed, at=NOON)


def test_a_frame_of_another_gateway_is_refused_even_under_the_right_header() -> None:
    gateway, _ = both_ends()
    _, cloud = both_ends()
    frame = ping(gateway)
    with pytest.raises(WrongSession):
        cloud.open(frame, at=NOON)
    dressed = frame[:4] + cloud.key.gateway + cloud.session + frame[20:]
    with pytest.raises(FrameForged):
        cloud.open(dressed, at=NOON)


def test_head_and_body_of_two_frames_of_one_session_do_not_fit_together() -> None:
    gateway, cloud = both_ends()
    first, second = ping(gateway), ping(gateway)
    with pytest.raises(FrameForged):
        cloud.open(first[:HEADER_SIZE] + second[HEADER_SIZE:], at=NOON)


def test_a_gateway_cannot_send_a_command_nor_a_key_and_the_cloud_no_reading() -> None:
    gateway, cloud = both_ends()
    for kind in (FrameType.CMD, FrameType.KEYUP):
        with pytest.raises(WrongDirection):
            gateway.seal(kind, b"{}", at=NOON)
    for kind in (FrameType.READ, FrameType.RES, FrameType.ALARM, FrameType.KEYACK):
        with pytest.raises(WrongDirection):
            cloud.seal(kind, b"{}", at=NOON)


def test_a_taken_gateway_that_seals_a_command_with_its_own_keys_is_refused() -> None:
    key, session = KeyName(new_gateway(), 1), os.urandom(8)
    keys = SessionKeys(
        up=DirectionKeys(os.urandom(32), os.urandom(4)),
        down=DirectionKeys(os.urandom(32), os.urandom(4)),
    )
    cloud = Session(
        side=Side.CLOUD,
        key=key,
        session=session,
        keys=keys,
        mode=Mode.DATAGRAM,
        opened_at=NOON,
        trips_allowed=True,
    )
    # The thief writes his own software: a bare sealer knows no directions.
    thief = Sealer(keys=keys.up, key=key, session=session, mode=Mode.DATAGRAM)
    assert cloud.open(thief.seal(FrameType.READ, b"{}"), at=NOON) == (FrameType.READ, b"{}")
    with pytest.raises(WrongDirection):
        cloud.open(thief.seal(FrameType.CMD, b"{}"), at=NOON)


def test_the_last_number_is_2_to_the_32_and_then_the_session_is_spent() -> None:
    assert FRAME_LIMIT == 2**32
    sealer, opener = _lane(Mode.ORDERED, limit=3)
    for _ in range(3):
        opener.open(sealer.seal(FrameType.PING, b""))
    with pytest.raises(SessionSpent):
        sealer.seal(FrameType.PING, b"")
    assert sealer.sealed == 3


def test_a_sealer_cannot_be_copied_or_pickled() -> None:
    sealer, _ = _lane(Mode.ORDERED)
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            make(sealer)


def test_no_key_and_nonce_come_twice_in_100000_frames_over_100_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: dict[bytes, SessionKeys] = {}

    def watched(
        *, root: bytes, shared: bytes, nonces: bytes, key: KeyName, session: bytes
    ) -> SessionKeys:
        keys = session_keys(root=root, shared=shared, nonces=nonces, key=key, session=session)
        assert made.setdefault(session, keys) == keys, "the two ends agree"
        return keys

    monkeypatch.setattr("backend.uplink.handshake.session_keys", watched)
    who, seen = identity(), set()
    for _ in range(100):
        for end in both_ends(who):
            keys = made[end.session].up if end.side is Side.GATEWAY else made[end.session].down
            for count in range(500):
                frame = ping(end)
                nonce = keys.salt + frame[24:HEADER_SIZE]
                seen.add(keys.key + nonce)
                if count == 499:  # that this is the nonce indeed is shown by opening by hand
                    body, head = frame[HEADER_SIZE:], frame[:HEADER_SIZE]
                    assert AESGCM(keys.key).decrypt(nonce, body, head) == b"{}"
    assert len(seen) == 100_000


class _PlainWindow:
    """The window as one would say it: a set of all numbers taken."""

    def __init__(self) -> None:
        self.taken: set[int] = set()

    def takes(self, seq: int) -> bool:
        """Whether the number is new and not 64 or more behind."""
        good = seq not in self.taken and seq > max(self.taken, default=0) - 64
        if good:
            self.taken.add(seq)
        return good


numbers = st.one_of(
    st.integers(1, 200), st.integers(1, FRAME_LIMIT), st.integers(FRAME_LIMIT - 100, FRAME_LIMIT)
)


@given(st.lists(numbers, max_size=200))
def test_the_window_takes_each_number_once_whatever_the_order(arriving: list[int]) -> None:
    window, plain = Window(Mode.DATAGRAM), _PlainWindow()
    for seq in arriving:
        try:
            window.check(seq)
        except FrameReplayed:
            assert not plain.takes(seq)
        else:
            window.take(seq)
            assert plain.takes(seq)


@given(st.lists(st.integers(0, 99), max_size=150), st.lists(st.integers(0, 99), max_size=20))
def test_frames_that_arrive_in_any_order_open_once_and_forged_ones_move_nothing(
    order: list[int], forged: list[int]
) -> None:
    sealer, opener = _lane(Mode.DATAGRAM)
    frames = [sealer.seal(FrameType.PING, bytes([n])) for n in range(100)]
    for n in forged:
        with pytest.raises(FrameForged):
            opener.open(_flipped(frames[n], 0))
    plain = _PlainWindow()
    for n in order:
        if plain.takes(n + 1):
            assert opener.open(frames[n]) == (FrameType.PING, bytes([n]))
        else:
            with pytest.raises(FrameReplayed):
                opener.open(frames[n])


def test_64_late_frames_are_taken_and_the_65th_is_too_old() -> None:
    sealer, opener = _lane(Mode.DATAGRAM)
    frames = [sealer.seal(FrameType.PING, b"") for _ in range(65)]
    opener.open(frames[64])
    with pytest.raises(FrameReplayed):
        opener.open(frames[0])
    for frame in frames[1:64]:
        assert opener.open(frame) == (FrameType.PING, b"")
