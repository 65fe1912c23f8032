"""Budgets that keep a file readable at one sitting (reference: median file of the models < 120 lines)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..tree import Finding, Function, Source, Tree

FILE_LINES = 400
TEST_FILE_LINES = 500
FUNCTION_LINES = 70
RESOLVER_LINES = 12

_WEB = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".css", ".html")
_RESOLVER = re.compile(r"(^|_)(field|mutation|subscription|connection)$")


def check(tree: Tree) -> Iterator[Finding]:
    """Files, functions and resolvers over budget."""
    for source in tree.sources:
        yield from _file(source.path, len(source.lines), FILE_LINES)
        yield from _functions(source)
        if source.path.startswith("schema/"):
            yield from _resolvers(source)
    for source in tree.tests:
        yield from _file(source.path, len(source.lines), TEST_FILE_LINES)
        yield from _functions(source)
    for path in tree.files:
        if path.startswith("web/") and path.endswith(_WEB) and "generated" not in path:
            yield from _file(path, len((tree.text(path) or "").splitlines()), FILE_LINES)


def _file(path: str, lines: int, budget: int) -> Iterator[Finding]:
    if lines > budget:
        yield Finding(path, budget + 1, f"{lines} lines, budget {budget}: split it by what it does")


def _functions(source: Source) -> Iterator[Finding]:
    for function in source.functions():
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            yield source.finding(
                function, f"{function.name} has {lines} lines, budget {FUNCTION_LINES}"
            )


def _resolvers(source: Source) -> Iterator[Finding]:
    given = {
        keyword.value.id
        for call in source.of(ast.Call)
        for keyword in call.keywords
        if keyword.arg == "resolver" and isinstance(keyword.value, ast.Name)
    }
    for function in source.functions():
        if function.name not in given and not any(map(_is_resolver, function.decorator_list)):
            continue
        lines = _body_lines(source, function)
        if lines > RESOLVER_LINES:
            yield source.finding(
                function,
                f"resolver {function.name} has {lines} lines of body, budget {RESOLVER_LINES}: "
                "move the decision into an operation, a query or a journey",
            )


def _is_resolver(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    last = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
    return bool(_RESOLVER.search(last))


def _body_lines(source: Source, function: Function) -> int:
    body = function.body
    first = body[0]
    if isinstance(first, ast.Expr) and id(first.value) in source.docstrings:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1
