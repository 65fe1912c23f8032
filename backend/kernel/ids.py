"""Ids: UUIDv7 for rows (sorted by time of making), 32 letters and digits at most for orders."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as RowUUID

from .clock import CHINA

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_chance: random.Random = secrets.SystemRandom()


@contextmanager
def drawn_from(chance: random.Random) -> Iterator[None]:
    """Draw ids and order numbers from `chance` until the block ends: a simulation must be able to run
    the same again. Tokens, which are secrets, are never drawn from it."""
    global _chance
    _chance = chance
    try:
        yield
    finally:
        _chance = secrets.SystemRandom()


def uuid7(at: datetime) -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of unix milliseconds of `at`, the rest random."""
    millis = int(at.timestamp() * 1000)
    value = (millis << 80) | _chance.getrandbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    # The UUID that rows come with: half the cost to make and to send.
    return RowUUID(value.to_bytes(16))


def made_at(id_: UUID) -> datetime:
    """The instant in a UUIDv7, to the millisecond."""
    return _UNIX + timedelta(milliseconds=id_.int >> 80)


def order_no(at: datetime) -> str:
    """A channel order number: yyyymmddHHMMSS of China time and 16 hex digits, 30 characters.

    Letters and digits only and at most 32, so that WeChat, Alipay and UnionPay (which forbids
    `-` and `_`) all take it (reference/channels.md section 8 rule 8).
    """
    return at.astimezone(CHINA).strftime("%Y%m%d%H%M%S") + f"{_chance.getrandbits(64):016x}"


def token() -> str:
    """A 128-bit random token for links and sessions, URL-safe."""
    return secrets.token_urlsafe(16)
