"""Refunds (退费): asked for, agreed to by a second operator, on their way; top-ups of the wrong room."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

import strawberry

from backend.journeys.cash_desk import pay_out
from backend.journeys.correction import Corrected, correct_topup
from backend.journeys.refund import approve_refund, refundable, refuse_refund, request_refund
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.tenancy import project_settings
from backend.tenancy.rules import Permission
from backend.topups import refunds as rows
from backend.topups.refund_rules import RefundState
from backend.topups.refunds import Refund as RefundRow
from backend.topups.rules import Channel

from .context import Info
from .nodes import Node
from .paging import Connection, project_page
from .problems import AnyProblem
from .projects import Project, project_of
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of

strawberry.enum(
    RefundState,
    description="REQUESTED waits for a second operator. APPROVED: out of the purse, not gone yet. SENT:"
    " the channel was asked and may have acted. DONE: the payer has it. FAILED: it is in the purse"
    " again. REFUSED: a second operator said no.",
)


@strawberry.type(description="Money on its way back to who paid it, the way it came.")
class Refund(Node):
    """退费单."""

    key: strawberry.Private[UUID]
    refund_no: str
    order_no: str
    top_up: strawberry.ID | None = strawberry.field(
        description="Null for a payment that fits no order."
    )
    account: strawberry.ID | None
    channel: Channel
    amount: Money
    reason: str
    state: RefundState
    needs_second: bool = strawberry.field(description="Above the project's limit (C30).")
    requester: str
    requested_at: datetime
    approver: str | None
    approved_at: datetime | None
    finished_at: datetime | None
    outcome: str | None = strawberry.field(description="How it ended, or why it waits.")


@strawberry.type(description="What of a top-up can go back now.")
class Refundable:
    """可退金额."""

    most: Money
    elsewhere: Money = strawberry.field(
        description="What remains of it but is not in the purse: at the meter, or used there."
    )
    waiting: Money = strawberry.field(description="Asked for, waiting for a second operator.")


@strawberry.type(description="A top-up that was moved to the right account.")
class CorrectedTopUp:
    """更正."""

    top_up: strawberry.ID
    account: strawberry.ID
    amount: Money


RequestRefundResult = Annotated[Refund | AnyProblem, strawberry.union("RequestRefundResult")]
ApproveRefundResult = Annotated[Refund | AnyProblem, strawberry.union("ApproveRefundResult")]
RefuseRefundResult = Annotated[Refund | AnyProblem, strawberry.union("RefuseRefundResult")]
PayOutRefundResult = Annotated[Refund | AnyProblem, strawberry.union("PayOutRefundResult")]
CorrectTopUpResult = Annotated[CorrectedTopUp | AnyProblem, strawberry.union("CorrectTopUpResult")]
SetRefundLimitResult = Annotated[Project | AnyProblem, strawberry.union("SetRefundLimitResult")]


def refund_of(row: RefundRow) -> Refund:
    """A refund as the schema shows it."""
    source = row.source
    return Refund(
        id=ref("Refund", row.id),
        key=row.id,
        refund_no=row.refund_no,
        order_no=source.order_no,
        top_up=None if source.order_id is None else ref("TopUp", source.order_id),
        account=None if source.account_id is None else ref("Account", source.account_id),
        channel=Channel(source.channel),
        amount=row.amount,
        reason=row.reason,
        state=row.state,
        needs_second=row.four_eyes,
        requester=row.requester,
        requested_at=row.requested_at,
        approver=row.approver,
        approved_at=row.approved_at,
        finished_at=row.finished_at,
        outcome=row.outcome,
    )


async def load_refund(work: UnitOfWork, info: Info, id_: UUID) -> Refund:
    """One refund for an operator. Raises NotFound (C29)."""
    return refund_of(await rows.refund(work, scope=info.context.caller(), refund_id=id_))


def _corrected(made: Corrected) -> CorrectedTopUp:
    return CorrectedTopUp(
        top_up=ref("TopUp", made.order.id),
        account=ref("Account", made.account_id),
        amount=made.amount,
    )


@strawberry.type
class RefundQueries:
    """Reads."""

    @field(description="Refunds of a project, newest first.")
    async def refunds(
        self,
        info: Info,
        project: strawberry.ID,
        only_open: bool = True,
        first: int = 50,
        after: str | None = None,
    ) -> Connection[Refund]:
        """A page. Raises NotFound, InvalidInput."""
        found = partial(rows.refunds_page, only_open=only_open)
        return await project_page(info, project, first, after, rows=found, node=refund_of)

    @field(description="What of a top-up can go back now.")
    async def refundable(self, info: Info, top_up: strawberry.ID) -> Refundable:
        """By the top-up. Raises NotFound."""
        order_id, scope = uuid_of(top_up, "TopUp"), info.context.caller()
        async with info.context.work() as work:
            found = await refundable(work, scope=scope, order_id=order_id)
        return Refundable(
            most=Money.of_fen(found.fen),
            elsewhere=found.elsewhere,
            waiting=Money.of_fen(found.asked_for_fen),
        )


@strawberry.type
class RefundMutations:
    """Writes."""

    @mutation(Permission.REFUND_REQUEST)
    async def request_refund(
        self,
        info: Info,
        top_up: strawberry.ID,
        amount: Money,
        reason: str,
        idempotency_key: str,
    ) -> RequestRefundResult:
        """Ask for a refund; within the project's limit nobody else need agree."""
        context = info.context
        row = await request_refund(
            scope=context.caller(),
            order_id=uuid_of(top_up, "TopUp"),
            amount=amount,
            reason=reason,
            idempotency_key=idempotency_key,
            models=context.ports.meter_models,
            at=context.now,
        )
        return refund_of(row)

    @mutation(Permission.REFUND_APPROVE)
    async def approve_refund(self, info: Info, refund: strawberry.ID) -> ApproveRefundResult:
        """Agree to what another operator asked for."""
        scope, at = info.context.caller(), info.context.now
        return refund_of(
            await approve_refund(scope=scope, refund_id=uuid_of(refund, "Refund"), at=at)
        )

    @mutation(Permission.REFUND_APPROVE)
    async def refuse_refund(
        self, info: Info, refund: strawberry.ID, note: str
    ) -> RefuseRefundResult:
        """Say no, or take back what nobody fetched at the desk."""
        scope, at = info.context.caller(), info.context.now
        refund_id = uuid_of(refund, "Refund")
        return refund_of(await refuse_refund(scope=scope, refund_id=refund_id, note=note, at=at))

    @mutation(Permission.CASH_TAKE)
    async def pay_out_refund(
        self, info: Info, refund: strawberry.ID, slip_no: str | None = None
    ) -> PayOutRefundResult:
        """Give a refund back at the desk of the caller's open shift."""
        scope, at = info.context.caller(), info.context.now
        refund_id = uuid_of(refund, "Refund")
        return refund_of(await pay_out(scope=scope, refund_id=refund_id, slip_no=slip_no, at=at))

    @mutation(Permission.REFUND_APPROVE)
    async def correct_top_up(
        self, info: Info, top_up: strawberry.ID, account: strawberry.ID, reason: str
    ) -> CorrectTopUpResult:
        """Move what is left of a top-up of the wrong room to the right account."""
        made = await correct_topup(
            scope=info.context.caller(),
            order_id=uuid_of(top_up, "TopUp"),
            account_id=uuid_of(account, "Account"),
            reason=reason,
            models=info.context.ports.meter_models,
            at=info.context.now,
        )
        return _corrected(made)

    @mutation(Permission.PROJECT_WRITE)
    async def set_refund_limit(
        self, info: Info, project: strawberry.ID, alone: Money
    ) -> SetRefundLimitResult:
        """Up to how much of one top-up an operator refunds without a second one."""
        project_id = uuid_of(project, "Project")
        scope, at = info.context.caller(), info.context.now
        async with info.context.work() as work:
            row = await project_settings.set_refund_limit(
                work, scope=scope, project_id=project_id, alone=alone, at=at
            )
        return project_of(row)
