"""A signed statement: the same bytes always, any change told, each sum checked (A2)."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.secrets import SecretBox
from backend.reconcile.statement_rules import (
    FORMAT,
    StatementBroken,
    StatementKeys,
    canonical,
    name_of,
    read_file,
    verify,
    verify_chain,
)

OLD, NEW = b"1" * 32, b"2" * 32
KEYS = StatementKeys(SecretBox({1: OLD, 2: NEW}))
BODY: dict[str, Any] = {
    "format": FORMAT,
    "group": 7,
    "project": "5f0c",
    "day": "2026-11-22",
    "from": "2026-11-21T16:00:00+00:00",
    "to": "2026-11-22T16:00:00+00:00",
    "accounts": [
        {
            "kind": "CHANNEL",
            "opening": "10.00",
            "in": "50.00",
            "out": "5.00",
            "closing": "55.00",
        },
        {
            "kind": "PURSE",
            "opening": "-10.00",
            "in": "5.00",
            "out": "50.00",
            "closing": "-55.00",
        },
    ],
    "channels": [
        {
            "account": "a1",
            "channel": "WECHAT_PAY",
            "merchant": "1900000001",
            "opening": "10.00",
            "in": "50.00",
            "out": "5.00",
        }
    ],
    "entries": [{"kind": "TOPUP_PAID", "entries": 1, "moved": "50.00"}],
    "sums": {"channelsIn": "50.00", "refunds": "5.00", "名": "日结"},
    "book": "00ff",
    "previous": None,
}


def signed_file(body: dict[str, Any]) -> str:
    """A body, signed as it is."""
    return KEYS.sign(canonical(body)).file


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every leaf of a JSON value."""
    if isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in paths(part, (*path, name))]
    if isinstance(value, list):
        return [leaf for place, part in enumerate(value) for leaf in paths(part, (*path, place))]
    return [path]


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """The value with one leaf changed."""
    made = copy.deepcopy(value)
    at = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = f"{at[path[-1]]}0" if isinstance(at[path[-1]], str) else 8
    return made


def test_a_statement_is_verified_from_its_file_by_the_public_key_alone() -> None:
    file = signed_file(BODY)
    assert verify(read_file(file), keys=KEYS.public) == BODY
    pretty = json.dumps(json.loads(file), indent=2)
    assert verify(read_file(pretty), keys=KEYS.public) == BODY, "spaces are not what was signed"


def test_the_same_body_gives_the_same_bytes_whatever_the_order_of_its_names() -> None:
    turned = dict(reversed(BODY.items()))
    assert signed_file(turned) == signed_file(BODY)


@pytest.mark.parametrize("path", paths(json.loads(signed_file(BODY))), ids=str)
def test_any_change_of_a_signed_file_is_told(path: tuple[Any, ...]) -> None:
    file = json.dumps(changed(json.loads(signed_file(BODY)), path))
    with pytest.raises(StatementBroken):
        verify(read_file(file), keys=KEYS.public)


def test_a_statement_of_a_stranger_is_refused() -> None:
    stranger = StatementKeys(SecretBox({1: b"3" * 32}))
    signed = stranger.sign(canonical(BODY))
    with pytest.raises(StatementBroken, match="not known"):
        verify(signed, keys=KEYS.public)
    # A key put under another's name is not that key.
    (public,) = stranger.public.values()
    for name in (signed.key_name, *KEYS.public):
        with pytest.raises(StatementBroken):
            verify(KEYS.sign(canonical(BODY)), keys={name: public})


def test_older_statements_stay_verifiable_after_the_key_is_changed() -> None:
    before = StatementKeys(SecretBox({1: OLD})).sign(canonical(BODY))
    after = KEYS.sign(canonical(BODY))
    assert before.key_name != after.key_name
    assert verify(before, keys=KEYS.public) == verify(after, keys=KEYS.public) == BODY
    assert {name_of(public) for public in KEYS.public.values()} == set(KEYS.public)


def test_the_signing_key_is_no_key_that_seals_anything() -> None:
    box = SecretBox({1: OLD})
    (public,) = StatementKeys(box).public.values()
    assert public not in {OLD, *box.keys_for("statement signing").values()}


@pytest.mark.parametrize(
    "path",
    [
        ("accounts", 0, "opening"),
        ("accounts", 0, "in"),
        ("accounts", 0, "out"),
        ("accounts", 1, "closing"),
        ("channels", 0, "opening"),
        ("channels", 0, "in"),
        ("channels", 0, "out"),
    ],
    ids=str,
)
def test_a_signed_statement_that_does_not_add_up_is_refused(path: tuple[Any, ...]) -> None:
    body = copy.deepcopy(BODY)
    at = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = "11.11"
    with pytest.raises(StatementBroken):
        verify(read_file(signed_file(body)), keys=KEYS.public)


def test_a_book_in_which_each_account_adds_up_but_not_the_whole_is_refused() -> None:
    body = copy.deepcopy(BODY)
    body["accounts"][1] |= {"opening": "-11.00", "closing": "-56.00"}
    with pytest.raises(StatementBroken, match="does not balance"):
        verify(read_file(signed_file(body)), keys=KEYS.public)
    body["accounts"][1] |= {"opening": "-10.00", "in": "6.00", "closing": "-54.00"}
    with pytest.raises(StatementBroken, match="does not balance"):
        verify(read_file(signed_file(body)), keys=KEYS.public)


def next_day() -> dict[str, Any]:
    """A quiet day after BODY."""
    body = copy.deepcopy(BODY)
    body |= {"day": "2026-11-23", "previous": KEYS.sign(canonical(BODY)).hash.hex()}
    for account in body["accounts"]:
        account |= {"opening": account["closing"], "in": "0.00", "out": "0.00"}
    body["channels"][0] |= {"opening": "55.00", "in": "0.00", "out": "0.00"}
    return body


def test_a_day_follows_the_one_whose_hash_and_balances_it_opens_with() -> None:
    first = KEYS.sign(canonical(BODY))
    verify_chain(KEYS.sign(canonical(next_day())), previous=first)
    for name, value in (("previous", "00" * 32), ("previous", None), ("project", "other")):
        with pytest.raises(StatementBroken, match="follow"):
            verify_chain(KEYS.sign(canonical(next_day() | {name: value})), previous=first)
    opened = next_day()
    opened["accounts"][0]["opening"] = "54.00"
    with pytest.raises(StatementBroken, match="opens with another"):
        verify_chain(KEYS.sign(canonical(opened)), previous=first)


@given(st.text(max_size=40) | st.just('{"body":{},"hash":"zz","key":"k","signature":"!"}'))
def test_what_is_no_statement_is_refused_in_words(text: str) -> None:
    with pytest.raises(StatementBroken):
        read_file(text)
