"""`rules.py` decides and does nothing else: standard library without I/O, and the kernel's words.

Also held here: the product never imports its tests, and the GraphQL edge never imports the ORM
(a resolver calls a query, an operation or a journey).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ..tree import Finding, Tree

# Doors to the world, to chance and to the clock: a decision that uses one cannot be replayed (C18).
_DOORS = frozenset(
    {
        "asyncio", "ctypes", "ftplib", "http", "multiprocessing", "os", "pathlib", "random", "secrets",
        "select", "selectors", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl",
        "subprocess", "tempfile", "threading", "time", "urllib",
    }
)  # fmt: skip
_KERNEL_DOORS = ("backend.kernel.db", "backend.kernel.settings")


def check(tree: Tree) -> Iterator[Finding]:
    """Every import that the arrows of files (not rooms) forbid."""
    for source in tree.sources:
        is_rules = source.path.startswith("backend/") and source.path.endswith("/rules.py")
        for node in source.imports():
            for module, full, _ in source.imported(node):
                if is_rules and not _allowed_in_rules(module, full):
                    yield source.finding(
                        node, f"rules.py imports {full}: it may know only the kernel"
                    )
                top = module.split(".")[0]
                if top == "tests":
                    yield source.finding(node, "the product imports its tests")
                if top == "tortoise" and source.path.startswith("schema/"):
                    yield source.finding(
                        node, "schema imports the ORM: call a query or an operation"
                    )


def _allowed_in_rules(module: str, full: str) -> bool:
    top = module.split(".")[0]
    if top == "backend":
        inside = (module + ".").startswith("backend.kernel.") or full == "backend.kernel"
        return inside and not (full + ".").startswith(tuple(f"{door}." for door in _KERNEL_DOORS))
    return top in sys.stdlib_module_names and top not in _DOORS
