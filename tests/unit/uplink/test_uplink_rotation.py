"""Rotation and revocation: an honest gateway is never locked out, a revoked one is at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.kernel.errors import Conflict
from backend.uplink.book import CANDIDATES, SessionBook
from backend.uplink.errors import (
    GatewayUnknown,
    HandshakeForged,
    HandshakeReplayed,
    KeyRetired,
    KeyRevoked,
    KeyUnknown,
    MessageRefused,
    NoSession,
    UplinkRefused,
)
from backend.uplink.frame import FrameType, Mode
from backend.uplink.handshake import GatewayHandshake
from backend.uplink.keys import LAST_VERSION, KeyName, new_gateway, new_root
from backend.uplink.rotation import GatewayKeys, KeyRing, keyack, keyup, read_keyack

from .uplink_world import NOON, Identity, book_with, connect, identity, ping

DAY = timedelta(hours=24)
SECOND = timedelta(seconds=1)


def _rotated(book: SessionBook, who: Identity) -> tuple[KeyRing, Identity, GatewayKeys]:
    """A key offered over the live session and taken by the gateway; its KEYACK is not yet back."""
    ring = KeyRing(who.key.gateway).offered(at=NOON)
    book.put_ring(ring, at=NOON)
    session = connect(book, who)
    book.open(ping(session), at=NOON)
    newer = identity(version=2, gateway=who.key.gateway)
    frame = book.seal(who.key.gateway, FrameType.KEYUP, keyup(newer.key, newer.root), at=NOON)
    kind, payload = session.open(frame, at=NOON)
    assert kind is FrameType.KEYUP
    held, ack = GatewayKeys(who.key.gateway, 1, who.root).took(payload)
    assert read_keyack(ack, gateway=who.key.gateway, version=2, root=newer.root) == 2
    return ring, newer, held


def test_a_new_key_takes_over_with_its_first_frame_and_the_old_one_is_refused() -> None:
    who = identity()
    book = book_with(who)
    _, newer, held = _rotated(book, who)
    old = connect(book, who)
    assert book.open(ping(old), at=NOON).ring is None
    assert held.pending == (2, newer.root)
    session = connect(book, newer)
    book.open(ping(old), at=NOON)
    opened = book.open(ping(session), at=NOON)
    assert opened.ring is not None
    assert (opened.ring.current, opened.ring.pending) == (2, None)
    with pytest.raises(KeyRetired):
        book.open(ping(old), at=NOON)
    with pytest.raises(KeyRetired):
        connect(book, who)
    assert held.proven(2) == GatewayKeys(who.key.gateway, 2, newer.root)


def test_both_keys_are_good_until_24_hours_after_the_acknowledgement() -> None:
    ring = KeyRing(new_gateway()).offered(at=NOON)
    acknowledged = ring.acknowledged(2, at=NOON + SECOND)
    for version in (1, 2):
        acknowledged.check(version, at=NOON + DAY)
    acknowledged.check(2, at=NOON + DAY + SECOND)
    with pytest.raises(KeyRetired):
        acknowledged.check(1, at=NOON + DAY + SECOND)


def test_an_offer_that_nobody_heard_lapses_and_the_old_key_stays_good() -> None:
    ring = KeyRing(new_gateway()).offered(at=NOON)
    ring.check(2, at=NOON + DAY - SECOND)
    ring.check(1, at=NOON + 300 * DAY)
    with pytest.raises(KeyRetired):
        ring.check(2, at=NOON + DAY)
    assert ring.acknowledged(2, at=NOON + DAY).pending is None
    assert ring.offered(at=NOON + DAY).pending == 3, "a version is never given out twice"


def test_a_hello_under_the_new_key_counts_as_its_acknowledgement() -> None:
    who = identity()
    book = book_with(who)
    _, newer, _ = _rotated(book, who)
    shake = GatewayHandshake(key=newer.key, root=newer.root, mode=Mode.DATAGRAM, at=NOON)
    _, ring = book.greet(shake.hello, root=newer.root, at=NOON)
    assert ring is not None
    ring.check(2, at=NOON + 300 * DAY)


def test_a_gateway_that_lost_the_keyup_goes_on_with_its_old_key() -> None:
    who = identity()
    book = book_with(who)
    _rotated(book, who)
    assert book.open(ping(connect(book, who)), at=NOON).key.version == 1


def test_a_keyack_from_who_does_not_hold_the_new_key_is_refused() -> None:
    gateway, root = new_gateway(), new_root()
    for wrong in (
        keyack(KeyName(gateway, 2), new_root()),
        keyack(KeyName(gateway, 3), root),
        keyack(KeyName(new_gateway(), 2), root),
        b"",
    ):
        with pytest.raises(MessageRefused):
            read_keyack(wrong, gateway=gateway, version=2, root=root)


def test_a_gateway_takes_a_repeated_keyup_but_no_older_one_and_no_torn_one() -> None:
    held = GatewayKeys(new_gateway(), 2, new_root())
    payload = keyup(KeyName(held.gateway, 4), new_root())
    for version in (1, 2):
        with pytest.raises(MessageRefused):
            held.took(keyup(KeyName(held.gateway, version), new_root()))
    once, ack = held.took(payload)
    assert once.took(payload) == (once, ack)
    for wrong in (
        keyup(KeyName(held.gateway, 2), new_root()),
        keyup(KeyName(held.gateway, 3), new_root()),
        payload[:-1],
    ):
        with pytest.raises(MessageRefused):
            once.took(wrong)
    assert once.proven(3) == once
    assert repr(once.root) not in repr(once)


def test_one_offer_at_a_time_and_versions_end() -> None:
    ring = KeyRing(new_gateway())
    with pytest.raises(Conflict):
        ring.offered(at=NOON).offered(at=NOON)
    with pytest.raises(Conflict):
        replace(ring, highest=LAST_VERSION).offered(at=NOON)
    with pytest.raises(KeyUnknown):
        ring.check(2, at=NOON)


def test_a_revoked_gateway_is_cut_at_once_and_its_frames_and_hellos_are_alarmed() -> None:
    thief, honest = identity(), identity()
    book = book_with(thief, honest)
    stolen, other = connect(book, thief), connect(book, honest)
    book.open(ping(stolen), at=NOON)
    book.open(ping(other), at=NOON)
    candidate = connect(book, thief)
    cut = book.put_ring(KeyRing(thief.key.gateway).revoked(), at=NOON)
    assert set(cut) == {stolen.session, candidate.session}
    for session in (stolen, candidate):
        with pytest.raises(KeyRevoked) as refused:
            book.open(ping(session), at=NOON)
        assert refused.value.alarmed
    with pytest.raises(KeyRevoked):
        connect(book, thief)
    with pytest.raises(KeyRevoked):
        book.seal(thief.key.gateway, FrameType.CMD, b"{}", at=NOON)
    assert book.open(ping(other), at=NOON).key == honest.key


def test_revoking_takes_the_offered_key_too_and_a_new_claim_starts_a_new_version() -> None:
    ring = KeyRing(new_gateway()).offered(at=NOON).revoked()
    for version in (1, 2):
        with pytest.raises(KeyRevoked):
            ring.check(version, at=NOON)
    with pytest.raises(Conflict):
        ring.offered(at=NOON)
    again = ring.enrolled_again(at=NOON)
    again.check(3, at=NOON)
    with pytest.raises(KeyRevoked):
        again.check(2, at=NOON)
    with pytest.raises(Conflict):
        again.enrolled_again(at=NOON)


def test_the_old_session_lives_until_the_first_frame_of_the_new_one() -> None:
    who = identity()
    book = book_with(who)
    first = connect(book, who)
    book.open(ping(first), at=NOON)
    second = connect(book, who)
    book.open(ping(first), at=NOON)
    book.open(ping(second), at=NOON)
    with pytest.raises(NoSession):
        book.open(ping(first), at=NOON)


def test_a_replayed_hello_is_refused_and_disturbs_nobody() -> None:
    who = identity()
    book = book_with(who)
    shake = GatewayHandshake(key=who.key, root=who.root, mode=Mode.DATAGRAM, at=NOON)
    welcome, _ = book.greet(shake.hello, root=who.root, at=NOON)
    session = shake.finish(welcome, at=NOON)
    book.open(ping(session), at=NOON)
    for later in (0, 1, 299, 300):
        with pytest.raises(HandshakeReplayed):
            book.greet(shake.hello, root=who.root, at=NOON + later * SECOND)
    assert book.open(ping(session), at=NOON).type is FrameType.PING


def test_a_gateway_keeps_a_few_unused_sessions_and_no_more() -> None:
    who = identity()
    book = book_with(who)
    sessions = [connect(book, who) for _ in range(CANDIDATES + 1)]
    with pytest.raises(NoSession):
        book.open(ping(sessions[0]), at=NOON)
    assert book.open(ping(sessions[1]), at=NOON).key == who.key


def test_a_frame_carried_to_another_gateways_session_is_refused_by_the_book() -> None:
    one, two = identity(), identity()
    book = book_with(one, two)
    first, second = connect(book, one), connect(book, two)
    book.open(ping(second), at=NOON)
    frame = ping(first)
    with pytest.raises(NoSession):
        book.open(frame[:12] + second.session + frame[20:], at=NOON)
    with pytest.raises(UplinkRefused):
        book.open(frame[:4] + two.key.gateway + second.session + frame[20:], at=NOON)
    with pytest.raises(GatewayUnknown):
        book.open(frame[:4] + new_gateway() + frame[12:], at=NOON)
    assert book.open(frame, at=NOON).key == one.key


def test_every_changed_bit_of_a_frame_is_refused_by_the_book() -> None:
    who = identity()
    book = book_with(who)
    frame = connect(book, who).seal(FrameType.READ, b"reading", at=NOON)
    for bit in range(len(frame) * 8):
        changed = (int.from_bytes(frame, "big") ^ 1 << bit).to_bytes(len(frame), "big")
        with pytest.raises(UplinkRefused):
            book.open(changed, at=NOON)
    assert book.open(frame, at=NOON).plain == b"reading"


def test_the_cloud_says_nothing_on_a_session_that_nobody_has_used() -> None:
    who = identity()
    book = book_with(who)
    session = connect(book, who)
    with pytest.raises(NoSession):
        book.seal(who.key.gateway, FrameType.CMD, b"{}", at=NOON)
    book.open(ping(session), at=NOON)
    frame = book.seal(who.key.gateway, FrameType.CMD, b"{}", at=NOON)
    assert session.open(frame, at=NOON) == (FrameType.CMD, b"{}")


def test_a_forged_hello_leaves_the_live_session_alone() -> None:
    who = identity()
    book = book_with(who)
    session = connect(book, who)
    book.open(ping(session), at=NOON)
    liar = GatewayHandshake(key=who.key, root=new_root(), mode=Mode.DATAGRAM, at=NOON)
    with pytest.raises(HandshakeForged):
        book.greet(liar.hello, root=who.root, at=NOON)
    assert book.open(ping(session), at=NOON).key == who.key


def test_sessions_past_their_day_are_forgotten() -> None:
    who = identity()
    book = book_with(who)
    session = connect(book, who)
    book.open(ping(session), at=NOON)
    assert book.expire(at=NOON + DAY - SECOND) == ()
    assert book.expire(at=NOON + DAY) == (session.session,)
    with pytest.raises(NoSession):
        book.open(ping(session), at=NOON)
