"""`shuidian profile check FILE`: what is wrong with a new meter model's file, for a field engineer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_words(parser: argparse.ArgumentParser) -> None:
    """Put the words of `profile` on `parser`; `options.run(options)` gives the exit code."""
    words = parser.add_subparsers(required=True, metavar="WORD")
    word = words.add_parser("check", help="name what is wrong with profile files, key by key")
    word.add_argument("files", nargs="+", type=Path, metavar="FILE")
    word.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    """0 when every file is right, 1 when one is not; a line a fault."""
    from workers.profiles.loader import check_profile

    wrong = 0
    for path in options.files:
        try:
            faults = check_profile(path)
        except OSError as error:
            faults = [f"cannot be read: {error.strerror}"]
        wrong += bool(faults)
        for line in faults or ["ok"]:
            sys.stdout.write(f"{path}: {line}\n")
    return 1 if wrong else 0
