"""What README and docs name is there: fields of the schema or calls of the pages, files of the tests, targets
of make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_house_rules import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").glob("*.md")])
_FIELD = re.compile(r"`([a-z]+(?:[A-Z][a-z]+)+)`")
_TEST = re.compile(r"\b(test_\w+)\.py\b")
_TARGET = re.compile(r"`make ([a-z-]+)`")


def _strangers(text: str) -> list[str]:
    """Names of the page that nothing bears."""
    named = [ROOT / "schema" / "schema.graphql", *(ROOT / "web").rglob("*.js")]
    spoken = "".join(path.read_text(encoding="utf-8") for path in named)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    return [
        *(each for each in _FIELD.findall(text) if not re.search(rf"\b{each}\b", spoken)),
        *(f"{each}.py" for each in _TEST.findall(text) if each not in tests),
        *(f"make {each}" for each in _TARGET.findall(text) if f"\n{each}:" not in makefile),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_what_a_page_names_is_there(page: Path) -> None:
    assert _strangers(page.read_text(encoding="utf-8")) == []


def test_a_page_that_names_what_is_not_there_is_refused() -> None:
    text = "`previewTheMessage`, `commandMeter`, tests/test_nothing_at_all.py, `make coffee`, `make demo`"
    assert _strangers(text) == ["previewTheMessage", "test_nothing_at_all.py", "make coffee"]
