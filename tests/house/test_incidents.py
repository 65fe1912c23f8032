"""docs/incidents.md says what tests/house/incidents.toml says, and each test that it names is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .incidents import BEGIN, DOCS, END, faults, incidents, table, updated


def test_every_incident_that_is_wanted_is_shown_by_tests_that_are_there() -> None:
    assert list(faults(incidents())) == []


def test_the_table_in_the_docs_is_the_one_the_rows_make() -> None:
    text = DOCS.read_text("utf-8")
    assert updated(text, incidents()) == text, "run: python -m tests.house.incidents"


def test_a_row_that_is_missing_double_unshown_or_shown_by_nothing_is_told() -> None:
    first, second, third, *rest = incidents()
    gone = f"{second.tests[0]}_before_it_was_renamed"
    rows = [replace(second, tests=(gone, "tests/no_file.py::test_x")), replace(third, tests=())]
    assert list(faults([*rows, *rest, rest[0]])) == [
        f"{first.id} has no row",
        f"{rest[0].id} comes twice",
        f"{second.id}: there is no test {gone}",
        f"{second.id}: there is no test tests/no_file.py::test_x",
        f"{third.id} is shown by no test",
    ]


def test_a_text_without_marks_is_an_error() -> None:
    assert updated(f"a\n{BEGIN}\nold\n{END}\nb\n", []) == f"a\n{table([])}b\n"
    with pytest.raises(ValueError, match="no <!-- incidents -->"):
        updated(f"{END}\n{BEGIN}\n", [])
