"""`shuidian frame decode`: what a captured meter frame says, as JSON. Imports the codecs and nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import BinaryIO, TextIO

from backend.kernel.errors import DomainError
from workers.protocols.decode import PROTOCOLS, decode

_Answer = dict[str, object]


def add_words(parser: argparse.ArgumentParser) -> None:
    """Put the words and options of `frame` on `parser`; `options.run(options)` gives the exit code."""
    words = parser.add_subparsers(required=True, metavar="WORD")
    word = words.add_parser(
        "decode", help="say what one frame, or each line of standard input, holds"
    )
    word.add_argument("--protocol", choices=(*PROTOCOLS, "acrel-4g-7b7b"))
    word.add_argument(
        "--request", metavar="HEX", help="the frame that was asked: HEX is its answer"
    )
    word.add_argument(
        "--batch",
        action="store_true",
        help='JSON lines {"protocol", "hex", "request_hex"} in and out',
    )
    word.add_argument("hex", nargs="*", metavar="HEX", help="the frame; spaces do not matter")
    word.set_defaults(run=_decode, usage_error=word.error)


def answer_lines(lines: Iterable[bytes], out: TextIO) -> None:
    """Answer each JSON line of `lines` with one on `out`, at once; a bad one does not stop the rest."""
    for line in lines:
        out.write(json.dumps(_answer_line(line)) + "\n")
        out.flush()


def _decode(options: argparse.Namespace) -> int:
    if options.batch:
        if options.hex or options.protocol or options.request:
            options.usage_error("--batch takes frames from standard input only")
        source: BinaryIO = sys.stdin.buffer
        answer_lines(source, sys.stdout)
        return 0
    if not options.protocol or not options.hex:
        options.usage_error("--protocol and HEX are needed (or --batch)")
    answer = _answer(options.protocol, "".join(options.hex), options.request)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if answer["ok"] else 1


def _answer_line(line: bytes) -> _Answer:
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        return _refused("the line is not JSON")
    if not isinstance(asked, dict):
        return _refused("the line is not a JSON object")
    protocol, raw, request = asked.get("protocol"), asked.get("hex"), asked.get("request_hex")
    if not isinstance(protocol, str):
        return _refused("protocol is missing or no text")
    if not isinstance(raw, str):
        return _refused("hex is missing or no text")
    if not isinstance(request, str | None):
        return _refused("request_hex is no text")
    return _answer(protocol, raw, request)


def _answer(protocol: str, raw: str, request: str | None) -> _Answer:
    try:
        frame = bytes.fromhex(raw)
        asked = None if request is None else bytes.fromhex(request)
    except ValueError:
        return _refused("the frame is not written in hexadecimal digits")
    try:
        return {"ok": True} | decode(protocol, frame, asked)
    except DomainError as error:
        return _refused(error.message)


def _refused(reason: str) -> _Answer:
    return {"ok": False, "reason": reason}
