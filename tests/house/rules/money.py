"""No float and no true division where money is moved, priced or shown (C2).

A name that ends with `_s` or `_seconds` holds a time, not money, and may be a float; so may the
argument of asyncio.timeout. `/` stays the joint of paths: an operand that is a text or is named as a
path is one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..tree import Finding, Source, Tree

MONEY = (
    "backend/ledger/", "backend/topups/", "backend/tariffs/", "backend/control/", "backend/journeys/",
    "backend/kernel/money.py", "workers/drivers/", "schema/",
)  # fmt: skip
SDL = "schema/schema.graphql"
_SECONDS = re.compile(r"(_s|_seconds)$", re.IGNORECASE)
_PATHLIKE = re.compile(r"(^|_)(path|dir|folder|root|here)$", re.IGNORECASE)
_TIMEOUTS = frozenset({"asyncio.timeout", "asyncio.wait_for", "asyncio.sleep"})
_FLOAT_FIELD = re.compile(r":\s*\[?Float\b")


def check(tree: Tree) -> Iterator[Finding]:
    """Float literals, the name float, and `/` in the rooms of money; Float in the printed schema."""
    for source in tree.sources:
        if source.path.startswith(MONEY):
            yield from _floats(source)
            yield from _divisions(source)
    for path in tree.files:
        if path == SDL:
            for number, line in enumerate((tree.text(path) or "").splitlines(), start=1):
                if _FLOAT_FIELD.search(line):
                    yield Finding(path, number, "Float in the schema: a decimal string instead")


def _floats(source: Source) -> Iterator[Finding]:
    times = _times(source)
    for constant in source.of(ast.Constant):
        is_float = isinstance(constant.value, float) or constant.value == "float"
        if is_float and id(constant) not in times:
            yield source.finding(
                constant, "a float where money is: use int, Money or a decimal text"
            )
    for name in source.of(ast.Name):
        if name.id == "float" and id(name) not in times:
            yield source.finding(name, "float where money is: use int, Money or Decimal")


def _times(source: Source) -> frozenset[int]:
    """`id()` of the nodes that belong to a name of seconds."""
    spans: list[ast.AST | None] = []
    for function in source.functions():
        spans.extend(_time_arguments(function.args))
        if _SECONDS.search(function.name):
            spans.append(function.returns)
    for field in source.of(ast.AnnAssign):
        if _SECONDS.search(_target(field.target)):
            spans.extend((field.annotation, field.value))
    for assign in source.of(ast.Assign):
        if all(_SECONDS.search(_target(target)) for target in assign.targets):
            spans.append(assign.value)
    for keyword in source.of(ast.keyword):
        if _SECONDS.search(keyword.arg or ""):
            spans.append(keyword.value)
    for call in source.of(ast.Call):
        if source.name(call.func) in _TIMEOUTS:
            spans.extend(call.args)
    return frozenset(id(node) for span in spans if span is not None for node in ast.walk(span))


def _time_arguments(arguments: ast.arguments) -> Iterator[ast.AST | None]:
    """Annotations and defaults of the arguments that are times."""
    positional = [*arguments.posonlyargs, *arguments.args]
    bare: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*bare, *arguments.defaults, *arguments.kw_defaults]
    for argument, default in zip([*positional, *arguments.kwonlyargs], defaults, strict=True):
        if _SECONDS.search(argument.arg):
            yield from (argument.annotation, default)


def _target(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _divisions(source: Source) -> Iterator[Finding]:
    for operation in source.of(ast.BinOp):
        if isinstance(operation.op, ast.Div) and not _joins_paths(operation):
            yield source.finding(
                operation, "true division makes a float: use // or divmod, say who rounds"
            )
    for step in source.of(ast.AugAssign):
        if isinstance(step.op, ast.Div):
            yield source.finding(
                step, "true division makes a float: use // or divmod, say who rounds"
            )


def _joins_paths(operation: ast.BinOp) -> bool:
    left, right = operation.left, operation.right
    if isinstance(right, ast.Constant) and isinstance(right.value, str):
        return True
    if isinstance(left, ast.BinOp) and isinstance(left.op, ast.Div):
        return _joins_paths(left)
    if isinstance(left, ast.Call):
        return _target(left.func) in {"Path", "PurePath", "files", "cwd", "home"}
    return bool(_PATHLIKE.search(_target(left)))
