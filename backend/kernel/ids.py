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
    return next(uuid7s(at))


def uuid7s(at: datetime, *, together: int = 1) -> Iterator[UUID]:
    """UUIDv7s of one instant, as many as are asked for; chance is drawn for so many `together`."""
    millis = int(at.timestamp() * 1000).to_bytes(6)
    while True:
        drawn = bytearray(_chance.randbytes(10 * together))
        for n in range(0, 10 * together, 10):
            drawn[n] = 0x70 | drawn[n] & 0x0F
            drawn[n + 2] = 0x80 | drawn[n + 2] & 0x3F
            # The UUID that rows come with: half the cost to make and to send.
            yield RowUUID(millis + drawn[n : n + 10])


def earliest_at(at: datetime) -> UUID:
    """What no UUIDv7 of `at` or later lies before: where a list that goes by id begins."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


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
