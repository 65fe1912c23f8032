"""Finished or not there: no note of work undone, no stub, no check silenced without a reason."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from ..tree import Finding, Source, Tree

_HINT = re.compile(r"TODO|FIXME|XXX|HACK|noqa|type:\s*ignore", re.IGNORECASE)
_UNDONE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_NOQA = re.compile(r"#\s*(ruff:\s*)?noqa", re.IGNORECASE)
_IGNORE = re.compile(r"#\s*type:\s*ignore(?P<codes>\[[\w, -]+\])?(?P<rest>.*)$")


def check(tree: Tree) -> Iterator[Finding]:
    """Notes of work undone, stubs, `noqa`, and `type: ignore` that is wide or unexplained."""
    for source in (*tree.sources, *tree.tests):
        if _HINT.search(source.text):
            yield from _comments(source)
    for source in tree.sources:
        for name in source.of(ast.Name):
            if name.id == "NotImplementedError":
                yield source.finding(name, "a stub: write it or leave it out")


def _comments(source: Source) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if _UNDONE.search(token.string):
            yield source.finding(line, "work undone: do it, or write it where it will be seen")
        if _NOQA.search(token.string):
            yield source.finding(line, "a silenced lint: obey it or change the rule")
        ignore = _IGNORE.search(token.string)
        if ignore is not None and not (ignore["codes"] and "#" in ignore["rest"]):
            yield source.finding(line, "type: ignore needs a [code] and a `# reason` after it")
