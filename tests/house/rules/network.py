"""Commit, call, commit: nothing of the network waits inside a transaction (trap 8 of the field).

Inside means: in the body of `async with unit_of_work(...)`, or anywhere in a function that is handed
the unit of work. A slow channel would hold row locks and a pooled connection; a task started there
inherits the connection and outlives it (T6 of docs/adr/0003).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..tree import Finding, Function, Source, Tree

_PORT_METHODS = frozenset({"prepay", "query", "close", "refund", "bill", "send", "exchange"})
_PORTS = frozenset({"channel", "notifier", "messenger", "lane", "link", "http", "client"})
_ANY_METHOD = frozenset({"http", "client"})
_TASKS = frozenset({"create_task", "ensure_future", "run_in_executor", "start_soon"})
_ASYNCIO = frozenset(
    f"asyncio.{name}" for name in ("to_thread", "gather", "sleep", "open_connection")
)
_NETWORK_MODULES = ("httpx.", "requests.", "urllib.request.", "aiohttp.")
_BARRIERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def check(tree: Tree) -> Iterator[Finding]:
    """Calls of ports, HTTP, threads and new tasks inside a transaction."""
    for source in tree.sources:
        found: set[Finding] = set()
        for body in _transactions(source):
            for node in _inside(body):
                found.update(_breaches(source, node))
        yield from sorted(found)


def _transactions(source: Source) -> Iterator[list[ast.stmt]]:
    for block in source.of(ast.AsyncWith):
        for item in block.items:
            call = item.context_expr
            name = source.name(call.func) if isinstance(call, ast.Call) else None
            if name is not None and name.split(".")[-1] == "unit_of_work":
                yield block.body
    for function in source.functions():
        if _is_handed_the_work(function):
            yield function.body


def _is_handed_the_work(function: Function) -> bool:
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return any(
        argument.arg in {"work", "uow"}
        or (
            argument.annotation is not None
            and ast.unparse(argument.annotation).endswith("UnitOfWork")
        )
        for argument in arguments
    )


def _inside(body: list[ast.stmt]) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _BARRIERS):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def _breaches(source: Source, node: ast.AST) -> Iterator[Finding]:
    if not isinstance(node, ast.Call):
        return
    name = source.name(node.func) or ""
    if name in _ASYNCIO or f"{name}.".startswith(_NETWORK_MODULES):
        yield source.finding(node, f"{name} inside a transaction: commit first, then call")
    elif isinstance(node.func, ast.Attribute):
        words = _words(node.func.value)
        method = node.func.attr
        if method in _TASKS:
            yield source.finding(
                node, "a task started inside a transaction inherits its connection"
            )
        elif (words & _PORTS and method in _PORT_METHODS) or words & _ANY_METHOD:
            yield source.finding(node, f".{method}() inside a transaction: commit first, then call")


def _words(receiver: ast.expr) -> frozenset[str]:
    """The words of the last name of a receiver: `self._wechat_channel` -> wechat, channel."""
    match receiver:
        case ast.Attribute(attr=last) | ast.Name(id=last):
            words = re.split(r"_+", last.lower())
            return frozenset(word.removesuffix("s") for word in words)
        case ast.Subscript(value=inner) | ast.Await(value=inner) | ast.Call(func=inner):
            return _words(inner)
    return frozenset()
