"""The six states of a meter in a list (A21), each with one colour and one mark that is no colour: defined
here and nowhere else, for the console, the H5 page, the bot and the export alike.

Not by colour alone, for one man in twelve does not see it (WCAG 2.1, 1.4.1 Use of Color). Which colour and
which glyph is our choice; the states and their order are the product's (DOMAIN.md A21).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class MeterState(StrEnum):
    """OPENED 已开户: it serves an account and all is well. ALARM_1, ALARM_2: its money is at the first or the
    last level. ARREARS: nothing is left. UNOPENED: it serves nobody. LOST 失联: nothing is known of it."""

    OPENED = "OPENED"
    ALARM_1 = "ALARM_1"
    ALARM_2 = "ALARM_2"
    ARREARS = "ARREARS"
    UNOPENED = "UNOPENED"
    LOST = "LOST"


class Mark(NamedTuple):
    """How a state is shown: `color` as #RRGGBB, `glyph` one character of another shape than the others',
    `word` in Chinese."""

    color: str
    glyph: str
    word: str


MARKS: Mapping[MeterState, Mark] = MappingProxyType(
    {
        MeterState.OPENED: Mark("#2E7D32", "●", "已开户"),
        MeterState.ALARM_1: Mark("#B8860B", "△", "一级报警"),
        MeterState.ALARM_2: Mark("#E65100", "▲", "二级报警"),
        MeterState.ARREARS: Mark("#C62828", "■", "欠费"),
        MeterState.UNOPENED: Mark("#757575", "○", "未开户"),
        MeterState.LOST: Mark("#6A1B9A", "✕", "失联"),
    }
)


class StateFacts(NamedTuple):
    """What a state is taken from. `assigned`: it serves an account. `lost`: it, or its gateway, is not heard.
    The others: such an alarm stands (C27)."""

    assigned: bool
    lost: bool
    arrears: bool
    alarm_2: bool
    alarm_1: bool


def state_of(facts: StateFacts) -> MeterState:
    """The one state that is shown where several hold: lost > unopened > arrears > alarm 2 > alarm 1 > opened.

    Of a meter that is not heard nothing else is known; one that serves nobody owes nothing.
    """
    rules = (
        (MeterState.LOST, facts.lost),
        (MeterState.UNOPENED, not facts.assigned),
        (MeterState.ARREARS, facts.arrears),
        (MeterState.ALARM_2, facts.alarm_2),
        (MeterState.ALARM_1, facts.alarm_1),
    )
    return next((state for state, holds in rules if holds), MeterState.OPENED)


def shown(state: MeterState) -> str:
    """A state for a place without colours, such as a chat: its glyph and its word."""
    mark = MARKS[state]
    return f"{mark.glyph} {mark.word}"
