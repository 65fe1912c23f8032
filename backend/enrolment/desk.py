"""The desk of the process that holds the sealed uplink: rings, root keys, enrolment, what changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from uuid import UUID

from backend.kernel.db import unit_of_work
from backend.uplink.enrol import CLAIM_ID_SIZE, enrol
from backend.uplink.errors import (
    GatewayUnknown,
    KeyRetired,
    KeyRevoked,
    KeyUnknown,
    UplinkRefused,
)
from backend.uplink.keys import KeyName, KeyWrapper, new_gateway, root_place
from backend.uplink.rotation import KeyRing

from . import operations, queries
from .claims import PostgresClaims
from .ports import NoteRefusal
from .queries import ClaimRow, RingRow
from .rules import Box
from .watch import RingWatch

# One episode a gateway and code is opened in any case; this keeps a flood of frames off the database.
NOTED_FOR = timedelta(minutes=1)


class KeyDesk:
    """For one process; not for two threads. `dsn` is the application role's address, for LISTEN; all
    else goes by the process's pool. No call may be made inside a unit of work."""

    def __init__(self, *, dsn: str, wrapper: KeyWrapper, note: NoteRefusal) -> None:
        self._dsn = dsn
        self._wrapper = wrapper
        self._note = note
        self._noted: dict[tuple[UUID, str], datetime] = {}

    async def rings(self) -> list[RingRow]:
        """Every ring of every group, group by group."""
        found: list[RingRow] = []
        for group_id in await queries.groups_with_rings():
            async with unit_of_work(group_id) as work:
                found += await queries.rings(work)
        return found

    async def ring_of(self, wire_id: bytes) -> RingRow | None:
        """The ring of an 8-byte uplink id, or None."""
        group_id = await queries.group_of_wire(wire_id)
        if group_id is None:
            return None
        async with unit_of_work(group_id) as work:
            return await queries.ring(work, wire_id=wire_id)

    async def root(self, key: KeyName) -> bytes:
        """A root key (32 bytes). Raises GatewayUnknown, KeyRevoked, KeyRetired, KeyUnknown,
        KeyBlobBroken (the row was tampered with, or its KEK is not configured)."""
        row = await self.ring_of(key.gateway)
        if row is None:
            raise GatewayUnknown("no gateway of this id is known")
        async with unit_of_work(row.group_id) as work:
            kept = await queries.kept_key(work, gateway_id=row.gateway_id, version=key.version)
        if kept is None:
            raise _missing(row.ring, key.version)
        return self._wrapper.unwrap(kept, place=root_place(key))

    async def keep(self, row: RingRow, ring: KeyRing, *, at: datetime) -> RingRow:
        """Store what a frame, a HELLO or time made of the ring of `row`; the row to go on with.

        Raises Conflict when `row` is not the newest: what is newer comes out of `changes()`.
        """
        async with unit_of_work(row.group_id) as work:
            return await operations.keep_ring(work, row=row, ring=ring, at=at)

    async def offer(self, row: RingRow, *, at: datetime) -> tuple[RingRow, bytes]:
        """Make the next root key, for KEYUP: the row with it pending, and the key (32 bytes).

        Raises Conflict: `row` is not the newest, an offer is open, or the gateway is revoked.
        """
        async with unit_of_work(row.group_id) as work:
            return await operations.offer_key(work, row=row, wrapper=self._wrapper, at=at)

    async def settle(self, *, at: datetime) -> int:
        """Store what time alone has decided and destroy the keys it retired; how many rings."""
        due = [row for row in await self.rings() if row.ring.settled(at=at) != row.ring]
        for row in due:
            await self.keep(row, row.ring.settled(at=at), at=at)
        return len(due)

    async def enrol(self, request: bytes, *, at: datetime) -> bytes:
        """Spend the claim that `request` names, make and store a root key; the answer to send.

        All in one commit, the audit entry too. A refusal that a person must hear of is noted. The
        peer is told one and the same thing whatever is raised. Raises UplinkRefused, Conflict (the
        gateway is in use, or was enrolled by another request just now).
        """
        stack = AsyncExitStack()
        claims = PostgresClaims(stack)
        try:
            async with stack:
                await claims.find(request[1 : 1 + CLAIM_ID_SIZE])
                before, key = await self._next_key(claims.found, at)
                done = await enrol(request, key=key, store=claims, wrapper=self._wrapper, at=at)
                claim = claims.found
                assert claim is not None
                await operations.keep_enrolment(
                    claims.work, claim=claim, done=done, before=before, at=at
                )
        except UplinkRefused as error:
            found = claims.found
            if found is not None:
                await self._refused(found.claim.group_id, found.box, error, at)
            raise
        return done.answer

    async def refused(self, row: RingRow, error: UplinkRefused, *, at: datetime) -> None:
        """Tell operators of a refused frame or HELLO of a gateway, when a person must hear of it:
        one episode a gateway and code, however many frames there are."""
        await self._refused(row.group_id, row.box, error, at)

    def changes(self) -> AsyncGenerator[RingRow, None]:
        """Every ring there is, then every ring that changes, whoever changed it: at once by NOTIFY,
        or by the next tick (2 s) when that was lost. Take a row only when its revision is greater
        than that of the row you have. Never ends by itself: the reader closes it (aclosing)."""
        return RingWatch(self._dsn).changes()

    async def _next_key(
        self, claim: ClaimRow | None, at: datetime
    ) -> tuple[RingRow | None, KeyName]:
        """The gateway's ring (None: its first enrolment) and the name of the key it is to get."""
        before = None
        if claim is not None:
            async with unit_of_work(claim.claim.group_id) as work:
                before = await queries.ring(work, gateway_id=claim.box.id)
        if before is None:
            return None, KeyName(new_gateway(), 1)
        version = before.ring.enrolled_again(at=at).current
        assert version is not None
        return before, KeyName(before.ring.gateway, version)

    async def _refused(self, group_id: int, box: Box, error: UplinkRefused, at: datetime) -> None:
        last = self._noted.get((box.id, error.code))
        if not error.alarmed or (last is not None and at - last < NOTED_FOR):
            return
        self._noted[box.id, error.code] = at
        told = False
        try:
            async with unit_of_work(group_id) as work:
                await self._note(work, gateway=box, code=error.code, at=at)
            told = True
        finally:
            if not told:
                del self._noted[box.id, error.code]


def _missing(ring: KeyRing, version: int) -> UplinkRefused:
    if version <= ring.revoked_through:
        return KeyRevoked(f"key {version} of this gateway is revoked")
    if version > ring.highest:
        return KeyUnknown(f"key {version} was never given out")
    return KeyRetired(f"key {version} is not in use any more")
