"""HELLO and WELCOME: both sides prove that they hold the root key and agree on fresh session keys.

Greeting: magic 2 | version 1 | type 1 | gateway 8 | key version 2 | flags 2 | time 8 | nonce 16 | X25519 32
HELLO:    greeting of type 1 | mac 32          WELCOME: greeting of type 2 | session 8 | mac 32
Times are unix milliseconds. WELCOME's mac covers HELLO too and its key needs both X25519 keys.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from .errors import ClockSkew, FrameMalformed, HandshakeForged
from .frame import FRAME_LIMIT, MAGIC, VERSION, Mode
from .keys import (
    MAC_SIZE,
    NONCE_SIZE,
    SESSION_SIZE,
    KeyName,
    agree,
    derive,
    mac,
    session_keys,
)
from .session import Session, Side

REFUSED_SKEW_MS = 300_000
TRIP_SKEW_MS = 60_000

_HELLO, _WELCOME = 1, 2
_GREETING = struct.Struct(">2sBB8sHHQ16s32s")
HELLO_SIZE = _GREETING.size + MAC_SIZE
WELCOME_SIZE = _GREETING.size + SESSION_SIZE + MAC_SIZE
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What HELLO and WELCOME have in common. Nothing of it is believed before the mac has passed."""

    type: int
    key: KeyName
    flags: int
    time_ms: int
    nonce: bytes
    public: bytes

    @property
    def encoded(self) -> bytes:
        """The bytes before the session and the mac."""
        return _GREETING.pack(
            MAGIC,
            VERSION,
            self.type,
            self.key.gateway,
            self.key.version,
            self.flags,
            self.time_ms,
            self.nonce,
            self.public,
        )


def read_hello(wire: bytes) -> Greeting:
    """What a HELLO claims, to look up the key it names. Raises FrameMalformed."""
    return _read(wire, kind=_HELLO, size=HELLO_SIZE)


def answer_hello(
    wire: bytes, *, root: bytes, mode: Mode, at: datetime, limit: int = FRAME_LIMIT
) -> tuple[bytes, Session]:
    """The cloud's side: WELCOME and the session it opens.

    `root` is the key that `read_hello` names. The session is not the gateway's living one before a
    first frame has come on it: a replayed HELLO gets an answer that nobody can use.
    Raises FrameMalformed, HandshakeForged, ClockSkew (more than 300 s).
    """
    hello = read_hello(wire)
    if not hmac.compare_digest(wire[-MAC_SIZE:], _hello_mac(root, hello)):
        raise HandshakeForged("HELLO was not made with this gateway's key")
    if hello.flags != mode.flags:
        raise FrameMalformed("HELLO asks for another suite or mode than this transport's")
    skew = _skew_ms(hello, at)
    session = os.urandom(SESSION_SIZE)
    private = X25519PrivateKey.generate()
    welcome = _greet(_WELCOME, key=hello.key, mode=mode, private=private, at=at)
    shared = agree(private, hello.public)
    body = welcome.encoded + session
    proof = _welcome_mac(root, shared, hello, body)
    opened = _session(
        Side.CLOUD, root, shared, hello, welcome.nonce, session, mode, at, skew, limit
    )
    return body + proof, opened


class GatewayHandshake:
    """The gateway's side: one HELLO and the one WELCOME that answers it."""

    def __init__(self, *, key: KeyName, root: bytes, mode: Mode, at: datetime) -> None:
        self._root = root
        self._mode = mode
        self._private: X25519PrivateKey | None = X25519PrivateKey.generate()
        self._hello = _greet(_HELLO, key=key, mode=mode, private=self._private, at=at)
        self.hello = self._hello.encoded + _hello_mac(root, self._hello)

    def finish(self, wire: bytes, *, at: datetime, limit: int = FRAME_LIMIT) -> Session:
        """The session, once: a second one would use the same nonces. A wrong WELCOME leaves the
        handshake open for the right one. Raises FrameMalformed, HandshakeForged, ClockSkew."""
        if self._private is None:
            raise HandshakeForged("this HELLO was answered before")
        welcome = _read(wire, kind=_WELCOME, size=WELCOME_SIZE)
        if welcome.key != self._hello.key or welcome.flags != self._hello.flags:
            raise HandshakeForged("WELCOME answers another gateway, key or mode")
        body, proof = wire[:-MAC_SIZE], wire[-MAC_SIZE:]
        shared = agree(self._private, welcome.public)
        if not hmac.compare_digest(proof, _welcome_mac(self._root, shared, self._hello, body)):
            raise HandshakeForged("WELCOME was not made with this gateway's key for this HELLO")
        skew = _skew_ms(welcome, at)
        self._private = None
        return _session(
            Side.GATEWAY,
            self._root,
            shared,
            self._hello,
            welcome.nonce,
            body[_GREETING.size :],
            self._mode,
            at,
            skew,
            limit,
        )


def _read(wire: bytes, *, kind: int, size: int) -> Greeting:
    if len(wire) != size:
        raise FrameMalformed(f"a greeting of {len(wire)} bytes")
    magic, version, found, gateway, key_version, flags, time_ms, nonce, public = (
        _GREETING.unpack_from(wire)
    )
    if magic != MAGIC or version != VERSION or found != kind or key_version == 0:
        raise FrameMalformed("not a greeting of this protocol")
    return Greeting(kind, KeyName(gateway, key_version), flags, time_ms, nonce, public)


def _greet(
    kind: int, *, key: KeyName, mode: Mode, private: X25519PrivateKey, at: datetime
) -> Greeting:
    public = private.public_key().public_bytes_raw()
    return Greeting(kind, key, mode.flags, _millis(at), os.urandom(NONCE_SIZE), public)


def _hello_mac(root: bytes, hello: Greeting) -> bytes:
    key = derive(secret=root, salt=b"", info=b"hello1|" + hello.key.encoded)
    return mac(key, hello.encoded)


def _welcome_mac(root: bytes, shared: bytes, hello: Greeting, body: bytes) -> bytes:
    key = derive(secret=root + shared, salt=hello.nonce, info=b"welcome1|" + hello.key.encoded)
    return mac(key, hello.encoded, body)


def _session(
    side: Side,
    root: bytes,
    shared: bytes,
    hello: Greeting,
    nonce_cloud: bytes,
    session: bytes,
    mode: Mode,
    at: datetime,
    skew: int,
    limit: int,
) -> Session:
    keys = session_keys(
        root=root,
        shared=shared,
        nonces=hello.nonce + nonce_cloud,
        key=hello.key,
        session=session,
    )
    return Session(
        side=side,
        key=hello.key,
        session=session,
        keys=keys,
        mode=mode,
        opened_at=at,
        trips_allowed=skew <= TRIP_SKEW_MS,
        limit=limit,
    )


def _skew_ms(peer: Greeting, at: datetime) -> int:
    skew = abs(peer.time_ms - _millis(at))
    if skew > REFUSED_SKEW_MS:
        raise ClockSkew(f"the clocks differ by {skew // 1000} s", skew_ms=skew)
    return skew


def _millis(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)
