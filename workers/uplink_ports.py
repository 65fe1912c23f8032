"""What the sealed uplink's host needs: a desk of keys (backend.enrolment), and somebody who takes what
gateways say (workers.uplink_inbox)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Protocol

from backend.enrolment.queries import RingRow
from backend.kernel.db import DATABASE_AWAY
from backend.kernel.errors import Unavailable
from backend.uplink.keys import KeyName
from backend.uplink.message import Alarm, Ping, Read
from backend.uplink.rotation import KeyRing

__all__ = ["AWAY", "KeyDesk", "RingRow", "UplinkInbox"]

# What a desk or an inbox raises while its database is away. The same work may be tried again.
AWAY = (Unavailable, *DATABASE_AWAY)


class KeyDesk(Protocol):
    """Keys at rest. All but `changes` raise one of AWAY when the database is away."""

    async def rings(self) -> list[RingRow]:
        """Every gateway's ring."""
        ...

    async def ring_of(self, wire_id: bytes) -> RingRow | None:
        """The ring of an 8-byte wire id, or None."""
        ...

    async def root(self, key: KeyName) -> bytes:
        """A root key (32 bytes). Raises UplinkRefused."""
        ...

    async def keep(self, row: RingRow, ring: KeyRing, *, at: datetime) -> RingRow:
        """Store how the ring of `row` went on; the row to go on with. Raises Conflict when `row` is
        not the newest: what is newer comes out of `changes`."""
        ...

    async def offer(self, row: RingRow, *, at: datetime) -> tuple[RingRow, bytes]:
        """Make the next root key: the row with it pending, and the key. Raises Conflict."""
        ...

    async def settle(self, *, at: datetime) -> int:
        """Store what time alone has decided and destroy the keys it retired; how many rings."""
        ...

    async def enrol(self, request: bytes, *, at: datetime) -> bytes:
        """The answer to an enrolment request. Raises UplinkRefused, Conflict."""
        ...

    def changes(self) -> AsyncGenerator[RingRow, None]:
        """Every ring that changes, whoever changed it, within seconds. The reader closes it."""
        ...


class UplinkInbox(Protocol):
    """Takes what gateways say. Each returns when it is stored for good, or raises one of AWAY: the
    gateway is then not told that it arrived and says it again."""

    async def readings(self, row: RingRow, reads: list[Read], at: datetime) -> None:
        """Readings of a gateway, received at `at`. What is not believed is noted, not raised."""
        ...

    async def alarm(self, row: RingRow, alarm: Alarm, at: datetime) -> None:
        """A gateway or one of its meters raises an alarm."""
        ...

    async def pinged(self, row: RingRow, ping: Ping, at: datetime) -> None:
        """A gateway is there."""
        ...

    async def silent(self, row: RingRow, since: datetime) -> None:
        """A gateway was not heard since then. Called once each time that it falls silent."""
        ...

    async def refused(self, who: RingRow | bytes, code: str, at: datetime) -> None:
        """Something in the name of `who` (a wire id when there is no such gateway, b"" when there is
        not even a name) was refused. Called once an episode."""
        ...
