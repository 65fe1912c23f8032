"""Every rule holds in the house, and every rule can say no."""

from __future__ import annotations

from pathlib import Path

import pytest

from .made_samples import MADE
from .rules import RULES, Rule
from .tree import Tree

ROOT = Path(__file__).resolve().parents[2]
BAD = Path(__file__).parent / "bad"
MARK = "BAD"

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


@pytest.fixture(scope="session")
def house() -> Tree:
    """The real repository, parsed once for all rules."""
    return Tree(ROOT)


def _marked(tree: Tree) -> set[tuple[str, int]]:
    return {
        (path, number)
        for path in tree.files
        for number, line in enumerate((tree.text(path) or "").splitlines(), start=1)
        if MARK in line
    }


@each_rule
def test_the_house_keeps_the_rule(rule: Rule, house: Tree) -> None:
    findings = sorted(set(rule.check(house)))
    assert not findings, f"{rule.sentence}:\n" + "\n".join(map(str, findings))


@each_rule
def test_the_rule_finds_every_breach_in_its_bad_sample_and_nothing_else(
    rule: Rule, tmp_path: Path
) -> None:
    if rule.name in MADE:
        expected, root = MADE[rule.name](tmp_path), tmp_path
    else:
        root = BAD / rule.name
        expected = _marked(Tree(root))
    assert expected, "a rule without a bad sample is a rule nobody has seen fail"
    assert {(f.path, f.line) for f in rule.check(Tree(root))} == expected


def test_no_bad_sample_is_an_orphan() -> None:
    samples = {path.name for path in BAD.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert samples | set(MADE) == {rule.name for rule in RULES}


def test_the_checkers_read_the_product_and_its_tests_but_no_bad_sample(house: Tree) -> None:
    assert "backend/kernel/clock.py" in {source.path for source in house.sources}
    assert "tests/house/tree.py" in {source.path for source in house.tests}
    assert not [path for path in house.files if "/bad/" in path]
