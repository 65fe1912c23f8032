"""What a person does about charges: rule on a reading that went back, rate anew (C14, C18)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.accounts import queries as accounts
from backend.audit.operations import record
from backend.charges import operations, queries
from backend.charges.rules import Hold, Ruling, Supply
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.scope import Scope
from backend.metering import cloud
from backend.metering import queries as metering
from backend.tenancy.rules import Permission

from .charge_again import rate_again
from .charge_batch import gather, write


async def rule_on_hold(
    *, scope: Scope, meter_id: UUID, ruling: Ruling, note: str, at: datetime
) -> int:
    """Say what of the reading that put a billing hold on a meter, and go on charging; how many charges
    that made.

    IGNORE: the reading was wrong. REBASE: use counts anew from it. COUNT: it gained so much indeed. Raises
    NotFound, Forbidden, InvalidInput (no note, or to count what went back), Conflict (no such hold).
    """
    if len(note.strip()) < 4:
        raise InvalidInput("say why, in four characters or more", field="note")
    async with unit_of_work(scope.group_id) as work:
        meter = await metering.meter(work, scope=scope, meter_id=meter_id)
        scope.require(Permission.CHARGE_WRITE, meter.project_id)
        held = await queries.held_position(work, meter_id=meter_id)
        if held is None:
            raise Conflict("no billing hold waits for a ruling here")
        served = await cloud.cloud_assignments(work, meter_ids=[meter_id])
        batch = await gather(work, [each for each in served if each.id == held.assignment_id], at)
        position = batch.positions[held.assignment_id]
        if position.hold is None or not position.hold.waits or position.held_at is None:
            raise Conflict("no billing hold waits for a ruling here")
        if ruling is Ruling.COUNT and position.hold is not Hold.TOO_FAST:
            raise InvalidInput("a register that went back has no use to count", field="ruling")
        await operations.rule(
            work,
            position=position,
            ruling=ruling,
            reading_at=position.held_at,
            by=scope.actor.id,
            note=note.strip(),
            at=at,
        )
        await record(
            work,
            actor=scope.actor,
            action="charge:hold:rule",
            subject=str(meter_id),
            at=at,
            project_id=position.project_id,
            after={"ruling": str(ruling), "reading": position.held_at.isoformat(), "note": note},
        )
        await rate_again(work, batch, position.supply, min(position.held_at, position.last.at))
        return await write(work, batch)


async def re_rate(
    *, scope: Scope, account_id: UUID, kind: str, first: datetime, at: datetime
) -> int:
    """Rate what an account used of a kind anew from the month of `first` on, and post the difference
    only; how many months differed. Raises NotFound, Forbidden, Conflict (nothing is charged there)."""
    async with unit_of_work(scope.group_id) as work:
        account = await accounts.account(work, scope=scope, account_id=account_id)
        scope.require(Permission.CHARGE_WRITE, account.project_id)
        served = await cloud.cloud_assignments(work, account_ids=[account_id])
        own = [each for each in served if str(each.kind) == kind]
        if not own:
            raise Conflict("no meter of that kind is charged in the cloud for this account")
        batch = await gather(work, own, at)
        await rate_again(work, batch, Supply(account_id, kind), first)
        made = await write(work, batch)
        await record(
            work,
            actor=scope.actor,
            action="charge:supply:re_rate",
            subject=str(account_id),
            at=at,
            project_id=account.project_id,
            after={"kind": kind, "from": first.isoformat(), "charges": made},
        )
    return made
