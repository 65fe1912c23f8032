"""Writes of enrolment: claims, rings and root keys. Whatever changes a ring rings `BELL`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import Conflict
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import Permission
from backend.uplink.enrol import WRONG_TRIES, Enrolment, new_claim
from backend.uplink.keys import KeyName, KeyWrapper, WrappedKey, new_root, root_place
from backend.uplink.rotation import KeyRing

from .queries import ClaimRow, RingRow, locked_ring
from .rules import Box, reason_of

# Rung when a ring changes, without a word: whoever listens looks what it was.
BELL = "shuidian_rings"
_UPLINK = Actor("system", "uplink", "sealed uplink")


@dataclass(frozen=True, slots=True)
class NewClaim:
    """The code to show once (nothing of it is kept but a one-way image), and when it dies."""

    code: str = field(repr=False)
    expires_at: datetime


async def make_claim(
    work: UnitOfWork, *, scope: Scope, box: Box, wrapper: KeyWrapper, at: datetime
) -> NewClaim:
    """A new claim of a gateway; an older one that was not used is dead from now on.

    Raises Forbidden, Conflict (its keys are in use: revoke them first; or another claim of it was
    made at this same moment).
    """
    scope.require(Permission.GATEWAY_KEYS, box.project_id)
    await _end_claims(work, box, at)
    kept = await locked_ring(work, gateway_id=box.id)
    if kept is not None and kept.ring.current is not None:
        raise Conflict("the gateway's keys are in use: revoke them before it enrols anew")
    code, claim = new_claim(group_id=work.group_id, serial=box.serial, wrapper=wrapper, at=at)
    made = await work.execute(
        "INSERT INTO enrolment_claim (group_id, id, project_id, gateway_id, serial, made_at,"
        " expires_at, kek_version, verifier) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " ON CONFLICT (group_id, gateway_id) WHERE spent_at IS NULL AND ended_at IS NULL DO NOTHING",
        work.group_id,
        claim.claim_id,
        box.project_id,
        box.id,
        claim.serial,
        at,
        claim.expires_at,
        claim.verifier.kek_version,
        claim.verifier.blob,
    )
    if not made:
        raise Conflict("another claim of this gateway was made at this moment")
    await record(
        work,
        actor=scope.actor,
        action="gateway:claim:make",
        subject=str(box.id),
        at=at,
        project_id=box.project_id,
        after={"serial": box.serial, "expiresAt": claim.expires_at.isoformat()},
    )
    return NewClaim(code, claim.expires_at)


async def count_wrong(work: UnitOfWork, *, claim_id: bytes) -> int:
    """Add one wrong try to a claim; how many there are now. In a unit of work of its own."""
    tries: int = await work.fetchval(
        "UPDATE enrolment_claim SET wrong_tries = wrong_tries + 1"
        " WHERE group_id = $1 AND id = $2 RETURNING wrong_tries",
        work.group_id,
        claim_id,
    )
    return tries


async def spend_claim(work: UnitOfWork, *, claim_id: bytes, at: datetime) -> bool:
    """Mark a claim as used; False when it was used, killed, locked or is over by now."""
    spent = await work.execute(
        "UPDATE enrolment_claim SET spent_at = $3 WHERE group_id = $1 AND id = $2"
        " AND spent_at IS NULL AND ended_at IS NULL AND expires_at > $3 AND wrong_tries < $4",
        work.group_id,
        claim_id,
        at,
        WRONG_TRIES,
    )
    return spent == 1


async def keep_enrolment(
    work: UnitOfWork, *, claim: ClaimRow, done: Enrolment, before: RingRow | None, at: datetime
) -> None:
    """Store what an enrolment made, in the transaction that spent the claim.

    `before` is the ring from which the key's version was taken. Raises Conflict when another one is
    there by now: the claim is then not spent.
    """
    box = claim.box
    if before is None:
        created = await work.execute(
            "INSERT INTO enrolment_ring (group_id, gateway_id, project_id, serial, wire_id,"
            " current_version, highest_version, revoked_through, enrolled_at, revision)"
            " VALUES ($1, $2, $3, $4, $5, $6, $6, 0, $7, 1) ON CONFLICT DO NOTHING",
            work.group_id,
            box.id,
            box.project_id,
            box.serial,
            done.key.gateway,
            done.key.version,
            at,
        )
        if not created:
            raise Conflict("the gateway was enrolled by another request just now")
        work.notify(BELL, "")
    else:
        await _replace(work, before, before.ring.enrolled_again(at=at))
        await work.execute(
            "UPDATE enrolment_ring SET enrolled_at = $3, serial = $4"
            " WHERE group_id = $1 AND gateway_id = $2",
            work.group_id,
            box.id,
            at,
            box.serial,
        )
    await _keep_key(work, box, done.key, done.wrapped, at)
    await _record(work, box, "gateway:keys:enrol", {"version": done.key.version}, at=at)


async def offer_key(
    work: UnitOfWork, *, row: RingRow, wrapper: KeyWrapper, at: datetime
) -> tuple[RingRow, bytes]:
    """Make the next root key, to be sent by KEYUP: the row with it pending, and the key.

    Raises Conflict: `row` is not the newest, an offer is open, or the gateway is revoked.
    """
    ring = row.ring.offered(at=at)
    assert ring.pending is not None
    key, root = KeyName(ring.gateway, ring.pending), new_root()
    kept = await _replace(work, row, ring)
    await _keep_key(work, row.box, key, wrapper.wrap(root, place=root_place(key)), at)
    await _record(work, row.box, "gateway:keys:offer", {"version": key.version}, at=at)
    return kept, root


async def keep_ring(work: UnitOfWork, *, row: RingRow, ring: KeyRing, at: datetime) -> RingRow:
    """Store how the ring of `row` went on: acknowledged, used, or settled by time. Keys that are not
    good any more are destroyed.

    Raises Conflict (`row` is not the newest: a revocation, say, came between), ValueError (a ring
    with other numbers; new keys come by `offer_key`, revocations by `revoke`).
    """
    same = (ring.gateway, ring.highest, ring.revoked_through)
    if same != (row.ring.gateway, row.ring.highest, row.ring.revoked_through):
        raise ValueError("keep_ring keeps the gateway, the highest and the revoked versions")
    if ring == row.ring:
        return row
    kept = await _replace(work, row, ring)
    if ring.current != row.ring.current:
        before, after = {"version": row.ring.current}, {"version": ring.current}
        await _record(work, row.box, "gateway:keys:change", after, at=at, before=before)
    return kept


async def revoke(
    work: UnitOfWork, *, scope: Scope, box: Box, reason: str, at: datetime
) -> RingRow | None:
    """Kill every key and every open claim of a gateway, at once and for good; doing it again is
    fine. The gateway's ring, None when it never enrolled. Raises Forbidden, InvalidInput."""
    scope.require(Permission.GATEWAY_KEYS, box.project_id)
    why = reason_of(reason)
    claims = await _end_claims(work, box, at)
    kept = await locked_ring(work, gateway_id=box.id)
    before = None if kept is None else kept.ring.current
    if kept is not None and before is not None:
        kept = await _replace(work, kept, kept.ring.revoked(), revoked_at=at)
    await record(
        work,
        actor=scope.actor,
        action="gateway:keys:revoke",
        subject=str(box.id),
        at=at,
        project_id=box.project_id,
        before={"version": before, "openClaims": claims},
        after={"reason": why, "revokedThrough": kept.ring.revoked_through if kept else 0},
    )
    return kept


async def want_rotation(work: UnitOfWork, *, scope: Scope, box: Box, at: datetime) -> RingRow:
    """Ask for a new key; whoever holds the line offers it. The wish stands until a new key is in use.

    Raises Forbidden, Conflict (the gateway has no key in use).
    """
    scope.require(Permission.GATEWAY_KEYS, box.project_id)
    kept = await locked_ring(work, gateway_id=box.id)
    if kept is None or kept.ring.current is None:
        raise Conflict("the gateway has no key in use")
    kept = await _replace(work, kept, kept.ring, wanted_at=at)
    await record(
        work,
        actor=scope.actor,
        action="gateway:keys:rotate",
        subject=str(box.id),
        at=at,
        project_id=box.project_id,
        before={"version": kept.ring.current},
    )
    return kept


async def _replace(
    work: UnitOfWork,
    row: RingRow,
    ring: KeyRing,
    *,
    wanted_at: datetime | None = None,
    revoked_at: datetime | None = None,
) -> RingRow:
    """Write `ring` over the ring of `row`, if that still rests; destroy the keys it names no more.

    The wish for a new key ends when the current version changes.
    """
    stored = await locked_ring(work, gateway_id=row.gateway_id)
    if stored is None or stored.ring != row.ring:
        raise Conflict("the gateway's ring has changed meanwhile: read it again")
    await work.execute(
        "UPDATE enrolment_ring SET current_version = $3, highest_version = $4,"
        " pending_version = $5, offered_at = $6, acknowledged_at = $7, revoked_through = $8,"
        " rotation_wanted_at = CASE WHEN current_version IS NOT DISTINCT FROM $3"
        "   THEN coalesce(rotation_wanted_at, $9) END,"
        " revoked_at = $10, revision = revision + 1 WHERE group_id = $1 AND gateway_id = $2",
        work.group_id,
        row.gateway_id,
        ring.current,
        ring.highest,
        ring.pending,
        ring.offered_at,
        ring.acknowledged_at,
        ring.revoked_through,
        wanted_at,
        revoked_at,
    )
    await work.execute(
        "DELETE FROM enrolment_key WHERE group_id = $1 AND gateway_id = $2"
        " AND version IS DISTINCT FROM $3 AND version IS DISTINCT FROM $4",
        work.group_id,
        row.gateway_id,
        ring.current,
        ring.pending,
    )
    work.notify(BELL, "")
    kept = await locked_ring(work, gateway_id=row.gateway_id)
    assert kept is not None
    return kept


async def _keep_key(
    work: UnitOfWork, box: Box, key: KeyName, wrapped: WrappedKey, at: datetime
) -> None:
    await work.execute(
        "INSERT INTO enrolment_key (group_id, gateway_id, version, kek_version, blob, made_at)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        work.group_id,
        box.id,
        key.version,
        wrapped.kek_version,
        wrapped.blob,
        at,
    )


async def _end_claims(work: UnitOfWork, box: Box, at: datetime) -> int:
    """Kill the claim of a gateway that was not used; how many there were (none or one)."""
    return await work.execute(
        "UPDATE enrolment_claim SET ended_at = $3 WHERE group_id = $1 AND gateway_id = $2"
        " AND spent_at IS NULL AND ended_at IS NULL",
        work.group_id,
        box.id,
        at,
    )


async def _record(
    work: UnitOfWork,
    box: Box,
    action: str,
    after: dict[str, int | None],
    *,
    at: datetime,
    before: dict[str, int | None] | None = None,
) -> None:
    await record(
        work,
        actor=_UPLINK,
        action=action,
        subject=str(box.id),
        at=at,
        project_id=box.project_id,
        before=before,
        after=after,
    )
