"""Who holds what docs/permissions.md names comes through, and who lacks one of it does not (C30).

That it is enough for the doors, test_isolation.py tries with every door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from schema.schema import make_schema

from .doors import DOORS, ELSEWHERE
from .entrances import ENTRANCES
from .furnished import Furnished
from .permissions import ALL, DOCS, needs, printed
from .test_isolation import audited
from .things import Things

NEEDS = needs()
# Root fields to which no permission leads.
OPEN = {
    "Mutation.login",
    "Mutation.logout",
    "Mutation.startTopUpByLink",
    "Query.me",
    "Query.meterModels",
    "Query.meterStateMarks",
    "Query.payLink",
    "Query.projects",
    "Query.topUpByLink",
}


@dataclass(frozen=True)
class Tried:
    """A row of the table and how it is asked for."""

    row: str
    document: str
    group_wide: bool
    variables: Any

    def holder(self, there: Furnished, held: frozenset[str]) -> str:
        """The session of who holds just that."""
        return there.holders[held, self.group_wide]


TRIED = [
    *(
        Tried(d.name, d.document, d.group_wide, lambda mine, d=d: d.variables(mine, mine))
        for d in DOORS
    ),
    *(Tried(e.field, e.document, e.group_wide, e.variables) for e in ENTRANCES),
]


async def answered(tried: Tried, there: Furnished, token: str) -> tuple[str, str]:
    """(code, message) for a session; both empty when there was something to see."""
    mine: Things = there.mine
    body = await there.api.ask(tried.document, tried.variables(mine), token=token)
    if "errors" in body:
        error = body["errors"][0]
        return error["extensions"]["code"], error["message"]
    answer = body["data"].get("answer")
    if isinstance(answer, dict) and "code" in answer:
        return answer["code"], answer["message"]
    return "", ""


@pytest.mark.parametrize("tried", TRIED, ids=[each.row for each in TRIED])
async def test_who_lacks_one_of_what_the_table_names_is_refused_and_leaves_no_trace(
    tried: Tried, shown: Furnished
) -> None:
    before = await audited(shown.world)
    for permission in NEEDS[tried.row]:
        code, message = await answered(tried, shown, tried.holder(shown, ALL - {permission}))
        assert code in ("FORBIDDEN", "NOT_FOUND"), f"without {permission}: {code} {message}"
        assert (code == "FORBIDDEN") == (permission in message), message
    assert await audited(shown.world) == before


@pytest.mark.parametrize("entrance", ENTRANCES, ids=[each.field for each in ENTRANCES])
async def test_what_the_table_names_is_enough(entrance: Any, shown: Furnished) -> None:
    (tried,) = [each for each in TRIED if each.row == entrance.field]
    code, message = await answered(tried, shown, tried.holder(shown, NEEDS[entrance.field]))
    assert code == entrance.answered, message


GROUP_WIDE = [each for each in TRIED if each.group_wide]


@pytest.mark.parametrize("tried", GROUP_WIDE, ids=[each.row for each in GROUP_WIDE])
async def test_what_is_the_whole_groups_is_refused_to_the_administrator_of_one_project(
    tried: Tried, shown: Furnished
) -> None:
    before = await audited(shown.world)
    code, message = await answered(tried, shown, shown.token)
    assert code == "FORBIDDEN", message
    assert await audited(shown.world) == before


def test_every_field_one_can_ask_for_is_in_the_table_or_open_or_tried_elsewhere() -> None:
    schema = make_schema()._schema
    roots = [schema.query_type, schema.mutation_type]
    asked = {f"{root.name}.{name}" for root in roots if root for name in root.fields}
    told = {row.partition("(")[0] for row in NEEDS}
    elsewhere = {each.partition("(")[0] for each in ELSEWHERE}
    assert asked <= told | elsewhere | OPEN
    assert not OPEN & told
    assert set(NEEDS) == {each.row for each in TRIED}


def test_the_tables_are_printed_as_their_rows_and_the_roles_say() -> None:
    text = DOCS.read_text("utf-8")
    assert printed(text) == text, "python -m tests.integration.graphql.permissions"
