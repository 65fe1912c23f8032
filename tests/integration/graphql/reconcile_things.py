"""What doors of reconciliation name, in one project: a compared day, an open item, a meter that drifted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

from backend.kernel.clock import business_day
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.money import ZERO
from backend.reconcile import bills, proofs
from backend.reconcile.proof_rules import ProofVerdict
from backend.reconcile.proofs import Proof
from backend.reconcile.rules import Theirs, match
from schema.scalars import ref

from ..world import START, World, make_credential

DAY = business_day(START)


async def make_reconcile_things(world: World, *, prefix: str) -> dict[str, str]:
    """Opaque ids: BillDay (compared, nothing open), BillItem (open, of another day), MeterProof (a drift
    that nobody has ended)."""
    credential_id = await make_credential(world)
    line = Theirs(f"{prefix}2026112200000000", f"t{prefix}", 99, None, 0, START)
    drift = Proof(
        id=proofs.new_id(START),
        project_id=world.project.id,
        meter_id=world.meter.id,
        assignment_id=world.assignment.id,
        day=DAY,
        verdict=ProofVerdict.DRIFT,
        reason="a test",
        proved_at=START,
        read_at=START,
        total=0,
        left=ZERO,
    )
    async with unit_of_work(world.group_id) as work:
        clean = await compared(work, world, credential_id, DAY, [])
        differs = await compared(work, world, credential_id, DAY - timedelta(days=1), [line])
        (item,) = await bills.open_items(work, day_id=differs)
        await proofs.add_proofs(work, proofs=[drift])
    return {
        "BillDay": ref("BillDay", clean),
        "BillItem": ref("BillItem", item.id),
        "MeterProof": ref("MeterProof", drift.id),
    }


async def compared(
    work: UnitOfWork, world: World, credential_id: UUID, on: date, lines: Sequence[Theirs]
) -> UUID:
    """A bill that came with these lines and was compared with an empty book; its day."""
    day_id = await bills.plan_day(
        work, project_id=world.project.id, credential_id=credential_id, day=on, at=START
    )
    assert day_id is not None
    day = await bills.lock_day(work, day_id=day_id)
    assert day is not None
    await bills.store_lines(work, day=day, lines=lines, at=START)
    found = match(on, lines=lines, paid=[], given_back=[])
    await bills.store_matching(work, day=day, matching=found, at=START)
    await bills.mark_matched(work, day_id=day_id, at=START)
    return day_id
