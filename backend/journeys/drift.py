"""A meter whose money drifted from the book, and an operator's way out of it with a note (C11)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.alerts.operations import close_cases
from backend.audit.operations import record
from backend.control.queries import next_vend
from backend.control.rules import VendState
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict, NotFound
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger import operations as ledger
from backend.ledger.rules import AccountKey, AccountKind, LotKind, move
from backend.metering import operations as metering
from backend.metering import queries as meters
from backend.metering.models import MeterAssignment
from backend.metering.takedowns import is_under_way
from backend.reconcile import proofs as rows
from backend.reconcile.proof_rules import ProofVerdict
from backend.reconcile.proofs import Proof
from backend.tenancy.rules import Permission

from .reconcile_desk import checked_note

CASE = "METER_DRIFT"


def told(proof: Proof) -> Mapping[str, str]:
    """A proof in figures, for its case and the audit."""
    figures = {
        "day": proof.day,
        "reason": proof.reason,
        "ledgerPurchaseNo": proof.ledger_count,
        "meterPurchaseNo": proof.meter_count,
        "ledgerRemaining": proof.ledger,
        "meterRemaining": proof.meter,
        "used": proof.used,
        "use": proof.use,
        "useAtLeast": proof.least,
        "useAtMost": proof.most,
    }
    return {name: str(figure) for name, figure in figures.items() if figure is not None}


async def meter_proofs(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    only_drift: bool,
    before: UUID | None,
    limit: int,
) -> list[Proof]:
    """Proofs of a project's meters, newest first (keyset). Raises NotFound."""
    if not scope.may(Permission.RECONCILE_READ, project_id):
        raise NotFound("no such project")
    return await rows.proofs_page(
        work, project_id=project_id, only_drift=only_drift, before=before, limit=limit
    )


async def meter_proof(work: UnitOfWork, *, scope: Scope, proof_id: UUID) -> Proof:
    """One proof. Raises NotFound, the same for foreign and missing (C29)."""
    proof = await rows.proof_by_id(work, proof_id=proof_id)
    if proof is None or not scope.may(Permission.RECONCILE_READ, proof.project_id):
        raise NotFound("no such meter proof")
    return proof


async def resolve_drift(*, scope: Scope, proof_id: UUID, note: str, at: datetime) -> Proof:
    """Let a meter that drifted be sold to again, with a note of what was found and done.

    What use cannot explain goes between the meter's wallet and SUSPENSE, so that book and meter agree from
    the proof's reading on; a wrong count alone moves nothing. The drifts of the meter that came before end
    with the same note. A stopped vend keeps its meter stopped: its own case is the way on from there.
    Raises NotFound, Forbidden, InvalidInput (no note), Conflict (no open drift, or not the newest).
    """
    async with unit_of_work(scope.group_id) as work:
        seen = await meter_proof(work, scope=scope, proof_id=proof_id)
        scope.require(Permission.RECONCILE_WRITE, seen.project_id)
        words = checked_note(note)
        served = await meters.assignment_by_id(work, assignment_id=seen.assignment_id)
        held = await _hold(work, served, at)
        drifts = await rows.lock_drifts(work, meter_id=seen.meter_id)
        if proof_id not in {drift.id for drift in drifts}:
            raise Conflict("this proof found no drift, or a person has ended it")
        newest = drifts.pop()
        if newest.id != proof_id:
            raise Conflict("a later night found it as well: end the newest drift of this meter")
        for older in drifts:
            await rows.resolve(work, proof=older, left=None, by=scope.actor.name, note=words, at=at)
        left = await _put_right(work, newest, served, held, at)
        ended = await rows.resolve(
            work, proof=newest, left=left, by=scope.actor.name, note=words, at=at
        )
        if not await _is_stopped_otherwise(work, seen.meter_id):
            await metering.resume_selling(work, meter_id=seen.meter_id)
        await close_cases(work, kind=CASE, subjects=[str(seen.meter_id)], note=words, at=at)
        await record(
            work,
            actor=scope.actor,
            action="reconcile:proof:resolve",
            subject=str(proof_id),
            at=at,
            project_id=seen.project_id,
            before=told(newest),
            after={"note": words, "left": str(left)},
        )
    return ended


async def _hold(work: UnitOfWork, served: MeterAssignment, at: datetime) -> Money:
    """Take turns on the purse and the meter's wallet; what the book says the meter holds."""
    purse = AccountKey(AccountKind.PURSE, await _purse(work, served))
    wallet = AccountKey(AccountKind.METER_WALLET, served.meter_id)
    ids = await ledger.account_ids(work, project_id=served.project_id, keys=[purse, wallet], at=at)
    await ledger.hold(work, accounts=[ids[purse]])
    found = await ledger.hold(work, accounts=[ids[wallet]])
    return Money(-found[ids[wallet]])


async def _purse(work: UnitOfWork, served: MeterAssignment) -> UUID:
    """The purse that the meter's household pays from."""
    found = await accounts.purses(work, account_ids=[served.account_id])
    return found[served.account_id]


async def _is_stopped_otherwise(work: UnitOfWork, meter_id: UUID) -> bool:
    """Whether selling to a meter rests for another reason: a stopped vend, or it is being taken down."""
    vend = await next_vend(work, meter_id=meter_id)
    if vend is not None and vend.state is VendState.STOPPED:
        return True
    return await is_under_way(work, meter_ids=[meter_id])


async def _put_right(
    work: UnitOfWork, proof: Proof, served: MeterAssignment, held: Money, at: datetime
) -> Money:
    """Move what use does not explain; how much the book is above the meter after that."""
    assert proof.verdict is ProofVerdict.DRIFT
    gap = proof.left or ZERO
    within = (
        proof.use is not None
        and proof.least is not None
        and proof.most is not None
        and proof.least <= proof.use <= proof.most
    )
    if within or not gap or served.ended_at is not None:
        return gap
    if await rows.agreed_after(work, proof=proof):
        return gap  # it went away by itself, and what was used is in the book
    amount = min(gap, held)
    if not amount:
        return gap
    key = f"proof:{proof.id}:difference"
    transfer = move(
        business_key=key,
        kind="DRIFT_SET_APART",
        debit=AccountKey(AccountKind.METER_WALLET, proof.meter_id),
        credit=AccountKey(AccountKind.SUSPENSE, proof.project_id),
        amount=amount,
    )
    await ledger.post(work, project_id=proof.project_id, transfer=transfer, at=at)
    if amount < ZERO:
        # The meter holds more than was ever paid: the household may use it, so it is a lot of theirs.
        await ledger.open_lot(
            work,
            project_id=proof.project_id,
            account_id=await _purse(work, served),
            kind=LotKind.GRANT,
            source=key,
            amount=-amount,
            at=at,
        )
    return gap - amount
