"""The six states of a meter: one at a time, each with a colour and a mark of its own (A21)."""

from __future__ import annotations

import itertools
import re

import pytest

from backend.control.state_rules import MARKS, MeterState, StateFacts, shown, state_of

ORDER = (
    ("lost", MeterState.LOST),
    ("unopened", MeterState.UNOPENED),
    ("arrears", MeterState.ARREARS),
    ("alarm_2", MeterState.ALARM_2),
    ("alarm_1", MeterState.ALARM_1),
)


@pytest.mark.parametrize("facts", list(itertools.product((False, True), repeat=5)))
def test_the_gravest_that_holds_is_shown(facts: tuple[bool, ...]) -> None:
    held = dict(zip((name for name, _ in ORDER), facts, strict=True))
    expected = next((state for name, state in ORDER if held[name]), MeterState.OPENED)
    assigned = not held.pop("unopened")
    assert state_of(StateFacts(assigned=assigned, **held)) is expected


def test_every_state_has_a_colour_a_glyph_and_a_word_that_no_other_has() -> None:
    assert set(MARKS) == set(MeterState)
    for values in zip(*MARKS.values(), strict=True):
        assert len(set(values)) == len(MeterState)
    for mark in MARKS.values():
        assert re.fullmatch(r"#[0-9A-F]{6}", mark.color)
        assert len(mark.glyph) == 1
        assert re.fullmatch(r"[\u4e00-\u9fff]{2,4}", mark.word)


def _luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_mark_in_its_colour_can_be_seen_on_white() -> None:
    """WCAG 2.1, 1.4.11 Non-text Contrast: 3:1."""
    for state, mark in MARKS.items():
        assert 1.05 / (_luminance(mark.color) + 0.05) >= 3, state


def test_in_a_chat_a_state_is_a_glyph_and_a_word() -> None:
    assert shown(MeterState.ARREARS) == "■ 欠费"
