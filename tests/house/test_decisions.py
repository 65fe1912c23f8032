"""Decision records keep their form (docs/adr/0001)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_house_rules import ROOT

RECORDS = sorted((ROOT / "docs" / "adr").glob("*.md"))
SECTIONS = ["## Why", "## Decision", "## Price", "## Held by"]
PAGE_LINES = 60


def _faults(name: str, text: str) -> list[str]:
    """What is wrong with the record `name`; empty when it keeps the form."""
    lines = text.splitlines()
    faults = []
    if not lines or not lines[0].startswith(f"# {name[:4]}. "):
        faults.append("the title does not carry the number")
    if sum(line.startswith("> ") for line in lines) != 1:
        faults.append("not one line to quote")
    if [line for line in lines if line.startswith("## ")] != SECTIONS:
        faults.append("other sections than " + ", ".join(SECTIONS))
    if len(lines) > PAGE_LINES:
        faults.append("more than a page")
    if not re.search(r"^- Status: (accepted|proposed|replaced by \d{4})", text, re.MULTILINE):
        faults.append("no status")
    if not re.search(r"^- Date: (\d{4}-\d{2}-\d{2}|YYYY-MM-DD)$", text, re.MULTILINE):
        faults.append("no date")
    return faults


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_keeps_the_form(record: Path) -> None:
    assert _faults(record.name, record.read_text(encoding="utf-8")) == []


def test_records_are_numbered_without_gaps() -> None:
    assert [path.name[:4] for path in RECORDS] == [f"{n:04d}" for n in range(len(RECORDS))]


def test_a_record_without_its_form_is_refused() -> None:
    faults = _faults("0007-x.md", "# 0008. Other\n\n## Why\n" + "text\n" * PAGE_LINES)
    assert len(faults) == 6
