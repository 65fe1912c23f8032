"""One file reads the wall clock; rules and operations get an instant (styles example 2).

A decision that asks for the time cannot be replayed (C18) and cannot be tested at midnight, at the
end of a month or at a tariff change without waiting for it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..tree import Finding, Source, Tree

CLOCK_FILE = "backend/kernel/clock.py"
LOOP_TIME = ("workers/links/",)
STOPWATCHES = (
    "schema/", "bots/", "workers/", "backend/sandbox/", "backend/demo/", "backend/chaos/",
    "backend/cli.py", "backend/cli/", "backend/asgi.py",
)  # fmt: skip
_DECIDING = frozenset({"rules.py", "operations.py", "queries.py"})
_CLOCKLESS = frozenset({"rules.py", "operations.py"})

_WALL = frozenset(
    {
        "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today",
        "datetime.date.today", "time.time", "time.time_ns", "time.localtime", "time.gmtime",
        "time.ctime", "time.clock_gettime", "time.clock_gettime_ns", "tortoise.timezone.now",
    }
)  # fmt: skip
_STOPWATCH = frozenset(
    {"time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"}
)
_CLOCKS = frozenset(f"backend.kernel.clock.{name}" for name in ("Clock", "SystemClock", "SetClock"))
_LOOPS = frozenset({"asyncio.get_running_loop", "asyncio.get_event_loop"})


def check(tree: Tree) -> Iterator[Finding]:
    """Every read of a clock at a place that should have been told the time."""
    for source in tree.sources:
        if source.path == CLOCK_FILE:
            continue
        yield from _reads(source)
        yield from _loop_times(source)
        for keyword in source.of(ast.keyword):
            if keyword.arg in {"auto_now", "auto_now_add"}:
                yield source.finding(
                    keyword.value, f"{keyword.arg} reads the clock: pass the instant"
                )
        if PurePosixPath(source.path).name in _CLOCKLESS:
            yield from _clocks_taken(source)


def _reads(source: Source) -> Iterator[Finding]:
    may_stopwatch = (
        source.path.startswith(STOPWATCHES) and PurePosixPath(source.path).name not in _DECIDING
    )
    for node in source.references():
        name = source.name(node)
        if name in _WALL:
            yield source.finding(node, f"{name} reads the clock: take an instant as an argument")
        elif name in _STOPWATCH and not may_stopwatch:
            yield source.finding(node, f"{name} belongs to the edges")


def _loop_times(source: Source) -> Iterator[Finding]:
    if source.path.startswith(LOOP_TIME):
        return
    for node in source.of(ast.Attribute):
        if node.attr != "time":
            continue
        of = node.value
        called = isinstance(of, ast.Call) and source.name(of.func) in _LOOPS
        if called or (source.name(of) or "").split(".")[-1].lstrip("_") in {"loop", "event_loop"}:
            yield source.finding(node, "the loop's time is for workers/links only")


def _clocks_taken(source: Source) -> Iterator[Finding]:
    for node in source.references():
        if source.name(node) in _CLOCKS:
            yield source.finding(node, "takes a Clock: it should get the instant")
    for line in source.of(ast.ImportFrom):
        if any(full in _CLOCKS for _, full, _ in source.imported(line)):
            yield source.finding(line, "imports a Clock: it should get the instant")
    for argument in source.of(ast.arg):
        if argument.arg == "clock":
            yield source.finding(argument, "takes a clock: it should get the instant")
