"""What a document costs is found out quickly, whatever its fragments do."""

from __future__ import annotations

import base64
import uuid

import orjson
import pytest
from graphql import parse

from backend.kernel.errors import InvalidInput, NotFound
from schema.guard import MAX_BODY_BYTES, MAX_JSON_DEPTH, checked_json
from schema.limits import Cost, cost_of
from schema.paging import cursor_of, key_of, number_key, uuid_key
from schema.scalars import ref, split_ref, thousandths, uuid_of


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("{ a }", Cost(1, 0, 1, 0)),
        ("{ a { b { c } } d }", Cost(3, 0, 4, 0)),
        ("{ x: a y: a { z: b } }", Cost(2, 3, 3, 0)),
        ("{ ...f ...f } fragment f on Query { x: a { b } }", Cost(2, 2, 4, 0)),
        ("{ ... on Query { a } ... { b } }", Cost(1, 0, 2, 0)),
        ("{ __schema { types { fields { name } } } }", Cost(0, 0, 4, 0)),
        ("query a { x } query b { y { z } }", Cost(2, 0, 3, 0)),
        ("query($v: Int @d) @d { a @d @d ...f @d } fragment f on Q @d { b @d }", Cost(1, 0, 2, 7)),
        ("{ ...f } fragment f on Query { a ...f }", Cost(1, 0, 1, 0)),
        ("{ ...nowhere }", Cost(0, 0, 0, 0)),
    ],
)
def test_a_documents_cost_counts_every_use_of_a_fragment(text: str, cost: Cost) -> None:
    assert cost_of(parse(text)) == cost


def test_two_to_the_ninety_uses_are_counted_without_walking_them() -> None:
    fragments = " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(90))
    document = parse(f"{{ ...f0 }} {fragments} fragment f90 on Query {{ a: b }}")
    assert cost_of(document).aliases == 2**90


def test_json_is_taken_to_its_limits_and_not_beyond() -> None:
    deep = "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH
    assert checked_json(deep) is not None
    assert checked_json('{"a":"' + "[" * 1000 + '\\"["}') is not None, "brackets in texts are free"
    for text in (
        f"[{deep}]",
        '"' + "x" * MAX_BODY_BYTES + '"',
        '{"a":"\\u0000"}',
        '{"a":"\\u{0}"}',
        '"' + "\\" * 999,
    ):
        with pytest.raises(orjson.JSONDecodeError):
            checked_json(text)


def test_an_id_is_opaque_and_says_its_type() -> None:
    id_ = uuid.uuid4()
    assert uuid_of(ref("Account", id_), "Account") == id_
    assert split_ref(ref("Account", id_)) == ("Account", id_)
    for wrong in (
        ref("Meter", id_),
        str(id_),
        "",
        "%%",
        "\u6237",
        base64.b64encode(b"Account:7").decode(),
        base64.b64encode(b"\xff\xfe").decode(),
        ref("Account", id_) + "\n",
    ):
        with pytest.raises(NotFound, match=r"^no such account$"):
            uuid_of(wrong, "Account")


def test_a_cursor_is_read_back_and_a_foreign_one_refused() -> None:
    id_ = uuid.uuid4()
    assert key_of(cursor_of("100001")) == "100001"
    assert uuid_key(cursor_of(str(id_))) == id_
    assert number_key(cursor_of("12")) == 12
    assert uuid_key(None) is None
    for read, wrong in (
        (key_of, "100001"),
        (key_of, "\u6237"),
        (uuid_key, cursor_of("7")),
        (number_key, cursor_of("x")),
        (number_key, cursor_of(str(2**63))),
        (number_key, cursor_of("-1")),
    ):
        with pytest.raises(InvalidInput):
            read(wrong)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.000"), (1, "0.001"), (-1, "-0.001"), (1_234_567, "1234.567")]
)
def test_thousandths_are_exact(value: int, text: str) -> None:
    assert thousandths(value) == text
