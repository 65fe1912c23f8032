"""Refunds as rows: asked for, agreed to, asked at the channel, ended; and how they are read (C4, C30).

The order's row is locked by whoever asks or agrees, the refund's by whoever goes on with it; an ended
refund stays as it ended (the database holds that too).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.kernel.db import Row, UnitOfWork
from backend.kernel.errors import Conflict, NotFound
from backend.kernel.ids import order_no, uuid7
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.tenancy.rules import Permission

from .refund_rules import RefundState


@dataclass(frozen=True, slots=True)
class Source:
    """Where a refund's money comes from and by what it goes back. `order_id`, `account_id` and
    `lot_source` are None for a payment that fits no order of ours; `total_fen`: what was paid."""

    project_id: UUID
    order_id: UUID | None
    account_id: UUID | None
    lot_source: str | None
    order_no: str
    total_fen: int
    channel: str
    credential_id: UUID | None


@dataclass(frozen=True, slots=True)
class Refund:
    """退费单. `four_eyes`: a second operator must agree. `outcome`: how it ended, or why it waits."""

    id: UUID
    refund_no: str
    source: Source
    amount: Money
    reason: str
    four_eyes: bool
    state: RefundState
    requested_by: str
    requester: str
    requested_at: datetime
    approver: str | None
    approved_at: datetime | None
    asked: int
    sent_at: datetime | None
    finished_at: datetime | None
    outcome: str | None
    shift_id: UUID | None

    @property
    def project_id(self) -> UUID:
        """The project whose money it is."""
        return self.source.project_id

    @property
    def at_counter(self) -> bool:
        """Whether it is paid out at a desk: money goes back the way it came (C4)."""
        return self.source.credential_id is None


def refund_of(row: Row) -> Refund:
    """A refund from its table row."""
    return Refund(
        id=row["id"],
        refund_no=row["refund_no"],
        source=Source(
            project_id=row["project_id"],
            order_id=row["order_id"],
            account_id=row["account_id"],
            lot_source=row["lot_source"],
            order_no=row["order_no"],
            total_fen=row["total_fen"],
            channel=row["channel"],
            credential_id=row["credential_id"],
        ),
        amount=Money.of_fen(row["amount_fen"]),
        reason=row["reason"],
        four_eyes=row["four_eyes"],
        state=RefundState(row["state"]),
        requested_by=row["requested_by"],
        requester=row["requester"],
        requested_at=row["requested_at"],
        approver=row["approver"],
        approved_at=row["approved_at"],
        asked=row["asked"],
        sent_at=row["sent_at"],
        finished_at=row["finished_at"],
        outcome=row["outcome"],
        shift_id=row["shift_id"],
    )


async def refund_of_key(
    work: UnitOfWork, *, project_id: UUID, idempotency_key: str
) -> Refund | None:
    """The refund that was asked for with this key, or None."""
    row = await work.fetchrow(
        "SELECT * FROM topups_refund"
        " WHERE group_id = $1 AND project_id = $2 AND idempotency_key = $3",
        work.group_id,
        project_id,
        idempotency_key,
    )
    return None if row is None else refund_of(row)


async def add_refund(
    work: UnitOfWork,
    *,
    source: Source,
    amount_fen: int,
    reason: str,
    four_eyes: bool,
    idempotency_key: str,
    actor: Actor,
    at: datetime,
) -> Refund:
    """Write down a request; `actor` asks. Raises Conflict (the key is in use by another project row
    committed meanwhile)."""
    row = await work.fetchrow(
        "INSERT INTO topups_refund (group_id, id, refund_no, project_id, order_id, account_id,"
        " lot_source, order_no, total_fen, channel, credential_id, amount_fen, reason,"
        " idempotency_key, four_eyes, state, requested_by, requester, requested_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'REQUESTED',"
        " $16, $17, $18) ON CONFLICT (group_id, project_id, idempotency_key) DO NOTHING RETURNING *",
        work.group_id,
        uuid7(at),
        order_no(at),
        source.project_id,
        source.order_id,
        source.account_id,
        source.lot_source,
        source.order_no,
        source.total_fen,
        source.channel,
        source.credential_id,
        amount_fen,
        reason,
        idempotency_key,
        four_eyes,
        actor.id,
        actor.name,
        at,
    )
    if row is None:
        raise Conflict("this idempotency key was used for a different refund")
    return refund_of(row)


async def lock_refund(work: UnitOfWork, *, refund_id: UUID) -> Refund | None:
    """The refund with its row locked until commit."""
    row = await work.fetchrow(
        "SELECT * FROM topups_refund WHERE group_id = $1 AND id = $2 FOR UPDATE",
        work.group_id,
        refund_id,
    )
    return None if row is None else refund_of(row)


# Each changes a refund whose row the caller has locked.
_APPROVED = (
    "UPDATE topups_refund SET state = 'APPROVED', approved_by = $3, approver = $4, approved_at = $5"
    " WHERE group_id = $1 AND id = $2 RETURNING *"
)
_ASKING = (
    "UPDATE topups_refund SET state = 'SENT', asked = asked + 1, sent_at = coalesce(sent_at, $3)"
    " WHERE group_id = $1 AND id = $2 RETURNING *"
)
_WAITING = "UPDATE topups_refund SET outcome = $3 WHERE group_id = $1 AND id = $2 RETURNING *"
_FINISHED = (
    "UPDATE topups_refund SET state = $3, outcome = $4, finished_at = $5"
    " WHERE group_id = $1 AND id = $2 RETURNING *"
)
_PAID_OUT = (
    "UPDATE topups_refund SET state = 'DONE', shift_id = $3, slip_no = $4, finished_at = $5,"
    " outcome = 'paid out' WHERE group_id = $1 AND id = $2 RETURNING *"
)


async def mark_approved(work: UnitOfWork, *, refund_id: UUID, actor: Actor, at: datetime) -> Refund:
    """`actor` agreed. Only from REQUESTED; the lock is held."""
    row = await work.fetchrow(_APPROVED, work.group_id, refund_id, actor.id, actor.name, at)
    return _changed(row)


async def mark_asking(work: UnitOfWork, *, refund_id: UUID, at: datetime) -> Refund:
    """The channel is asked from now on. Committed before the call leaves, so that after a crash nobody
    believes that it was not asked."""
    return _changed(await work.fetchrow(_ASKING, work.group_id, refund_id, at))


async def mark_waiting(work: UnitOfWork, *, refund_id: UUID, why: str) -> Refund:
    """Keep why it is not finished yet."""
    return _changed(await work.fetchrow(_WAITING, work.group_id, refund_id, why[:500]))


async def mark_finished(
    work: UnitOfWork, *, refund_id: UUID, state: RefundState, outcome: str, at: datetime
) -> Refund:
    """DONE, FAILED or REFUSED, for good."""
    row = await work.fetchrow(_FINISHED, work.group_id, refund_id, str(state), outcome[:500], at)
    return _changed(row)


async def mark_paid_out(
    work: UnitOfWork, *, refund_id: UUID, shift_id: UUID, slip_no: str | None, at: datetime
) -> Refund:
    """Paid out at a desk, in this shift."""
    row = await work.fetchrow(_PAID_OUT, work.group_id, refund_id, shift_id, slip_no, at)
    return _changed(row)


def _changed(row: Row | None) -> Refund:
    assert row is not None, "its row is locked"
    return refund_of(row)


@dataclass(frozen=True, slots=True)
class Asked:
    """Refunds of one order in fen: those of one lot that wait for a second operator, and all that were not
    refused and did not fail."""

    waiting_fen: int
    all_fen: int


async def asked_of_order(work: UnitOfWork, *, order_no: str, lot_source: str | None) -> Asked:
    """What was asked for of an order until now, and of that one of its lots (None: a payment that fits no
    order); the order's lock is held."""
    row = await work.fetchrow(
        "SELECT coalesce(sum(amount_fen) FILTER (WHERE state = 'REQUESTED'"
        "  AND lot_source IS NOT DISTINCT FROM $3), 0)::bigint AS waiting,"
        " coalesce(sum(amount_fen), 0)::bigint AS all_of_it FROM topups_refund"
        " WHERE group_id = $1 AND order_no = $2 AND state NOT IN ('FAILED', 'REFUSED')",
        work.group_id,
        order_no,
        lot_source,
    )
    assert row is not None
    return Asked(row["waiting"], row["all_of_it"])


async def alone_fen(work: UnitOfWork, *, project_id: UUID) -> int:
    """Up to how many fen of an order one operator of the project refunds alone."""
    limit: int = await work.fetchval(
        "SELECT refund_alone_fen FROM tenancy_project WHERE group_id = $1 AND id = $2",
        work.group_id,
        project_id,
    )
    return limit


async def refund(work: UnitOfWork, *, scope: Scope, refund_id: UUID) -> Refund:
    """One refund for an operator. Raises NotFound, the same for foreign and missing (C29)."""
    row = await work.fetchrow(
        "SELECT * FROM topups_refund WHERE group_id = $1 AND id = $2", work.group_id, refund_id
    )
    if row is None or not scope.may(Permission.TOPUP_READ, row["project_id"]):
        raise NotFound("no such refund")
    return refund_of(row)


async def refund_of_number(work: UnitOfWork, *, refund_no: str) -> Refund | None:
    """The refund that the channel knows by this number, or None."""
    row = await work.fetchrow(
        "SELECT * FROM topups_refund WHERE group_id = $1 AND refund_no = $2",
        work.group_id,
        refund_no,
    )
    return None if row is None else refund_of(row)


async def refunds_page(
    work: UnitOfWork,
    *,
    scope: Scope,
    project_id: UUID,
    only_open: bool,
    before: UUID | None,
    limit: int,
) -> list[Refund]:
    """Refunds of a project, newest first, those older than `before` (keyset). Raises NotFound."""
    if not scope.may(Permission.TOPUP_READ, project_id):
        raise NotFound("no such project")
    rows = await work.fetch(
        "SELECT * FROM topups_refund WHERE group_id = $1 AND project_id = $2"
        " AND ($3::bool IS FALSE OR finished_at IS NULL) AND ($4::uuid IS NULL OR id < $4)"
        " ORDER BY id DESC LIMIT $5",
        work.group_id,
        project_id,
        only_open,
        before,
        limit,
    )
    return [refund_of(row) for row in rows]


async def refunded_of_order(work: UnitOfWork, *, order_id: UUID) -> Money:
    """What of an order is back with the payer."""
    fen: int = await work.fetchval(
        "SELECT coalesce(sum(amount_fen), 0)::bigint FROM topups_refund"
        " WHERE group_id = $1 AND order_id = $2 AND state = 'DONE'",
        work.group_id,
        order_id,
    )
    return Money.of_fen(fen)


async def refunds_on_their_way(work: UnitOfWork) -> list[Refund]:
    """Refunds that are agreed to and have not ended: the janitor's list."""
    rows = await work.fetch(
        "SELECT * FROM topups_refund WHERE group_id = $1 AND state IN ('APPROVED', 'SENT')",
        work.group_id,
    )
    return [refund_of(row) for row in rows]
