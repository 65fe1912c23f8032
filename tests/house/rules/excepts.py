"""Anticipated failures have types; a broad except hides the others (trap 10 of the field)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..tree import Finding, Source, Tree

_BROAD = frozenset({"Exception", "BaseException", "builtins.Exception", "builtins.BaseException"})


def check(tree: Tree) -> Iterator[Finding]:
    """Bare and broad handlers, also when they re-raise (write try/finally), and broad suppress()."""
    for source in tree.sources:
        for handler in source.of(ast.ExceptHandler):
            if handler.type is None or _is_broad(source, handler.type):
                yield source.finding(handler, "broad except: name the failures you expect")
        for call in source.of(ast.Call):
            if (source.name(call.func) or "").endswith("suppress") and any(
                _is_broad(source, argument) for argument in call.args
            ):
                yield source.finding(call, "broad suppress: name the failures you expect")


def _is_broad(source: Source, node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(_is_broad(source, element) for element in node.elts)
    return source.name(node) in _BROAD
