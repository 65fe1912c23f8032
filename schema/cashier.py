"""The cash desk (收费台): shifts, top-ups by cash or card slip, receipts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.journeys import cash_desk, cashier
from backend.journeys.cash_desk import ShiftStatement
from backend.journeys.views import topup_views
from backend.kernel.db import UnitOfWork
from backend.kernel.money import Money
from backend.tenancy.rules import Permission
from backend.topups import shifts as rows
from backend.topups.queries import Order
from backend.topups.receipts import Receipt as ReceiptModel
from backend.topups.receipts import ticket
from backend.topups.rules import Channel
from backend.topups.shifts import Shift as ShiftRow

from .context import Info
from .nodes import Node
from .paging import Connection, page_by_key, size, uuid_key
from .problems import AnyProblem
from .resolvers import field
from .rights import mutation
from .scalars import ref, uuid_of
from .topups import TopUp, topup_of


@strawberry.type(description="A line of a shift's statement.")
class ShiftLine:
    """收付."""

    channel: Channel
    paid_out: bool = strawberry.field(description="Refunds paid out; false: top-ups taken.")
    count: int
    amount: Money


@strawberry.type(description="An operator at a cash desk, from opening to the count.")
class Shift(Node):
    """班次."""

    key: strawberry.Private[UUID]
    project: strawberry.ID
    desk: str
    operator: str
    opened_at: datetime
    change: Money = strawberry.field(description="Cash in the drawer at the opening.")
    taken_from: strawberry.ID | None = strawberry.field(
        description="The shift that handed the drawer over."
    )
    lines: list[ShiftLine]
    in_drawer: Money = strawberry.field(description="What the drawer must hold now by the book.")
    closed_at: datetime | None
    closed_by: str | None
    book: Money | None = strawberry.field(description="What the drawer had to hold at the count.")
    counted: Money | None
    difference: Money | None = strawberry.field(description="Too much is positive.")
    note: str | None


@strawberry.type(description="A part of what was paid that paid something off first.")
class ReceiptLine:
    """补缴."""

    name: str
    amount: Money


@strawberry.type(description="The receipt of a top-up: its lines add up to what was paid.")
class Receipt:
    """收据."""

    order_no: str
    account_no: str
    account_name: str
    paid_at: datetime
    paid: Money
    recovered: list[ReceiptLine]
    credited: Money
    refunded: Money
    copy: int = strawberry.field(description="1 is the original.")
    ticket: str = strawberry.field(description="The lines of the ticket, 48 columns wide.")


OpenShiftResult = Annotated[Shift | AnyProblem, strawberry.union("OpenShiftResult")]
CloseShiftResult = Annotated[Shift | AnyProblem, strawberry.union("CloseShiftResult")]
HandOverShiftResult = Annotated[Shift | AnyProblem, strawberry.union("HandOverShiftResult")]
CashierTopUpResult = Annotated[TopUp | AnyProblem, strawberry.union("CashierTopUpResult")]
PrintReceiptResult = Annotated[Receipt | AnyProblem, strawberry.union("PrintReceiptResult")]


def shift_of(statement: ShiftStatement) -> Shift:
    """A shift as the schema shows it."""
    row, count = statement.shift, statement.shift.count
    return Shift(
        id=ref("Shift", row.id),
        key=row.id,
        project=ref("Project", row.project_id),
        desk=row.desk,
        operator=row.operator_name,
        opened_at=row.opened_at,
        change=row.float_,
        taken_from=None if row.taken_from is None else ref("Shift", row.taken_from),
        lines=[
            ShiftLine(
                channel=Channel(line.channel),
                paid_out=line.paid_out,
                count=line.count,
                amount=line.amount,
            )
            for line in statement.taken
        ],
        in_drawer=statement.in_drawer,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
        book=None if count is None else count.book,
        counted=None if count is None else count.counted,
        difference=None if count is None else count.difference,
        note=row.note,
    )


async def load_shift(work: UnitOfWork, info: Info, id_: UUID) -> Shift:
    """One shift for an operator. Raises NotFound (C29)."""
    row = await rows.shift(work, scope=info.context.caller(), shift_id=id_)
    return shift_of((await cash_desk.statements(work, shifts=[row]))[0])


async def _shown(info: Info, row: ShiftRow) -> Shift:
    async with info.context.work() as work:
        return shift_of((await cash_desk.statements(work, shifts=[row]))[0])


async def _topup(info: Info, order: Order) -> TopUp:
    async with info.context.work() as work:
        return topup_of((await topup_views(work, orders=[order]))[0])


def _receipt_of(made: ReceiptModel) -> Receipt:
    return Receipt(
        order_no=made.order_no,
        account_no=made.account_no,
        account_name=made.account_name,
        paid_at=made.paid_at,
        paid=made.paid,
        recovered=[ReceiptLine(name=line.name, amount=line.amount) for line in made.recovered],
        credited=made.credited,
        refunded=made.refunded,
        copy=made.copy,
        ticket=ticket(made),
    )


@strawberry.type
class CashierQueries:
    """Reads."""

    @field(description="Shifts of a project, newest first, with their statements.")
    async def shifts(
        self, info: Info, project: strawberry.ID, first: int = 50, after: str | None = None
    ) -> Connection[Shift]:
        """A page. Raises NotFound, InvalidInput."""
        project_id, before = uuid_of(project, "Project"), uuid_key(after)
        scope, limit = info.context.caller(), size(first) + 1
        async with info.context.work() as work:
            found = await rows.shifts_page(
                work, scope=scope, project_id=project_id, before=before, limit=limit
            )
            made = await cash_desk.statements(work, shifts=found)
        return page_by_key(made, first, node=shift_of)

    @field(description="The receipt of a paid top-up as it would be printed next.")
    async def receipt(self, info: Info, top_up: strawberry.ID) -> Receipt:
        """By the top-up. Raises NotFound, Conflict (unpaid)."""
        order_id, scope = uuid_of(top_up, "TopUp"), info.context.caller()
        async with info.context.work() as work:
            return _receipt_of(await cashier.receipt(work, scope=scope, order_id=order_id))


@strawberry.type
class CashierMutations:
    """Writes."""

    @mutation(Permission.CASH_TAKE)
    async def open_shift(
        self, info: Info, project: strawberry.ID, desk: str, change: Money
    ) -> OpenShiftResult:
        """Begin to take money at a desk, with change in the drawer."""
        row = await cash_desk.open_shift(
            scope=info.context.caller(),
            project_id=uuid_of(project, "Project"),
            desk=desk,
            change=change,
            at=info.context.now,
        )
        return await _shown(info, row)

    @mutation(Permission.SHIFT_CLOSE)
    async def close_shift(
        self, info: Info, shift: strawberry.ID, counted: Money, note: str = ""
    ) -> CloseShiftResult:
        """Count the drawer; a difference is booked and becomes a case."""
        row = await cash_desk.close_shift(
            scope=info.context.caller(),
            shift_id=uuid_of(shift, "Shift"),
            counted=counted,
            note=note,
            at=info.context.now,
        )
        return await _shown(info, row)

    @mutation(Permission.SHIFT_CLOSE)
    async def hand_over_shift(
        self,
        info: Info,
        shift: strawberry.ID,
        counted: Money,
        to: strawberry.ID,
        note: str = "",
    ) -> HandOverShiftResult:
        """Count the drawer and give it to the next operator; gives the new shift."""
        row = await cash_desk.hand_over(
            scope=info.context.caller(),
            shift_id=uuid_of(shift, "Shift"),
            counted=counted,
            to=uuid_of(to, "Operator"),
            note=note,
            at=info.context.now,
        )
        return await _shown(info, row)

    @mutation(Permission.CASH_TAKE)
    async def cashier_top_up(
        self,
        info: Info,
        account: strawberry.ID,
        amount: Money,
        channel: Channel,
        idempotency_key: str,
        slip_no: str | None = None,
        meter: strawberry.ID | None = None,
    ) -> CashierTopUpResult:
        """Money taken at the desk of the caller's open shift: CASH, or CARD with its slip."""
        order = await cashier.take_money(
            scope=info.context.caller(),
            account_id=uuid_of(account, "Account"),
            amount=amount,
            channel=channel,
            slip_no=slip_no,
            idempotency_key=idempotency_key,
            meter_id=None if meter is None else uuid_of(meter, "Meter"),
            at=info.context.now,
        )
        return await _topup(info, order)

    @mutation(Permission.CASH_TAKE)
    async def print_receipt(self, info: Info, top_up: strawberry.ID) -> PrintReceiptResult:
        """Count a print: every copy after the first says that it is one."""
        scope, at = info.context.caller(), info.context.now
        order_id = uuid_of(top_up, "TopUp")
        return _receipt_of(await cashier.print_receipt(scope=scope, order_id=order_id, at=at))
