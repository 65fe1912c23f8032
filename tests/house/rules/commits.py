"""backend/kernel/db.py opens, commits and rolls back; nobody else (trap 7 of the field).

Nothing is left on a pooled connection either: what is set is SET LOCAL, a lock ends with its transaction
(pg_advisory_xact_lock). The pool does not clear connections that come back. Who listens or holds a lock has a
connection of its own, by `connect` of that file: asyncpg's own would not notice that its server vanished.

SQLite files of the on-site box, of the simulated site and of the stand-in channels are other people's
machines: they commit their own files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ..tree import Finding, Source, Tree

COMMIT_FILE = "backend/kernel/db.py"
_CONNECT = "backend.kernel.db.connect"
OTHER_MACHINES = ("workers/virtual/", "workers/gateway/", "backend/sandbox/")
# What looks on in chaos and simulation ends with its run.
_ONLOOKERS = ("backend/chaos/",)

_STATEMENT = re.compile(
    r"(?:^|;)\s*(?:BEGIN|COMMIT|ROLLBACK|START\s+TRANSACTION)\b\s*(?:;|$|WORK|TRANSACTION|ISOLATION)"
)
_LEFT_BEHIND = re.compile(
    r"(?:^|;)\s*(?:SET\s+(?!LOCAL\b|[a-z_]+\s*=)|LISTEN\s)|\bpg_(?:try_)?advisory_lock\b"
)
_ENDS = frozenset({"commit", "rollback", "transaction"})


def check(tree: Tree) -> Iterator[Finding]:
    """Transactions opened or ended outside the unit of work."""
    for source in tree.sources:
        if source.path == COMMIT_FILE:
            continue
        yield from _orm(source)
        if not source.path.startswith(OTHER_MACHINES):
            yield from _calls(source)
        if not source.path.startswith((*OTHER_MACHINES, *_ONLOOKERS)):
            yield from _connections(source)
            yield from _statements(source, _STATEMENT, "transaction statements are for")
        if not _has_a_connection_of_its_own(source):
            yield from _statements(
                source, _LEFT_BEHIND, "what outlives a transaction is not even for"
            )


def _orm(source: Source) -> Iterator[Finding]:
    for node in source.imports():
        if any(
            f"{full}.".startswith("tortoise.transactions.") for _, full, _ in source.imported(node)
        ):
            yield source.finding(node, "tortoise.transactions is for backend/kernel/db.py only")
    for use in source.references():
        last = use.attr if isinstance(use, ast.Attribute) else use.id
        if last.lstrip("_") == "in_transaction":
            yield source.finding(use, "open a unit_of_work instead")


def _calls(source: Source) -> Iterator[Finding]:
    for call in source.of(ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr in _ENDS:
            yield source.finding(call, f".{call.func.attr}() is for backend/kernel/db.py only")


def _connections(source: Source) -> Iterator[Finding]:
    for call in source.of(ast.Call):
        if ast.unparse(call.func) == "asyncpg.connect":
            yield source.finding(call, f"{_CONNECT} notices that a server vanished")


def _has_a_connection_of_its_own(source: Source) -> bool:
    """Such a one ends with the work that it was made for."""
    called = (ast.unparse(call.func) for call in source.of(ast.Call))
    return any(source.names.get(each, each) in (_CONNECT, "asyncpg.connect") for each in called)


def _statements(source: Source, told: re.Pattern[str], why: str) -> Iterator[Finding]:
    for constant in source.of(ast.Constant):
        text = constant.value
        if isinstance(text, str) and id(constant) not in source.docstrings and told.search(text):
            yield source.finding(constant, f"{why} backend/kernel/db.py")
