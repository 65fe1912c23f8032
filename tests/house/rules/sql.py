"""Values reach SQL as parameters, never as text: the first argument of a query is a fixed string.

A module constant (UPPER_CASE, made or imported at the top of the file) may be woven in: it is made before
any caller comes and so holds no caller's value (column lists). Only
backend/kernel/db.py (SET LOCAL takes no parameter) and migrations (DDL takes none) compose text.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from ..tree import Finding, Source, Tree

COMPOSERS = ("backend/kernel/db.py", "backend/migrations/")
_QUERIES = frozenset(
    {
        "execute", "executemany", "execute_many", "execute_script", "executescript", "execute_query",
        "execute_query_dict", "execute_insert", "fetch", "fetchrow", "fetchval", "fetchone", "fetchmany",
        "fetch_all", "cursor", "prepare", "raw", "RawSQL",
    }
)  # fmt: skip
_TEXT_BUILDERS = frozenset({"format", "format_map", "join", "replace"})

Assigned = Mapping[str, list[ast.expr]]


def check(tree: Tree) -> Iterator[Finding]:
    """Queries whose text is built at run time, directly or through a local variable."""
    for source in tree.sources:
        if not source.path.startswith(COMPOSERS):
            yield from sorted(set(_built_queries(source)))


def _built_queries(source: Source) -> Iterator[Finding]:
    fixed = _fixed_constants(source)
    scopes: list[tuple[list[ast.Call], Assigned]] = [(list(source.of(ast.Call)), {})]
    for function in source.functions():
        nodes = list(ast.walk(function))
        within = [node for node in nodes if isinstance(node, ast.Call)]
        scopes.append((within, _assigned(nodes)))
    for calls, assigned in scopes:
        for call in calls:
            text = _query_text(call)
            if text is not None and _is_built(text, assigned, fixed):
                yield source.finding(
                    call,
                    "SQL built at run time: pass values as parameters, fixed parts as a module constant",
                )


def _query_text(call: ast.Call) -> ast.expr | None:
    last = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if last not in _QUERIES:
        return None
    if call.args:
        return call.args[0]
    return next((k.value for k in call.keywords if k.arg in {"sql", "query"}), None)


def _fixed_constants(source: Source) -> frozenset[str]:
    made = (name for statement in source.tree.body for name, _ in _bindings(statement))
    return frozenset(name for name in (*made, *source.names) if name.isupper())


def _assigned(nodes: Iterable[ast.AST]) -> Assigned:
    table: dict[str, list[ast.expr]] = defaultdict(list)
    for node in nodes:
        for name, value in _bindings(node):
            table[name].append(value)
    return table


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of every plain name that the statement or expression binds."""
    targets: list[ast.expr] = []
    value: ast.expr | None = None
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
        targets, value = [node.target], node.value
    for target in targets:
        if isinstance(target, ast.Name) and value is not None:
            yield target.id, value


def _is_built(node: ast.expr, assigned: Assigned, fixed: frozenset[str], depth: int = 4) -> bool:
    def built(part: ast.expr) -> bool:
        return depth > 0 and _is_built(part, assigned, fixed, depth - 1)

    match node:
        case ast.JoinedStr():
            values = [v.value for v in node.values if isinstance(v, ast.FormattedValue)]
            return any(not (isinstance(v, ast.Name) and v.id in fixed) for v in values)
        case ast.BinOp(op=ast.Mod()):
            return True
        case ast.BinOp(op=ast.Add()):
            return not (_is_fixed(node.left, fixed) and _is_fixed(node.right, fixed))
        case ast.Call(func=ast.Attribute(attr=attr)):
            return attr in _TEXT_BUILDERS
        case ast.IfExp():
            return built(node.body) or built(node.orelse)
        case ast.Name():
            return any(built(value) for value in assigned.get(node.id, ()))
    return False


def _is_fixed(node: ast.expr, fixed: frozenset[str]) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Name():
            return node.id in fixed
        case ast.BinOp(op=ast.Add()):
            return _is_fixed(node.left, fixed) and _is_fixed(node.right, fixed)
    return False
