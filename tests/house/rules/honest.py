"""A test that cannot fail, is skipped or waits by the watch proves nothing.

Two things are allowed: `asyncio.sleep(0)` gives way to other tasks and waits for nothing; a `skipif`
may ask what the machine is (`sys.platform`, `os.geteuid()`), never what happens to be missing on it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ..tree import Finding, Function, Source, Tree

_SLEEPS = frozenset({"time.sleep", "asyncio.sleep", "anyio.sleep"})
_SKIPS = frozenset(
    {
        "pytest.skip", "pytest.xfail", "pytest.importorskip", "pytest.mark.skip",
        "pytest.mark.xfail", "unittest.skip", "unittest.skipIf", "unittest.skipUnless",
        "unittest.expectedFailure", "unittest.SkipTest",
    }
)  # fmt: skip
_MACHINE = frozenset({"sys.platform", "os.geteuid"})
_RAISES = frozenset({"pytest.raises", "pytest.warns"})
_CLAIMS = ("assert", "expect", "check")


def check(tree: Tree) -> Iterator[Finding]:
    """Sleeps, skips and tests without a claim."""
    for source in tree.tests:
        yield from _sleeps(source)
        for node in source.references():
            if source.name(node) in _SKIPS:
                yield source.finding(node, "a skipped test is a rule nobody holds")
        for call in source.of(ast.Call):
            if source.name(call.func) == "pytest.mark.skipif" and not _asks_the_machine(
                source, call
            ):
                yield source.finding(call, "skipif may ask only what the machine is")
        if source.path.split("/")[-1].startswith("test_"):
            for function in source.functions():
                if function.name.startswith("test_") and not _claims(source, function):
                    yield source.finding(function, f"{function.name} claims nothing")


def _sleeps(source: Source) -> Iterator[Finding]:
    for call in source.of(ast.Call):
        name = source.name(call.func)
        if name not in _SLEEPS:
            continue
        gives_way = (
            name == "asyncio.sleep"
            and len(call.args) == 1
            and isinstance(call.args[0], ast.Constant)
            and call.args[0].value == 0
        )
        if not gives_way:
            yield source.finding(call, "a sleep in a test: wait on an event or a condition")


def _asks_the_machine(source: Source, call: ast.Call) -> bool:
    condition = call.args[0] if call.args else None
    if not isinstance(condition, ast.Compare):
        return False
    asked = condition.left.func if isinstance(condition.left, ast.Call) else condition.left
    return source.name(asked) in _MACHINE


def _claims(source: Source, function: Function) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            func = node.func
            if source.name(func) in _RAISES:
                return True
            last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if last.lstrip("_").startswith(_CLAIMS):
                return True
    return False
