"""Small wrong changes (mutants) of a source file's functions, one at a time.

What is changed is what mutmut changes: comparisons, arithmetic, `and`/`or`/`not`, constants, `min`/`max`,
conditions, what is assigned and what is returned. Left alone: annotations, docstrings, the words of errors
(inside `raise`, and f-strings), and what stands outside functions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

_COMPARED: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}
_COUNTED: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.FloorDiv(),
    ast.FloorDiv: ast.Mult(),
    ast.Mod: ast.FloorDiv(),
    ast.BitOr: ast.BitAnd(),
    ast.BitAnd: ast.BitOr(),
}
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_CONDITIONAL = ast.If | ast.While | ast.IfExp


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `function` is its qualified name, `first_line` where its code begins, `code` what it does
    with the change in."""

    path: str
    line: int
    function: str
    first_line: int
    change: str
    code: CodeType


def mutants_of(path: Path, *, named: str) -> Iterator[Mutant]:
    """All mutants of a file; `named` is what their `path` says."""
    tree = ast.parse(path.read_text("utf-8"))
    for qualified, function in _functions(tree.body, ""):
        first = min([function.lineno, *(each.lineno for each in function.decorator_list)])
        for node, field, value, change in _changes(function):
            before = getattr(node, field)
            setattr(node, field, value)
            code = _code_of(compile(tree, str(path), "exec"), qualified, first)
            setattr(node, field, before)
            yield Mutant(named, node.lineno, qualified, first, change, code)


def _functions(body: list[ast.stmt], within: str) -> Iterator[tuple[str, _Function]]:
    """Functions and methods with their qualified names; those inside functions belong to the outer one."""
    for node in body:
        if isinstance(node, _Function):
            yield within + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{within}{node.name}.")


def _code_of(code: CodeType, qualified: str, first_line: int) -> CodeType:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if (inner.co_qualname, inner.co_firstlineno) == (qualified, first_line):
                return inner
            if qualified.startswith(f"{inner.co_qualname}."):
                return _code_of(inner, qualified, first_line)
    raise LookupError(qualified)


_Change = tuple[Any, str, Any, str]


def _changes(function: _Function) -> Iterator[_Change]:
    """What may be changed: the node, its field, the value it gets, and how to tell it."""
    start = 1 if ast.get_docstring(function, clean=False) is not None else 0
    for statement in function.body[start:]:
        for node in _walk(statement):
            yield from _changes_of(node)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is below it, without what is left alone."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert):
        return
    yield node
    for name, child in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for each in child if isinstance(child, list) else [child]:
            if isinstance(each, ast.AST):
                yield from _walk(each)


def _changes_of(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Compare(ops=[ast.cmpop() as operation]):
            other = _COMPARED[type(operation)]
            yield node, "ops", [other], _told(operation, other)
        case ast.BinOp(op=operation) | ast.AugAssign(op=operation):
            if instead := _COUNTED.get(type(operation)):
                yield node, "op", instead, _told(operation, instead)
        case ast.BoolOp(op=ast.And()):
            yield node, "op", ast.Or(), "and -> or"
        case ast.BoolOp(op=ast.Or()):
            yield node, "op", ast.And(), "or -> and"
        case ast.UnaryOp(op=ast.USub()):
            yield node, "op", ast.UAdd(), "-x -> +x"
        case ast.Constant(value=bool() as truth):
            yield node, "value", not truth, f"{truth} -> {not truth}"
        case ast.Constant(value=int() as number):
            yield node, "value", number + 1, f"{number} -> {number + 1}"
        case ast.Constant(value=str() as text):
            yield node, "value", f"XX{text}XX", f"{text!r} -> XX..XX"
        case ast.Name(id=str() as name) if name in _CALLED:
            yield node, "id", _CALLED[name], f"{name} -> {_CALLED[name]}"
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield node, "value", _none(value), "return .. -> return None"
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            if not _is_none(value):
                yield node, "value", _none(value), "= .. -> = None"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            twice = ast.copy_location(ast.UnaryOp(ast.Not(), operand), operand)
            yield node, "operand", twice, "not x -> x"
    if isinstance(node, _CONDITIONAL) and not _told_already(node.test):
        yield node, "test", _negated(node.test), "condition -> not"


def _told_already(test: ast.expr) -> bool:
    """Whether a condition turns round by a change of its own."""
    return isinstance(test, ast.UnaryOp) or (
        isinstance(test, ast.Compare)
        and isinstance(test.ops[0], ast.Eq | ast.NotEq | ast.Is | ast.IsNot)
    )


def _negated(test: ast.expr) -> ast.expr:
    return ast.copy_location(ast.UnaryOp(ast.Not(), test), test)


def _none(like: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Constant(None), like)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _told(before: ast.AST, after: ast.AST) -> str:
    return f"{type(before).__name__} -> {type(after).__name__}"
