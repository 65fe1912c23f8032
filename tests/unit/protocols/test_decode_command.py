"""`shuidian frame decode`, run as the person runs it: one frame, or a file of frames by the line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
_TREE = json.loads((ROOT / "tests/vectors/meter-vectors.json").read_text("utf-8"))
VECTORS: list[dict[str, Any]] = _TREE["vectors"]
WATER = next(v for v in VECTORS if v["id"] == "cjt188-open-01")


def _run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", "frame", "decode", *arguments],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def _batch(*lines: bytes | dict[str, Any]) -> list[dict[str, Any]]:
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    done = _run("--batch", stdin=b"\n".join(raw) + b"\n")
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_frame_is_told_as_one_json_object() -> None:
    done = _run("--protocol", "cjt188", "--request", WATER["request_hex"], WATER["response_hex"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"ok": True} | WATER["decoded"]["response"]
    spaced = _run("--protocol", "cjt188", *WATER["request_hex"].lower().split())
    assert json.loads(spaced.stdout) == {"ok": True} | WATER["decoded"]["request"]


@pytest.mark.parametrize("wrong", _TREE["negative"], ids=lambda wrong: str(wrong["id"]))
def test_a_wrong_frame_is_refused_with_its_reason_and_exit_code_1(wrong: dict[str, Any]) -> None:
    done = _run("--protocol", wrong["protocol"], wrong["frame_hex"])
    assert (done.returncode, done.stderr) == (1, b"")
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert told["reason"].startswith(wrong["expect"].split(")")[0].split(":")[0])


def test_what_is_not_hexadecimal_is_refused_with_exit_code_1() -> None:
    done = _run("--protocol", "modbus-rtu", "01 0")
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] == "the frame is not written in hexadecimal digits"


@pytest.mark.parametrize(
    "arguments",
    [(), ("--protocol", "cjt188"), ("68",), ("--protocol", "dlms", "68"), ("--batch", "68")],
)
def test_a_wrong_use_says_how_to_use_it(arguments: tuple[str, ...]) -> None:
    done = _run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"usage: " in done.stderr


def test_a_batch_answers_every_public_frame() -> None:
    lines, said = [], []
    for vector in VECTORS:
        request = vector.get("request_hex")
        for side, asked in (("request", None), ("response", request)):
            if f"{side}_hex" in vector and vector["protocol"] != "acrel-4g-7b7b":
                lines.append(
                    {
                        "protocol": vector["protocol"],
                        "hex": vector[f"{side}_hex"],
                        "request_hex": asked,
                    }
                )
                said.append(vector["decoded"][side])
    answers = _batch(*lines)
    assert len(answers) == len(lines)
    for answer, fields in zip(answers, said, strict=True):
        assert answer.pop("ok") is True
        assert answer.keys() == fields.keys()
        answer.pop("values", None)
        fields.pop("values", None)
        assert answer == fields


def test_a_bad_line_gets_its_refusal_and_the_next_line_its_answer() -> None:
    good = {"protocol": "cjt188", "hex": WATER["response_hex"]}
    bad: list[bytes | dict[str, Any]] = [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"[" * 100_000,
        b'{"protocol": "cjt188", "hex": ' + b"1" * 5000 + b"}",
        {},
        {"protocol": 1, "hex": "68"},
        {"protocol": "cjt188"},
        {"protocol": "cjt188", "hex": "zz"},
        {"protocol": "cjt188", "hex": ""},
        {"protocol": "cjt188", "hex": "68", "request_hex": 5},
        {"protocol": "cjt188", "hex": "68", "request_hex": "6"},
        {"protocol": "dlms", "hex": "7e"},
        {"protocol": "modbus-rtu", "hex": "01 83 02 C0 F0"},
    ]
    answers = _batch(*(line for one in bad for line in (one, good)))
    assert len(answers) == 2 * len(bad)
    for refused, answered in zip(answers[::2], answers[1::2], strict=True):
        assert refused.keys() == {"ok", "reason"}
        assert refused["ok"] is False
        assert refused["reason"]
        assert answered == {"ok": True} | WATER["decoded"]["response"]


def test_a_batch_answers_each_line_at_once_not_at_the_end() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "backend.cli", "frame", "decode", "--batch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        line = json.dumps({"protocol": "modbus-rtu", "hex": "01 83 02 C0 F1"}).encode() + b"\n"
        for _ in range(2):
            running.stdin.write(line)
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["exception"] == 2
        running.stdin.close()
        assert running.wait(timeout=30) == 0


def test_one_frame_does_not_wait_for_the_whole_product() -> None:
    code = (
        "import sys; from backend.cli import main;"
        "main(['frame', 'decode', '--protocol', 'cjt188', '68']);"
        "sys.stderr.write(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=ROOT,
        timeout=60,
        check=True,
        text=True,
    )
    loaded = set(done.stderr.split())
    assert {"backend", "workers"} <= loaded
    assert not loaded & {
        "tortoise",
        "strawberry",
        "uvicorn",
        "asyncpg",
        "arq",
        "pymodbus",
        "schema",
    }
