"""Both ends of an uplink for tests: real keys made at run time, a clock that stands still."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from backend.uplink.book import SessionBook
from backend.uplink.enrol import WRONG_TRIES, Claim
from backend.uplink.frame import FRAME_LIMIT, FrameType, Mode
from backend.uplink.handshake import GatewayHandshake, answer_hello
from backend.uplink.keys import KeyName, KeyWrapper, new_gateway, new_root
from backend.uplink.rotation import KeyRing
from backend.uplink.session import Session

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """One gateway's name and root key."""

    key: KeyName
    root: bytes


def identity(version: int = 1, gateway: bytes | None = None) -> Identity:
    """A fresh gateway."""
    return Identity(KeyName(gateway or new_gateway(), version), new_root())


def wrapper() -> KeyWrapper:
    """A key wrapper with one fresh KEK."""
    return KeyWrapper({1: os.urandom(32)})


def both_ends(
    who: Identity | None = None, *, mode: Mode = Mode.DATAGRAM, limit: int = FRAME_LIMIT
) -> tuple[Session, Session]:
    """(gateway's end, cloud's end) of a fresh session."""
    who = who or identity()
    shake = GatewayHandshake(key=who.key, root=who.root, mode=mode, at=NOON)
    welcome, cloud = answer_hello(shake.hello, root=who.root, mode=mode, at=NOON, limit=limit)
    return shake.finish(welcome, at=NOON, limit=limit), cloud


def book_with(*gateways: Identity) -> SessionBook:
    """A book that knows the gateways."""
    book = SessionBook(mode=Mode.DATAGRAM)
    for one in gateways:
        book.put_ring(KeyRing(one.key.gateway), at=NOON)
    return book


def connect(book: SessionBook, who: Identity, *, at: datetime = NOON) -> Session:
    """The gateway's end of a session whose HELLO was answered; no frame has been sent on it."""
    shake = GatewayHandshake(key=who.key, root=who.root, mode=Mode.DATAGRAM, at=at)
    welcome, _ = book.greet(shake.hello, root=who.root, at=at)
    return shake.finish(welcome, at=at)


def ping(session: Session, *, at: datetime = NOON) -> bytes:
    """A sealed PING."""
    return session.seal(FrameType.PING, b"{}", at=at)


class ClaimDrawer:
    """Claims in memory, with the promises that ClaimStore asks for."""

    def __init__(self, *claims: Claim) -> None:
        self.claims = {claim.claim_id: claim for claim in claims}

    async def find(self, claim_id: bytes) -> Claim | None:
        """The claim, or None."""
        return self.claims.get(claim_id)

    async def count_wrong(self, claim_id: bytes) -> int:
        """One more wrong try."""
        claim = self.claims[claim_id]
        self.claims[claim_id] = replace(claim, wrong_tries=claim.wrong_tries + 1)
        return claim.wrong_tries + 1

    async def spend(self, claim_id: bytes, *, at: datetime) -> bool:
        """Once, and only a living one."""
        claim = self.claims[claim_id]
        if claim.spent_at or claim.wrong_tries >= WRONG_TRIES or at >= claim.expires_at:
            return False
        self.claims[claim_id] = replace(claim, spent_at=at)
        return True
