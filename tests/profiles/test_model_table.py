"""docs/meters.md and `shuidian profile list` say of the models what their profiles say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workers.profiles.loader import shipped_profiles
from workers.profiles.model import GRADES
from workers.profiles.table import BEGIN, END, markdown_table, model_rows, updated

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "meters.md"


def _list(*more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", "profile", "list", *more],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_table_in_the_docs_is_the_one_the_profiles_make() -> None:
    text = DOCS.read_text("utf-8")
    assert updated(text, model_rows()) == text, "run: shuidian profile list --update docs/meters.md"


def test_every_model_has_a_row_and_its_weakest_grade_is_its_profiles() -> None:
    rows = {row.model: row for row in model_rows()}
    profiles = shipped_profiles()
    assert set(rows) == set(profiles)
    for model, row in rows.items():
        worst = min((g for grades in row.grades.values() for g in grades), key=GRADES.index)
        assert worst == profiles[model].evidence, model
        assert row.sells == profiles[model].holds_money, model


def test_the_readme_claims_no_more_of_a_model_than_its_best_grade() -> None:
    rows = [line.split("|") for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
    told = {
        grade: set(row[2].split()) - {"none", "yet"}
        for grade in GRADES
        for row in rows
        if len(row) > 2 and row[1].strip().startswith(grade)
    }
    best: dict[str, set[str]] = {grade: set() for grade in GRADES}
    for model in model_rows():
        grades = {grade for part in model.grades.values() for grade in part}
        best[max(grades, key=GRADES.index)].add(model.model)
        if "vendor-document" in grades:
            parts = {part for part, found in model.grades.items() if "vendor-document" in found}
            assert parts == {"reading"}, model.model
    assert {grade: {each.rstrip(",") for each in models} for grade, models in told.items()} == best


def test_the_list_names_every_model_with_its_grades() -> None:
    done = _list()
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == len(shipped_profiles())
    assert any(
        line.startswith("DDSY1352-NK ") and "reading: vendor-document + unverified" in line
        for line in lines
    )
    assert _list("--markdown").stdout == markdown_table(model_rows())


def test_update_renews_the_table_and_leaves_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "doc.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    assert _list("--update", str(file)).returncode == 0
    assert file.read_text("utf-8") == f"before\n{markdown_table(model_rows())}after\n"
    file.write_text("no marks here\n", "utf-8")
    done = _list("--update", str(file))
    assert (done.returncode, file.read_text("utf-8")) == (1, "no marks here\n")
    assert "Traceback" not in done.stderr
    assert _list("--update", str(tmp_path / "none.md")).returncode == 1


def test_a_text_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="no <!-- models -->"):
        updated(f"{END}\n{BEGIN}\n", model_rows())
