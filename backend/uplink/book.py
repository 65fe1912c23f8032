"""The cloud's book of open sessions: who may speak, and how everything of a gateway is cut at once.

In memory, one per process that holds the transport. It is told the key rings and tells what changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from .errors import GatewayUnknown, HandshakeReplayed, NoSession, UplinkRefused
from .frame import FrameType, Mode, read_header
from .handshake import REFUSED_SKEW_MS, answer_hello, read_hello
from .keys import KeyName
from .rotation import KeyRing
from .session import Session

HELLO_MEMORY = timedelta(milliseconds=2 * REFUSED_SKEW_MS)  # older ones fail by their skew
CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class Opened:
    """A frame that was taken. `ring` is the gateway's ring to store when this frame changed it."""

    key: KeyName
    type: FrameType
    plain: bytes
    trips_allowed: bool
    ring: KeyRing | None = None


@dataclass(slots=True)
class _Gateway:
    """One gateway: its ring, the session in use and those that no frame has come on yet."""

    ring: KeyRing
    live: Session | None = None
    candidates: dict[bytes, Session] = field(default_factory=dict)
    hellos: dict[bytes, datetime] = field(default_factory=dict)

    def session(self, session: bytes) -> Session | None:
        if self.live is not None and self.live.session == session:
            return self.live
        return self.candidates.get(session)

    def drop(self, refused: Callable[[Session], bool]) -> tuple[bytes, ...]:
        """Forget the sessions that `refused` names, keys and all; their ids."""
        gone = tuple(id_ for id_, session in self.candidates.items() if refused(session))
        for id_ in gone:
            del self.candidates[id_]
        if self.live is not None and refused(self.live):
            gone, self.live = (self.live.session, *gone), None
        return gone


class SessionBook:
    """Sessions of all gateways of one transport. Not for two threads."""

    def __init__(self, *, mode: Mode) -> None:
        self._mode = mode
        self._gateways: dict[bytes, _Gateway] = {}

    def put_ring(self, ring: KeyRing, *, at: datetime) -> tuple[bytes, ...]:
        """Learn a gateway's ring, from the database or a revocation. Sessions under keys that are
        no longer good end here and now; their ids come back so that the transport cuts the line."""
        known = self._gateways.setdefault(ring.gateway, _Gateway(ring))
        known.ring = ring
        return known.drop(partial(_ended, ring, at))

    def greet(self, hello: bytes, *, root: bytes, at: datetime) -> tuple[bytes, KeyRing | None]:
        """WELCOME for a HELLO, and the ring to store when it changed. `root` is the key that
        `read_hello` names.

        Raises GatewayUnknown, KeyRevoked, KeyRetired, KeyUnknown, FrameMalformed, HandshakeForged,
        HandshakeReplayed, ClockSkew.
        """
        asked = read_hello(hello)
        gateway = self._gateway(asked.key.gateway)
        gateway.ring.check(asked.key.version, at=at)
        welcome, session = answer_hello(hello, root=root, mode=self._mode, at=at)
        gateway.hellos = {n: t for n, t in gateway.hellos.items() if at - t <= HELLO_MEMORY}
        if asked.nonce in gateway.hellos:
            raise HandshakeReplayed("this HELLO was answered before")
        gateway.hellos[asked.nonce] = at
        if len(gateway.candidates) >= CANDIDATES:
            del gateway.candidates[next(iter(gateway.candidates))]
        gateway.candidates[session.session] = session
        # A HELLO under the new key proves that the gateway holds it, even if its KEYACK was lost.
        return welcome, _keep(gateway, gateway.ring.acknowledged(asked.key.version, at=at))

    def open(self, frame: bytes, *, at: datetime) -> Opened:
        """A frame of any gateway. The first one on a new session makes it the live one and ends the
        others; the first one under a new key retires the old key.

        Raises GatewayUnknown, KeyRevoked (to be alarmed), KeyRetired, KeyUnknown, NoSession and what
        `Session.open` raises.
        """
        header = read_header(frame)
        gateway = self._gateway(header.key.gateway)
        gateway.ring.check(header.key.version, at=at)
        session = gateway.session(header.session)
        if session is None:
            raise NoSession("no such session is open")
        kind, plain = session.open(frame, at=at)
        if gateway.live is not session:
            gateway.live = session
            gateway.candidates.clear()
        ring = _keep(gateway, gateway.ring.settled(at=at).used(session.key.version))
        return Opened(session.key, kind, plain, session.trips_allowed, ring)

    def seal(self, gateway: bytes, kind: FrameType, plain: bytes, *, at: datetime) -> bytes:
        """A frame for a gateway on its live session. Raises GatewayUnknown, KeyRevoked, KeyRetired,
        NoSession, SessionSpent, WrongDirection, FrameMalformed."""
        known = self._gateway(gateway)
        if known.ring.current is None:
            known.ring.check(known.ring.highest, at=at)
        if known.live is None:
            raise NoSession("the gateway is not connected")
        known.ring.check(known.live.key.version, at=at)
        return known.live.seal(kind, plain, at=at)

    def expire(self, *, at: datetime) -> tuple[bytes, ...]:
        """Forget sessions past their 24 hours or under keys that time has retired; their ids."""
        gone: list[bytes] = []
        for gateway in self._gateways.values():
            gone.extend(gateway.drop(partial(_ended, gateway.ring, at)))
        return tuple(gone)

    def _gateway(self, gateway: bytes) -> _Gateway:
        known = self._gateways.get(gateway)
        if known is None:
            raise GatewayUnknown("no gateway of this id is known")
        return known


def _keep(gateway: _Gateway, ring: KeyRing) -> KeyRing | None:
    """Store a changed ring in the book; the ring if it changed."""
    if ring == gateway.ring:
        return None
    gateway.ring = ring
    return ring


def _ended(ring: KeyRing, at: datetime, session: Session) -> bool:
    """Whether a session is past its 24 hours or its key is no longer good."""
    try:
        ring.check(session.key.version, at=at)
    except UplinkRefused:
        return True
    return session.over(at=at)
