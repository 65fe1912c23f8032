"""A tree of files as the checkers see it: parsed once, names resolved through the imports.

The same checkers read the real repository and the small trees of bad samples, so that a sample lies
at the path where its mistake would be made (`bad/clocks/backend/ledger/operations.py`).
"""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

SOURCE_ROOTS = ("backend/", "bots/", "schema/", "workers/")
BAD_SAMPLES = "tests/house/bad/"
_NOT_OURS = frozenset({".git", ".venv", "__pycache__", "node_modules", "dist", ".demo"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = TypeVar("Node", bound=ast.AST)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One breach of a rule: `path` relative to the tree, `line` from 1, and what to do instead."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class Source:
    """One Python file."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.lines = text.splitlines()
        self.tree = ast.parse(text, filename=path)

    @cached_property
    def _by_type(self) -> dict[type[ast.AST], list[ast.AST]]:
        found: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        for node in ast.walk(self.tree):
            found[type(node)].append(node)
        return found

    def of(self, kind: type[Node]) -> Iterator[Node]:
        """Every node of the type."""
        for node in self._by_type.get(kind, ()):
            if isinstance(node, kind):
                yield node

    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones too."""
        yield from self.of(ast.FunctionDef)
        yield from self.of(ast.AsyncFunctionDef)

    def imports(self) -> Iterator[ast.Import | ast.ImportFrom]:
        """Every import statement, those inside functions too."""
        yield from self.of(ast.Import)
        yield from self.of(ast.ImportFrom)

    def references(self) -> Iterator[ast.Attribute | ast.Name]:
        """Every use of a name, plain or dotted."""
        yield from self.of(ast.Attribute)
        yield from self.of(ast.Name)

    @cached_property
    def package(self) -> list[str]:
        """The package in which the file's relative imports start, as name parts."""
        parts = self.path.removesuffix(".py").split("/")
        return parts[:-1]

    def imported(self, node: ast.Import | ast.ImportFrom) -> list[tuple[str, str, ast.alias]]:
        """(module, full dotted name, alias) of each imported name, relative imports made absolute."""
        if isinstance(node, ast.Import):
            return [(alias.name, alias.name, alias) for alias in node.names]
        module = node.module or ""
        if node.level:
            base = self.package[: len(self.package) - node.level + 1]
            module = ".".join([*base, module] if module else base)
        return [(module, f"{module}.{alias.name}", alias) for alias in node.names]

    @cached_property
    def names(self) -> dict[str, str]:
        """What each imported local name stands for: `dt` -> `datetime.datetime`."""
        table: dict[str, str] = {}
        for node in self.imports():
            for _, full, alias in self.imported(node):
                if isinstance(node, ast.Import) and alias.asname is None:
                    top = full.split(".")[0]
                    table[top] = top
                else:
                    table[alias.asname or alias.name] = full
        return table

    def name(self, node: ast.AST) -> str | None:
        """The dotted name of `a.b.c`, its first part resolved through the imports; None if no name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        parts.append(self.names.get(node.id, node.id))
        return ".".join(reversed(parts))

    @cached_property
    def docstrings(self) -> frozenset[int]:
        """`id()` of the constants that are docstrings: prose, not code."""
        found: set[int] = set()
        for node in (self.tree, *self.of(ast.ClassDef), *self.functions()):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
        return frozenset(found)

    def finding(self, node: ast.AST | int, message: str) -> Finding:
        """A finding at `node` (or at a line number)."""
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Finding(self.path, line, message)


class Tree:
    """The files under `root`: those git knows or would take, or all of them where there is no git."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths relative to the root, with `/`, sorted; bad samples left out."""
        if (self.root / ".git").exists():
            listed = subprocess.run(
                ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                cwd=self.root,
                check=True,
                capture_output=True,
            ).stdout.decode()
            paths = {path for path in listed.split("\0") if path and (self.root / path).is_file()}
        else:
            paths = {
                path.relative_to(self.root).as_posix()
                for path in self.root.rglob("*")
                if path.is_file() and not _NOT_OURS & set(path.relative_to(self.root).parts)
            }
        return tuple(sorted(path for path in paths if not path.startswith(BAD_SAMPLES)))

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The Python files of the product."""
        return self._parsed(SOURCE_ROOTS)

    @cached_property
    def tests(self) -> tuple[Source, ...]:
        """The Python files of the tests."""
        return self._parsed(("tests/",))

    def text(self, path: str) -> str | None:
        """The text of a file; None for a binary one."""
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return None

    def _parsed(self, roots: tuple[str, ...]) -> tuple[Source, ...]:
        paths = (p for p in self.files if p.startswith(roots) and p.endswith(".py"))
        return tuple(Source(p, (self.root / p).read_text(encoding="utf-8")) for p in paths)
