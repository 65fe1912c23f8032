"""Writes are called by keyword (styles example 3): only the unit of work may come by position."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..tree import Finding, Function, Tree

_WORK = frozenset({"work", "uow"})


def check(tree: Tree) -> Iterator[Finding]:
    """Public functions of operations.py that take positional arguments or say nothing."""
    for source in tree.sources:
        if not (source.path.startswith("backend/") and source.path.endswith("/operations.py")):
            continue
        for statement in source.tree.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from (source.finding(statement, breach) for breach in _breaches(statement))


def _breaches(function: Function) -> Iterator[str]:
    if function.name.startswith("_"):
        return
    arguments = function.args
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    if arguments.vararg is not None or len(positional) > 1 or not _WORK.issuperset(positional):
        yield f"{function.name}: keyword-only, but for one unit of work called `work`"
    if ast.get_docstring(function) is None:
        yield f"{function.name}: a write says what it does and which errors it raises"
