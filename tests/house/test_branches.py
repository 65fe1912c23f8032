"""What `make coverage` says of code that no test walks, and that a remark in the code does not silence it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = """\
def sign(amount):
    if amount < 0:
        return -1  # pragma: no cover
    word = 1
    if amount:
        word = 2
    return word
"""
TEST = """\
from half import sign

def test_some():
    assert sign(5) == 2
"""
ALL = """
def test_the_rest():
    assert (sign(-5), sign(0)) == (-1, 1)
"""


def test_a_line_and_a_branch_that_no_test_walks_are_told_until_one_does(tmp_path: Path) -> None:
    code, test = tmp_path / "half.py", tmp_path / "test_half.py"
    code.write_text(CODE)
    test.write_text(TEST)

    def look(*files: Path) -> tuple[int, list[str], int]:
        done = subprocess.run(
            [sys.executable, "-m", "tests.coverage", *map(str, files), "--tests", str(test)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = re.findall(r"(?:half|other)\.py.*", done.stderr)
        return done.returncode, told, json.loads(done.stdout.splitlines()[-1])["missed"]

    expected = ["half.py:3 is never reached", "half.py:5 never goes to line 7"]
    assert look(code) == (1, expected, 2)
    unloaded = tmp_path / "other.py"
    unloaded.write_text("x = 1\n")
    assert look(unloaded) == (1, ["other.py is not loaded by any test"], 1)
    test.write_text(TEST + ALL)
    assert look(code) == (0, [], 0)
    test.write_text(TEST + ALL + "    assert False\n")
    assert look(code) == (1, [], 0)
