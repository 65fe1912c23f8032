"""The chain of an audit begun years ago is checked by the same bytes, whoever writes them (C30)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.canonical import canonical


class Name(StrEnum):
    """A name as rooms give it."""

    FORCE = "force"


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.none() | st.booleans() | texts | st.integers(-(2**63), 2**63) | st.just(Name.FORCE)
states = st.dictionaries(texts | st.just(Name.FORCE), values | st.lists(texts))


def as_it_was_written_at_first(content: object) -> bytes:
    """The canonical JSON of the first version, by the standard library."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(states, states)
def test_an_entry_has_the_bytes_that_it_always_had(
    before: dict[str, object], after: object
) -> None:
    content = {"subject": "meter 1", "before": before, "after": after}
    assert canonical(content) == as_it_was_written_at_first(content)


def test_a_number_too_large_for_any_entry_of_ours_is_read_all_the_same() -> None:
    assert canonical({"after": {"no": 2**64}}) == b'{"after":{"no":18446744073709551616}}'


def test_an_hour_has_no_form_until_its_room_says_which() -> None:
    with pytest.raises(TypeError):
        canonical({"at": datetime(2026, 11, 22, tzinfo=UTC)})
