"""`python -m tests.coverage [FILE.. --tests PATH..]`: which lines and branches of files no test walks.

Without names: the ledger, the tariffs, the rules of control and of top-ups, by the tests that are named here.
Nothing is left out: a remark in the code that asks for it is not heard. Drawn examples are the same each time
and few, for a branch that only chance reaches is not held.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest

_ROOT = Path(__file__).parents[2]
_FILES = (
    "ledger/*.py",
    "tariffs/*.py",
    "control/*rules.py",
    "topups/*rules.py",
    "topups/receipts.py",
)
_TESTS = (
    "unit/ledger",
    "unit/tariffs",
    "unit/control",
    "unit/topups",
    "integration/test_ledger.py",
    "integration/test_purses.py",
    "integration/test_shared_purse.py",
    "integration/test_arrears.py",
    "integration/test_book_refusals.py",
    "integration/test_daily_statements.py",
    "integration/test_tariffs.py",
    "integration/test_tariff_changes.py",
    "integration/test_tariff_refusals.py",
)
_QUIETLY = (
    *("-q", "-n", "0", "-c", str(_ROOT / "pyproject.toml"), "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # hypothesis was imported for its profile
)


def walk(files: Sequence[Path], tests: Sequence[str]) -> tuple[dict[Path, Any], bool]:
    """What coverage.py reports of each file that was loaded, and whether all tests passed."""
    hypothesis.settings.register_profile(
        "coverage",
        max_examples=15,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("coverage")
    watch = coverage.Coverage(
        data_file=None, config_file=False, branch=True, include=[str(file) for file in files]
    )
    watch.clear_exclude()
    with watch.collect():
        passed = pytest.main([*_QUIETLY, *tests]) == 0
    if not watch.get_data().measured_files():
        return {}, passed
    with tempfile.TemporaryDirectory() as place:
        told = Path(place) / "coverage.json"
        watch.json_report(outfile=str(told))
        reports = json.loads(told.read_text())["files"]
    return {Path(name).resolve(): report for name, report in reports.items()}, passed


def missed(files: Sequence[Path], reports: dict[Path, Any]) -> list[str]:
    """Each line that was not reached and each branch that was not taken, as a sentence."""
    said = []
    for file in files:
        name = os.path.relpath(file)
        if file not in reports:
            said.append(f"{name} is not loaded by any test")
            continue
        lines = set(reports[file]["missing_lines"])
        said += [f"{name}:{line} is never reached" for line in sorted(lines)]
        said += [
            f"{name}:{here} never goes to {'its end' if there < 0 else f'line {there}'}"
            for here, there in reports[file]["missing_branches"]
            if here not in lines and there not in lines
        ]
    return said


def main() -> int:
    """Print what is missed and a line of JSON; 1 when anything is, or a test fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.coverage")
    parser.add_argument("files", nargs="*", type=lambda name: Path(name).resolve())
    parser.add_argument("--tests", nargs="+", default=[str(_ROOT / "tests" / t) for t in _TESTS])
    asked = parser.parse_args()
    rooms = _ROOT / "backend"
    files = asked.files or sorted(path for each in _FILES for path in rooms.glob(each))
    reports, passed = walk(files, asked.tests)
    said = missed(files, reports)
    for sentence in said:
        sys.stderr.write(sentence + "\n")
    sums = [report["summary"] for report in reports.values()]
    counts = {
        "files": len(files),
        "lines": sum(each["num_statements"] for each in sums),
        "branches": sum(each["num_branches"] for each in sums),
        "missed": len(said),
    }
    sys.stdout.write(json.dumps(counts) + "\n")
    return 0 if passed and not said else 1


if __name__ == "__main__":
    sys.exit(main())
