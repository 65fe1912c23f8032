"""Anticipated failures have types; a broad except hides the others (trap 10 of the field)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..tree import Finding, Source, Tree

_OF_A_LOST_SERVER = frozenset({"asyncpg.InterfaceError", "asyncpg.InternalClientError"})
_NAMES_THEM = "backend/kernel/db.py"
_BROAD = frozenset({"Exception", "BaseException", "builtins.Exception", "builtins.BaseException"})


def check(tree: Tree) -> Iterator[Finding]:
    """Bare and broad handlers, also when they re-raise (write try/finally), and broad suppress(). Who lists
    by himself what is raised while PostgreSQL is away forgets one: a worker ended by that."""
    for source in tree.sources:
        for handler in source.of(ast.ExceptHandler):
            if handler.type is None or _is_broad(source, handler.type):
                yield source.finding(handler, "broad except: name the failures you expect")
        for call in source.of(ast.Call):
            if (source.name(call.func) or "").endswith("suppress") and any(
                _is_broad(source, argument) for argument in call.args
            ):
                yield source.finding(call, "broad suppress: name the failures you expect")
        if source.path != _NAMES_THEM:
            for name in source.of(ast.Attribute):
                if source.name(name) in _OF_A_LOST_SERVER:
                    yield source.finding(name, "a list of one's own: catch kernel.db.DATABASE_AWAY")


def _is_broad(source: Source, node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(_is_broad(source, element) for element in node.elts)
    return source.name(node) in _BROAD
