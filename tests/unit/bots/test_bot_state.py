"""What is remembered between two messages survives storage exactly, or is forgotten."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.money import Money
from bots.state import Pending, State, Topic

STATES = st.builds(
    State,
    st.none(),
    st.none(),
    st.one_of(st.none(), st.text(min_size=1, max_size=40)),
    st.integers(0, 2),
)


@given(STATES)
def test_a_stored_state_comes_back_as_it_was(state: State) -> None:
    assert State.from_json(state.to_json()) == state


def _stored(now: datetime, **changes: object) -> dict[str, Any]:
    state = State(Pending(Topic.TOP_UP, ("m1",), Money.parse("50")), now)
    stored: dict[str, Any] = json.loads(state.to_json())
    return stored | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"misses": 3},
        {"misses": True},
        {"misses": -1},
        {"selected": 5},
        {"selected": "x" * 129},
        {"expires_at": None},
        {"expires_at": "2026-05-03T10:00:00"},
        {"expires_at": 5},
        {"extra": 1},
        {"pending": []},
        {"pending": {"topic": "TOP_UP"}},
    ],
)
def test_a_broken_stored_state_is_a_fresh_one(now: datetime, changes: dict[str, Any]) -> None:
    assert State.from_json(json.dumps(_stored(now))) != State()
    assert State.from_json(json.dumps(_stored(now, **changes))) == State()


@pytest.mark.parametrize(
    "changes",
    [
        {"topic": "PAY"},
        {"choices": []},
        {"choices": ["m"] * 10},
        {"choices": [1]},
        {"choices": "m1"},
        {"amount": "50"},
        {"amount": 1.5},
        {"span": "EVER"},
        {"challenge_id": "c"},
        {"topic": "BIND_CODE", "choices": []},
        {"topic": "UNBIND_CONFIRM", "choices": []},
        {"amount": True},
    ],
)
def test_a_broken_question_is_a_fresh_state(now: datetime, changes: dict[str, Any]) -> None:
    record = _stored(now)
    record["pending"] |= changes
    assert State.from_json(json.dumps(record)) == State()


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_no_stored_bytes_break_the_reader(stored: str | bytes) -> None:
    assert State.from_json(stored) == State()
    assert State.from_json("[" * 4000) == State()
