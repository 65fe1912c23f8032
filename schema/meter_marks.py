"""The six states of a meter as all pages show them: one colour and one mark that is no colour each (A21)."""

from __future__ import annotations

import strawberry

from backend.control.state_rules import MARKS, MeterState

from .context import Info
from .resolvers import field

strawberry.enum(
    MeterState,
    description="OPENED: it serves an account and all is well. ALARM_1, ALARM_2: its money is at a level."
    " ARREARS: nothing is left. UNOPENED: it serves nobody. LOST: nothing is known of it.",
)


@strawberry.type(description="A meter's state and how it is shown; never by colour alone.")
class MeterStateMark:
    """表计状态."""

    state: MeterState
    color: str = strawberry.field(description="#RRGGBB")
    glyph: str = strawberry.field(description="One character of a shape of its own.")
    word: str = strawberry.field(description="In Chinese.")


def mark_of(state: MeterState) -> MeterStateMark:
    """A state with its mark."""
    return MeterStateMark(state=state, **MARKS[state]._asdict())


@strawberry.type
class MeterMarkQueries:
    """Reads."""

    @field(description="The legend: all states with their marks.")
    async def meter_state_marks(self, info: Info) -> list[MeterStateMark]:
        """The same for everybody who is signed in. Raises Unauthenticated."""
        info.context.caller()
        return [mark_of(state) for state in MeterState]
