"""100 % docstrings on public names: modules, classes, functions and methods of the product."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..tree import Finding, Source, Tree

_EXEMPT_CLASSES = frozenset({"Meta"})  # Tortoise's own inner class: options, not a public name
_EXEMPT_DECORATORS = frozenset({"overload", "setter", "deleter"})


def check(tree: Tree) -> Iterator[Finding]:
    """Public names without a docstring. A leading underscore makes a name private."""
    for source in tree.sources:
        stem = source.path.split("/")[-1].removesuffix(".py")
        if stem.startswith("_") and not stem.startswith("__"):
            continue
        if ast.get_docstring(source.tree) is None:
            yield source.finding(1, "the module says nothing of itself")
        yield from _members(source, source.tree.body, "")


def _members(source: Source, body: list[ast.stmt], prefix: str) -> Iterator[Finding]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            yield from _members(source, [*node.body, *node.orelse], prefix)
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_") or node.name in _EXEMPT_CLASSES:
            continue
        if _EXEMPT_DECORATORS & {_last(decorator) for decorator in node.decorator_list}:
            continue
        if ast.get_docstring(node) is None:
            yield source.finding(node, f"{prefix}{node.name} has no docstring")
        if isinstance(node, ast.ClassDef):
            yield from _members(source, node.body, f"{node.name}.")


def _last(decorator: ast.expr) -> str:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
