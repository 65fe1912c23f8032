"""Reads of enrolment: rings and claims, and by narrow functions the group that one of them belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork, platform_connection
from backend.uplink.enrol import WRONG_TRIES, Claim
from backend.uplink.keys import WrappedKey
from backend.uplink.rotation import KeyRing

from .rules import Box, UplinkState, state_of


@dataclass(frozen=True, slots=True)
class RingRow:
    """A gateway's ring as it rests. `revision` grows with every change: of two rows of a gateway the
    one with the greater is the newer. `rotation_wanted`: an operator asked for a new key, and none has
    come into use since."""

    group_id: int
    project_id: UUID
    gateway_id: UUID
    serial: str
    ring: KeyRing
    rotation_wanted: bool
    revision: int

    @property
    def box(self) -> Box:
        """The gateway."""
        return Box(self.project_id, self.gateway_id, self.serial)


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A claim that nobody has killed, and the gateway it is for."""

    claim: Claim
    box: Box


@dataclass(frozen=True, slots=True)
class Standing:
    """A gateway's sealed line as people see it. Nothing of it is secret."""

    state: UplinkState
    key_version: int | None = None
    enrolled_at: datetime | None = None
    claim_expires_at: datetime | None = None
    rotation_wanted: bool = False
    revoked_at: datetime | None = None


async def group_of_claim(claim_id: bytes) -> int | None:
    """The group of a claim id, or None."""
    async with platform_connection() as connection:
        group_id: int | None = await connection.fetchval(
            "SELECT enrolment_group_of_claim($1)", claim_id
        )
    return group_id


async def group_of_wire(wire_id: bytes) -> int | None:
    """The group of a gateway's 8-byte uplink id, or None."""
    async with platform_connection() as connection:
        group_id: int | None = await connection.fetchval(
            "SELECT enrolment_group_of_wire($1)", wire_id
        )
    return group_id


async def groups_with_rings() -> list[int]:
    """Every group that has enrolled a gateway."""
    async with platform_connection() as connection:
        rows = await connection.fetch("SELECT of_group FROM enrolment_marks() ORDER BY of_group")
    return [row["of_group"] for row in rows]


async def claim(work: UnitOfWork, *, claim_id: bytes) -> ClaimRow | None:
    """A claim by its id, spent ones too; None for one that was replaced or revoked."""
    row = await work.fetchrow(
        "SELECT * FROM enrolment_claim WHERE group_id = $1 AND id = $2 AND ended_at IS NULL",
        work.group_id,
        claim_id,
    )
    if row is None:
        return None
    found = Claim(
        claim_id=row["id"],
        group_id=row["group_id"],
        serial=row["serial"],
        expires_at=row["expires_at"],
        verifier=WrappedKey(row["kek_version"], row["verifier"]),
        wrong_tries=row["wrong_tries"],
        spent_at=row["spent_at"],
    )
    return ClaimRow(found, Box(row["project_id"], row["gateway_id"], row["serial"]))


async def ring(
    work: UnitOfWork, *, gateway_id: UUID | None = None, wire_id: bytes | None = None
) -> RingRow | None:
    """The ring of a gateway of this group, by its id or by its uplink id; None before it enrolled."""
    row = await work.fetchrow(
        "SELECT * FROM enrolment_ring WHERE group_id = $1 AND (gateway_id = $2 OR wire_id = $3)",
        work.group_id,
        gateway_id,
        wire_id,
    )
    return None if row is None else _ring_row(row)


async def rings(work: UnitOfWork) -> list[RingRow]:
    """Every ring of the group."""
    rows = await work.fetch("SELECT * FROM enrolment_ring WHERE group_id = $1", work.group_id)
    return [_ring_row(row) for row in rows]


async def locked_ring(work: UnitOfWork, *, gateway_id: UUID) -> RingRow | None:
    """The ring of a gateway, held against other writers until this transaction ends."""
    row = await work.fetchrow(
        "SELECT * FROM enrolment_ring WHERE group_id = $1 AND gateway_id = $2 FOR UPDATE",
        work.group_id,
        gateway_id,
    )
    return None if row is None else _ring_row(row)


async def kept_key(work: UnitOfWork, *, gateway_id: UUID, version: int) -> WrappedKey | None:
    """A root key as it rests; None when it was never made or is destroyed."""
    row = await work.fetchrow(
        "SELECT kek_version, blob FROM enrolment_key"
        " WHERE group_id = $1 AND gateway_id = $2 AND version = $3",
        work.group_id,
        gateway_id,
        version,
    )
    return None if row is None else WrappedKey(row["kek_version"], row["blob"])


async def standings(
    work: UnitOfWork, *, gateway_ids: Sequence[UUID], at: datetime
) -> Mapping[UUID, Standing]:
    """Where each gateway's sealed line stands: one statement for any number of them."""
    rows = await work.fetch(
        "SELECT k.of_gateway, r.*, c.expires_at, c.wrong_tries"
        " FROM unnest($2::uuid[]) AS k(of_gateway)"
        " LEFT JOIN enrolment_ring r ON r.group_id = $1 AND r.gateway_id = k.of_gateway"
        " LEFT JOIN enrolment_claim c ON c.group_id = $1 AND c.gateway_id = k.of_gateway"
        "   AND c.spent_at IS NULL AND c.ended_at IS NULL",
        work.group_id,
        list(gateway_ids),
    )
    return {row["of_gateway"]: _standing(row, at) for row in rows}


def _standing(row: Row, at: datetime) -> Standing:
    kept = None if row["wire_id"] is None else _ring_row(row)
    current = None if kept is None else kept.ring.settled(at=at).current
    open_until: datetime | None = row["expires_at"]
    return Standing(
        state=state_of(
            active=current is not None,
            revoked=row["revoked_at"] is not None,
            claim_locked=None if open_until is None else row["wrong_tries"] >= WRONG_TRIES,
            claim_over=open_until is not None and at >= open_until,
        ),
        key_version=current,
        enrolled_at=row["enrolled_at"],
        claim_expires_at=open_until,
        rotation_wanted=row["rotation_wanted_at"] is not None,
        revoked_at=row["revoked_at"],
    )


def _ring_row(row: Row) -> RingRow:
    return RingRow(
        group_id=row["group_id"],
        project_id=row["project_id"],
        gateway_id=row["gateway_id"],
        serial=row["serial"],
        ring=KeyRing(
            gateway=row["wire_id"],
            current=row["current_version"],
            highest=row["highest_version"],
            pending=row["pending_version"],
            offered_at=row["offered_at"],
            acknowledged_at=row["acknowledged_at"],
            revoked_through=row["revoked_through"],
        ),
        rotation_wanted=row["rotation_wanted_at"] is not None,
        revision=row["revision"],
    )
