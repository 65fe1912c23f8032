"""`shuidian statement verify`: an auditor needs the files and a public key (A2)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from backend.cli import main
from backend.kernel.secrets import SecretBox
from backend.reconcile.statement_rules import StatementKeys, canonical

from .test_statement_signing import BODY, KEYS, NEW, OLD, next_day

SECRET_KEYS = ",".join(f"{n}:{base64.b64encode(k).decode()}" for n, k in ((1, OLD), (2, NEW)))
PUBLIC = [base64.b64encode(public).decode() for public in KEYS.public.values()]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two days as files."""
    paths = [tmp_path / "1.json", tmp_path / "2.json"]
    for path, body in zip(paths, (BODY, next_day()), strict=True):
        path.write_text(KEYS.sign(canonical(body)).file, encoding="utf-8")
    return [str(path) for path in paths]


def run(*words: str) -> int:
    """The command's exit code."""
    return main(["statement", "verify", *words])


def test_files_hold_by_public_keys_alone(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHUIDIAN_SECRET_KEYS", raising=False)
    assert run(*files, *(word for key in PUBLIC for word in ("--public-key", key))) == 0
    told = capsys.readouterr().out.splitlines()
    assert "2026-11-22" in told[0]
    assert "after nothing" in told[0]
    assert "follows the file before" in told[1]


def test_files_hold_by_the_keys_of_the_installation(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUIDIAN_SECRET_KEYS", SECRET_KEYS)
    assert run(*files) == 0


def test_a_file_that_was_changed_is_out_of_order_or_a_strangers_exits_with_words(
    files: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = [word for key in PUBLIC for word in ("--public-key", key)]
    assert run(*reversed(files), *keys) == 2
    assert "1.json: the statement does not follow" in capsys.readouterr().err
    changed = tmp_path / "changed.json"
    changed.write_text(
        Path(files[0]).read_text(encoding="utf-8").replace("50.00", "51.00"), "utf-8"
    )
    assert run(str(changed), *keys) == 2
    assert "not the one that was hashed" in capsys.readouterr().err
    (stranger,) = StatementKeys(SecretBox({1: b"9" * 32})).public.values()
    assert run(files[0], "--public-key", base64.b64encode(stranger).decode()) == 2
    assert "is not known here" in capsys.readouterr().err
    for wrong in ("nonsense!", "QUJD"):
        assert run(files[0], "--public-key", wrong) == 2
    assert run(str(tmp_path / "none.json"), *keys) == 2
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert run(str(tmp_path / "bytes"), *keys) == 2
