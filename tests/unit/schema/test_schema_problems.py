"""Every anticipated failure of the product is a typed answer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import backend
from backend.kernel.errors import DomainError, InvalidInput, RateLimited
from schema.problems import PROBLEMS, ProblemOf, details, problem_type


def all_domain_errors() -> list[type[DomainError]]:
    """Every DomainError class of backend, after all of it has been imported; but those of the sealed
    line, for who speaks there is a gateway and never sees a schema."""
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:
            importlib.import_module(module.name)

    def below(kind: type[DomainError]) -> Iterator[type[DomainError]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    found = {
        kind
        for kind in below(DomainError)
        if kind.__module__.startswith("backend.")
        and not kind.__module__.startswith("backend.uplink.")
    }
    return sorted(found, key=lambda kind: kind.__qualname__)


def test_every_domain_error_is_mapped_or_inherits_a_mapped_one() -> None:
    errors = all_domain_errors()
    assert len(errors) >= len(PROBLEMS)
    assert [kind.__qualname__ for kind in errors if problem_type(kind) is None] == []


def test_nothing_is_mapped_that_is_no_anticipated_failure() -> None:
    assert all(issubclass(kind, DomainError) for kind in PROBLEMS)
    assert DomainError not in PROBLEMS, "a catch-all would hide a class nobody thought of"


@pytest.mark.parametrize("kind", PROBLEMS, ids=lambda kind: kind.__name__)
def test_a_problem_keeps_code_and_message(kind: type[DomainError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "what happened")
    error.message = "what happened"
    if isinstance(error, RateLimited):
        error.retry_after_s = 7
    if isinstance(error, InvalidInput):
        error.field = "amount"
    made = ProblemOf().handle(error, field=None, info=None)  # type: ignore[arg-type] # neither is read
    assert isinstance(made, PROBLEMS[kind])
    assert (made.code, made.message) == (kind.code, "what happened")


def test_field_and_waiting_time_come_along() -> None:
    assert details(InvalidInput("no", field="amount")) == {"field": "amount"}
    assert details(RateLimited("no", retry_after_s=7)) == {"retry_after_s": 7}


def test_a_class_the_table_does_not_know_is_no_problem_of_another_kind() -> None:
    class Strange(DomainError):
        code = "STRANGE"

    made = ProblemOf().handle(Strange("?"), field=None, info=None)  # type: ignore[arg-type] # not read
    assert made is None
