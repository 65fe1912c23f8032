"""Taking meters down (拆表): replaced by another, its money moved in, figures typed by two (A17)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from backend.journeys import takedown as journey
from backend.journeys import takedown_steps as steps
from backend.journeys.takedown import Ask
from backend.kernel.db import UnitOfWork
from backend.kernel.errors import InvalidInput
from backend.kernel.money import Money
from backend.metering import takedowns as rows
from backend.metering.takedown_rules import FinalBy, FinalWord, Purpose, TakedownState
from backend.metering.takedowns import Takedown as TakedownRow
from backend.tenancy.rules import Permission

from .context import Info
from .nodes import Node
from .problems import AnyProblem
from .rights import mutation
from .scalars import DecimalText, ref, thousandths, uuid_of

strawberry.enum(
    Purpose,
    name="TakedownPurpose",
    description="REPLACE: another meter takes its place. MOVE: the household goes to another room."
    " CLOSE: the account ends.",
)
strawberry.enum(
    TakedownState,
    description="WAITING for the meter's last word. TYPED: a second operator must agree. KNOWN: the"
    " next meter is waited for. DONE. CANCELLED.",
)
strawberry.enum(FinalBy, description="READ from the meter, or TYPED by an operator.")


@strawberry.type(description="How the service of a meter ends.")
class Takedown(Node):
    """拆表单."""

    key: strawberry.Private[UUID]
    account: strawberry.ID
    meter: strawberry.ID
    purpose: Purpose
    state: TakedownState
    reason: str
    requested_by: str
    started_at: datetime
    to_meter: strawberry.ID | None = strawberry.field(description="The meter that takes over.")
    final_by: FinalBy | None
    final_total: DecimalText | None
    final_remaining: Money | None
    final_purchase_no: int | None
    note: str | None
    moved: Money = strawberry.field(description="What went to the next meter, or to the purse.")
    used: Money = strawberry.field(description="What was used of its money.")
    owed: Money = strawberry.field(description="What was used beyond its money: in arrears now.")
    finished_at: datetime | None
    outcome: str | None = strawberry.field(description="How it ended, or why it waits.")


TakedownResult = Annotated[Takedown | AnyProblem, strawberry.union("TakedownResult")]


def takedown_of(row: TakedownRow) -> Takedown:
    """A takedown as the schema shows it."""
    final = row.final
    return Takedown(
        id=ref("Takedown", row.id),
        key=row.id,
        account=ref("Account", row.account_id),
        meter=ref("Meter", row.meter_id),
        purpose=row.purpose,
        state=row.state,
        reason=row.reason,
        requested_by=row.requested_by,
        started_at=row.started_at,
        to_meter=None if row.to_meter_id is None else ref("Meter", row.to_meter_id),
        final_by=row.final_by,
        final_total=None if final is None else thousandths(final.total),
        final_remaining=None if final is None else final.remaining,
        final_purchase_no=None if final is None else final.purchase_no,
        note=row.note,
        moved=row.moved,
        used=row.used,
        owed=row.owed,
        finished_at=row.finished_at,
        outcome=row.outcome,
    )


async def load_takedown(work: UnitOfWork, info: Info, takedown_id: UUID) -> Takedown:
    """One takedown by the operator's door. Raises NotFound."""
    scope = info.context.caller()
    return takedown_of(await rows.takedown(work, scope=scope, takedown_id=takedown_id))


def ask_of(info: Info, reason: str, idempotency_key: str) -> Ask:
    """Who asks for a takedown, and why. Raises Unauthenticated."""
    context = info.context
    return Ask(
        context.caller().actor,
        reason,
        idempotency_key,
        context.ports.meter_models,
        context.now,
    )


def base_units(total: str) -> int:
    """A register in kWh or m³ with at most three decimals, as Wh or litres. Raises InvalidInput."""
    whole, _, rest = total.partition(".")
    if not whole.isdecimal() or len(whole) > 12 or not (rest + "0").isdecimal() or len(rest) > 3:
        raise InvalidInput("a register has at most three decimals", field="total")
    return int(whole) * 1000 + int(rest.ljust(3, "0"))


@strawberry.type
class TakedownMutations:
    """Writes."""

    @mutation(Permission.METER_REPLACE)
    async def replace_meter(
        self,
        info: Info,
        meter: strawberry.ID,
        reason: str,
        idempotency_key: str,
        to: strawberry.ID | None = None,
    ) -> TakedownResult:
        """Replace a meter: its last word is read, its money moves into `to`, named now or later."""
        row = await journey.replace_meter(
            scope=info.context.caller(),
            meter_id=uuid_of(meter, "Meter"),
            to_meter_id=None if to is None else uuid_of(to, "Meter"),
            ask=ask_of(info, reason, idempotency_key),
        )
        return takedown_of(row)

    @mutation(Permission.METER_REPLACE)
    async def name_next_meter(
        self, info: Info, takedown: strawberry.ID, to: strawberry.ID
    ) -> TakedownResult:
        """Say which meter takes over."""
        row = await journey.name_next_meter(
            scope=info.context.caller(),
            takedown_id=uuid_of(takedown, "Takedown"),
            to_meter_id=uuid_of(to, "Meter"),
            at=info.context.now,
        )
        return takedown_of(row)

    @mutation(Permission.METER_REPLACE, long=frozenset({"note"}))
    async def type_last_word(
        self,
        info: Info,
        takedown: strawberry.ID,
        total: DecimalText,
        note: str,
        remaining: Money | None = None,
        purchase_no: int | None = None,
    ) -> TakedownResult:
        """Type what a dead meter held. Above the project's limit a second operator must agree."""
        scope, at = info.context.caller(), info.context.now
        word = FinalWord(at, base_units(total), remaining, purchase_no)
        key = uuid_of(takedown, "Takedown")
        row = await steps.type_final(scope=scope, takedown_id=key, word=word, note=note, at=at)
        return takedown_of(row)

    @mutation(Permission.REPLACEMENT_APPROVE)
    async def decide_typed(
        self, info: Info, takedown: strawberry.ID, agrees: bool, note: str = ""
    ) -> TakedownResult:
        """Agree to typed figures as a second operator, or have them typed anew."""
        row = await steps.agree_typed(
            scope=info.context.caller(),
            takedown_id=uuid_of(takedown, "Takedown"),
            agrees=agrees,
            note=note,
            at=info.context.now,
        )
        return takedown_of(row)

    @mutation(Permission.METER_REPLACE)
    async def cancel_takedown(
        self, info: Info, takedown: strawberry.ID, note: str
    ) -> TakedownResult:
        """The meter serves on, and gets what was under way to it."""
        row = await journey.cancel_takedown(
            scope=info.context.caller(),
            takedown_id=uuid_of(takedown, "Takedown"),
            note=note,
            models=info.context.ports.meter_models,
            at=info.context.now,
        )
        return takedown_of(row)
