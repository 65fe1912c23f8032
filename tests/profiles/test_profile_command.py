"""`shuidian profile check` as a field engineer uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "workers" / "profiles" / "ddsy1352-nk.toml"


def _check(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", "profile", "check", *map(str, files)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_right_file_is_told_so() -> None:
    done = _check(SHIPPED)
    assert (done.returncode, done.stdout) == (0, f"{SHIPPED}: ok\n")


def test_a_wrong_file_is_told_by_its_key_and_a_missing_or_broken_one_by_its_name(
    tmp_path: Path,
) -> None:
    wrong, broken = tmp_path / "wrong.toml", tmp_path / "broken.toml"
    text = SHIPPED.read_text(encoding="utf-8")
    assert 'word_order = "big"' in text
    wrong.write_text(
        text.replace('word_order = "big"', 'word_order = "sideways"'), encoding="utf-8"
    )
    broken.write_bytes(b"model = \xff\xfe")
    done = _check(SHIPPED, wrong, broken, tmp_path / "none.toml")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].endswith(": ok")
    assert any(line.startswith(str(wrong)) and "word_order" in line for line in lines)
    assert any(line.startswith(str(broken)) for line in lines)
    assert any(line.startswith(str(tmp_path / "none.toml")) for line in lines)
    assert "Traceback" not in done.stderr
