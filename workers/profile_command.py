"""`shuidian profile check FILE`: what is wrong with a new meter model's file, for a field engineer;
`shuidian profile list`: the models that ship, and how far each part of them can be trusted."""

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
    word = words.add_parser("list", help="the models that ship and their grades of evidence")
    word.add_argument("--markdown", action="store_true", help="as the table of docs/meters.md")
    word.add_argument("--update", type=Path, metavar="FILE", help="renew the table inside FILE")
    word.set_defaults(run=_list)


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


def _list(options: argparse.Namespace) -> int:
    """0; 1 when FILE has no table to renew."""
    from workers.profiles.table import markdown_table, model_rows, plain_table, updated

    rows = model_rows()
    if options.update is None:
        sys.stdout.write(markdown_table(rows) if options.markdown else plain_table(rows))
        return 0
    try:
        text = updated(options.update.read_text(encoding="utf-8"), rows)
        options.update.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{options.update}: {error}\n")
        return 1
    return 0
