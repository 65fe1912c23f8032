"""The incidents of tests/house/incidents.toml, printed into docs/incidents.md and held to the tests.

python -m tests.house.incidents     print the table into docs/incidents.md
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).with_suffix(".toml")
DOCS = ROOT / "docs" / "incidents.md"
BEGIN, END = "<!-- incidents -->", "<!-- /incidents -->"
# reference/trust.md: section 11 as far as issue 4 asks for it, section 4 row by row.
WANTED = (*(f"O{n}" for n in range(1, 15)), *(f"I{n}" for n in range(1, 13)))


@dataclass(frozen=True, slots=True)
class Incident:
    """One row: what happened, our barrier, the node ids of the tests that show it, and how the rule was
    `broken` by hand to see them fail (empty: it was not)."""

    id: str
    what: str
    barrier: str
    tests: tuple[str, ...]
    broken: str


def incidents() -> list[Incident]:
    """Every row, in the order of the file. Raises TypeError for a row of another form."""
    rows = tomllib.loads(DATA.read_text("utf-8"))["rows"]
    return [Incident(**row | {"tests": tuple(row["tests"])}) for row in rows]


def faults(rows: Sequence[Incident], *, root: Path = ROOT) -> Iterator[str]:
    """What is wrong: a row that is wanted and missing, one that comes twice, one without a test, or a test
    that is not there."""
    ids = [row.id for row in rows]
    yield from (f"{wanted} has no row" for wanted in WANTED if wanted not in ids)
    yield from (f"{id_} comes twice" for id_ in sorted(set(ids)) if ids.count(id_) > 1)
    for row in rows:
        if not row.tests:
            yield f"{row.id} is shown by no test"
        for node in row.tests:
            file, _, name = node.partition("::")
            if name not in _tests_in(root / file):
                yield f"{row.id}: there is no test {node}"


@cache
def _tests_in(file: Path) -> frozenset[str]:
    """The names of a file's tests."""
    if not file.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(file.read_text("utf-8")).body
    names = (node.name for node in body if isinstance(node, functions))
    return frozenset(name for name in names if name.startswith("test_"))


def table(rows: Sequence[Incident]) -> str:
    """The table of docs/incidents.md, between its marks."""
    heads = (
        "",
        "what happens",
        "what keeps it from happening here",
        "shown by",
        "seen to fail with",
    )
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        shown = "<br>".join(f"`{node.removeprefix('tests/')}`" for node in row.tests)
        cells = (row.id, row.what, row.barrier, shown, row.broken or "—")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([BEGIN, *lines, END]) + "\n"


def updated(text: str, rows: Sequence[Incident]) -> str:
    """`text` with the table between its marks renewed. Raises ValueError when it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END + "\n")
    if not begin or not end:
        raise ValueError(f"no {BEGIN} .. {END} to put the table between")
    return before + table(rows) + after


if __name__ == "__main__":
    DOCS.write_text(updated(DOCS.read_text("utf-8"), incidents()), "utf-8")
