"""The schema's file is law: printed, checked for drift, and enough for the pages that use it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import GraphQLObjectType, GraphQLUnionType, build_schema, parse, validate

from backend.tenancy.rules import Permission
from schema.limits import MAX_TOKENS, CostRule
from schema.problems import PROBLEMS
from schema.schema import SDL_FILE, Mutation, make_schema, print_schema

OPERATIONS = sorted((SDL_FILE.parent / "operations").glob("*.graphql"))
CONSOLE = sorted((SDL_FILE.parent / "operations/console").glob("*.graphql"))
EXEMPT = {"login", "logout", "startTopUpByLink"}


def test_the_printed_schema_has_not_drifted() -> None:
    assert SDL_FILE.read_text(encoding="utf-8") == print_schema(), "run `shuidian schema`"


@pytest.mark.parametrize("path", [*OPERATIONS, *CONSOLE], ids=lambda path: path.stem)
def test_a_document_of_the_pages_fits_the_schema_and_its_limits(path: Path) -> None:
    schema = build_schema(SDL_FILE.read_text(encoding="utf-8"))
    document = parse(path.read_text(encoding="utf-8"), max_tokens=MAX_TOKENS)
    assert not validate(schema, document)
    assert not validate(schema, document, [CostRule])


def test_the_pay_page_sends_the_documents_of_the_allow_list_word_for_word() -> None:
    page = SDL_FILE.parent.parent / "web" / "h5" / "queries.js"
    sent = set(re.findall(r"= `(.*?)`;", page.read_text(encoding="utf-8"), re.DOTALL))
    assert sent == {path.read_text(encoding="utf-8").strip() for path in OPERATIONS}


def test_money_is_never_a_float() -> None:
    assert "Float" not in SDL_FILE.read_text(encoding="utf-8")


def test_nothing_is_counted_for_the_caller() -> None:
    assert "totalCount" not in SDL_FILE.read_text(encoding="utf-8")


def test_every_mutation_names_its_permission_or_says_why_it_has_none() -> None:
    schema = make_schema()
    open_ones = set()
    for field in Mutation.__strawberry_definition__.fields:  # type: ignore[attr-defined] # set by strawberry
        name = schema.config.name_converter.get_graphql_name(field)
        assert "permission" in field.metadata, f"{name}: use schema.rights.mutation"
        if field.metadata["permission"] is None:
            assert field.metadata["why"]
            open_ones.add(name)
        else:
            assert field.metadata["permission"] in Permission
            assert field.metadata["permission"].value in (field.description or "")
    assert open_ones == EXEMPT


def test_every_mutation_can_answer_every_problem() -> None:
    schema = make_schema()._schema
    assert schema.mutation_type is not None
    problems = {kind.__name__ for kind in PROBLEMS.values()}
    for name, field in schema.mutation_type.fields.items():
        answer = getattr(field.type, "of_type", field.type)
        assert isinstance(answer, GraphQLUnionType), f"{name} cannot say what went wrong"
        assert problems < {member.name for member in answer.types}, name


def test_every_problem_is_a_problem() -> None:
    schema = make_schema()._schema
    interface = schema.type_map["Problem"]
    for kind in PROBLEMS.values():
        made = schema.type_map[kind.__name__]
        assert isinstance(made, GraphQLObjectType)
        assert interface in made.interfaces
