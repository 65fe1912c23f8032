"""A desk of keys in memory, on the real core of the uplink: the promises of KeyDesk and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from backend.enrolment.queries import RingRow
from backend.kernel.errors import Conflict
from backend.uplink.enrol import WRONG_TRIES, Claim, enrol, new_claim
from backend.uplink.errors import KeyUnknown
from backend.uplink.keys import KeyName, KeyWrapper, new_gateway, new_root, root_place
from backend.uplink.rotation import KeyRing


class MemoryDesk:
    """Keys of gateways of any group. `asked` counts visits for a root key; without `bell` nobody hears
    of changes."""

    def __init__(self) -> None:
        self.rows: dict[bytes, RingRow] = {}
        self.asked = 0
        self.bell = True
        self._roots: dict[KeyName, bytes] = {}
        self._claims: dict[bytes, Claim] = {}
        self._wrapper = KeyWrapper({1: os.urandom(32)})
        self._readers: set[asyncio.Queue[RingRow]] = set()

    # What an operator does

    def claim(self, *, group_id: int, serial: str, at: datetime) -> str:
        """A claim code for a gateway that has no keys."""
        code, claim = new_claim(group_id=group_id, serial=serial, wrapper=self._wrapper, at=at)
        self._claims[claim.claim_id] = claim
        return code

    def add(self, *, group_id: int, serial: str) -> tuple[KeyName, bytes]:
        """A gateway that has enrolled: its key and root key."""
        key, root = KeyName(new_gateway(), 1), new_root()
        self._store(RingRow(group_id, uuid4(), uuid4(), serial, KeyRing(key.gateway), False, 1))
        self._roots[key] = root
        return key, root

    def revoke(self, wire_id: bytes) -> None:
        """Every key of the gateway is dead."""
        self._change(wire_id, self.rows[wire_id].ring.revoked())

    def want_rotation(self, wire_id: bytes) -> None:
        """Ask for a new key."""
        row = self.rows[wire_id]
        self._store(replace(row, rotation_wanted=True, revision=row.revision + 1))

    def gateway_id(self, wire_id: bytes) -> UUID:
        """The gateway's id in the database."""
        return self.rows[wire_id].gateway_id

    # KeyDesk

    async def rings(self) -> list[RingRow]:
        """All rings."""
        return list(self.rows.values())

    async def ring_of(self, wire_id: bytes) -> RingRow | None:
        """One ring."""
        return self.rows.get(wire_id)

    async def root(self, key: KeyName) -> bytes:
        """A root key."""
        self.asked += 1
        await asyncio.sleep(0)
        if key not in self._roots:
            raise KeyUnknown("no such key")
        return self._roots[key]

    async def keep(self, row: RingRow, ring: KeyRing, *, at: datetime) -> RingRow:
        """Store a ring over the one it came from."""
        await asyncio.sleep(0)
        if self.rows[row.ring.gateway].ring != row.ring:
            raise Conflict("the ring has changed meanwhile")
        return self._change(row.ring.gateway, ring)

    async def offer(self, row: RingRow, *, at: datetime) -> tuple[RingRow, bytes]:
        """The next key."""
        await asyncio.sleep(0)
        if self.rows[row.ring.gateway].ring != row.ring:
            raise Conflict("the ring has changed meanwhile")
        ring = row.ring.offered(at=at)
        assert ring.pending is not None
        root = self._roots[KeyName(ring.gateway, ring.pending)] = new_root()
        return self._change(ring.gateway, ring), root

    async def settle(self, *, at: datetime) -> int:
        """Nothing is kept that time decides."""
        return 0

    async def enrol(self, request: bytes, *, at: datetime) -> bytes:
        """The real enrolment."""
        key = KeyName(new_gateway(), 1)
        done = await enrol(request, key=key, store=self, wrapper=self._wrapper, at=at)
        self._roots[key] = self._wrapper.unwrap(done.wrapped, place=root_place(key))
        ring = KeyRing(key.gateway)
        self._store(RingRow(done.group_id, uuid4(), uuid4(), done.serial, ring, False, 1))
        return done.answer

    async def changes(self) -> AsyncGenerator[RingRow, None]:
        """Every change from now on."""
        queue: asyncio.Queue[RingRow] = asyncio.Queue()
        self._readers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.discard(queue)

    # ClaimStore

    async def find(self, claim_id: bytes) -> Claim | None:
        """The claim, or None."""
        return self._claims.get(claim_id)

    async def count_wrong(self, claim_id: bytes) -> int:
        """One more wrong try."""
        claim = self._claims[claim_id]
        self._claims[claim_id] = replace(claim, wrong_tries=claim.wrong_tries + 1)
        return claim.wrong_tries + 1

    async def spend(self, claim_id: bytes, *, at: datetime) -> bool:
        """Once, and only a living one."""
        claim = self._claims[claim_id]
        if claim.spent_at or claim.wrong_tries >= WRONG_TRIES or at >= claim.expires_at:
            return False
        self._claims[claim_id] = replace(claim, spent_at=at)
        return True

    def _change(self, wire_id: bytes, ring: KeyRing) -> RingRow:
        row = self.rows[wire_id]
        wanted = row.rotation_wanted and ring.current == row.ring.current
        return self._store(
            replace(row, ring=ring, rotation_wanted=wanted, revision=row.revision + 1)
        )

    def _store(self, row: RingRow) -> RingRow:
        self.rows[row.ring.gateway] = row
        for reader in self._readers if self.bell else ():
            reader.put_nowait(row)
        return row
