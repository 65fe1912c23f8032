"""Commands (指令): what an operator tells one meter to do, and what became of it (A20, C19, C22)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from backend.control.command_rules import CommandKind, CommandState, Given
from backend.control.commands import Command as CommandRow
from backend.journeys.command import command_meter
from backend.kernel.money import Money
from backend.tenancy.rules import Permission

from .context import Info
from .meter_calendars import MeterCalendarInput, calendar_given
from .nodes import Node
from .problems import AnyProblem
from .relay import Relay, relay_of
from .rights import mutation
from .scalars import ref, uuid_of
from .tariff_terms import BandPriceInput

strawberry.enum(
    CommandKind,
    description="TRIP forces the relay open and KEEP_POWER closed, whatever the money says; RELEASE"
    " gives it back to the meter's money; CLOSE closes it now; ALLOW_CLOSE lets the meter's key"
    " close it. PRICES are those of the rate bands, CALENDAR says when which band holds, and is told whole."
    " What is over the relay is a policy: the cloud sees to it when the relay moves later.",
)
strawberry.enum(
    CommandState,
    description="QUEUED: nothing was written. SENT: a write may have reached the meter. VERIFIED: the"
    " meter's read-back shows it. FAILED: refused, or the read-back shows something else."
    " EXPIRED: its time ended first. SUPERSEDED: a newer one came.",
)


@strawberry.type(description="An operator's order to one meter.")
class Command(Node):
    """指令."""

    kind: CommandKind
    state: CommandState
    reason: str
    requested_by: str
    issued_at: datetime
    expires_at: datetime = strawberry.field(description="Nothing is written after it.")
    finished_at: datetime | None
    relay_before: Relay | None = strawberry.field(description="Null when it was not told.")
    relay_after: Relay | None = strawberry.field(description="Null when it was not told.")
    outcome: str | None = strawberry.field(description="How it ended, or why it waits.")


@strawberry.input(description="What a meter warns and trips at; what is not given stays as it is.")
class ThresholdsInput:
    """报警与透支."""

    alarm1: Money | None = None
    alarm2: Money | None = None
    overdraft: Money | None = None
    overload_w: int | None = None


CommandMeterResult = Annotated[Command | AnyProblem, strawberry.union("CommandMeterResult")]


def command_of(row: CommandRow) -> Command:
    """A command as the schema shows it."""
    before, after = row.relay_before, row.relay_after
    return Command(
        id=ref("Command", row.id),
        kind=row.kind,
        state=row.state,
        reason=row.reason,
        requested_by=row.requested_by,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        finished_at=row.finished_at,
        relay_before=None if before is None else relay_of(before),
        relay_after=None if after is None else relay_of(after),
        outcome=row.outcome,
    )


def thresholds_by_name(given: ThresholdsInput | None) -> dict[str, int]:
    """Those that are given: money in hao, overload_w in W."""
    if given is None:
        return {}
    money = {"alarm1": given.alarm1, "alarm2": given.alarm2, "overdraft": given.overdraft}
    found = {name: amount.hao for name, amount in money.items() if amount is not None}
    return found if given.overload_w is None else found | {"overload_w": given.overload_w}


def given_of(
    prices: list[BandPriceInput] | None,
    thresholds: ThresholdsInput | None,
    calendar: MeterCalendarInput | None,
) -> Given:
    """What a caller says with an order. Raises InvalidInput for a text that is no time."""
    bands = [(each.band, each.price) for each in prices or ()]
    return Given(bands, thresholds_by_name(thresholds), calendar_given(calendar))


@strawberry.type
class CommandMutations:
    """Writes."""

    @mutation(Permission.METER_CONTROL)
    async def command_meter(
        self,
        info: Info,
        meter: strawberry.ID,
        kind: CommandKind,
        reason: str,
        prices: list[BandPriceInput] | None = None,
        thresholds: ThresholdsInput | None = None,
        calendar: MeterCalendarInput | None = None,
        until: datetime | None = None,
    ) -> CommandMeterResult:
        """Tell a meter to do something. TRIP and KEEP_POWER hold (`until` a time), as a policy."""
        row = await command_meter(
            scope=info.context.caller(),
            meter_id=uuid_of(meter, "Meter"),
            kind=kind,
            reason=reason,
            given=given_of(prices, thresholds, calendar),
            models=info.context.ports.meter_models,
            at=info.context.now,
            until=until,
        )
        return command_of(row)
