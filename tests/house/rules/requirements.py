"""Requirement files hold names, versions and hashes; a lock full of URLs binds us to one mirror."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..tree import Finding, Tree

_LOCKS = frozenset({"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"})
_NPM_LOCKS = frozenset({"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock"})
_REQUIREMENTS = re.compile(r"(^|/)requirements([-_/][\w.-]+)?\.txt$")
_PINNED = re.compile(r"^[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?==\S+")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


def check(tree: Tree) -> Iterator[Finding]:
    """URLs, options, loose versions and missing hashes; locks that name a server."""
    for path in tree.files:
        name = path.split("/")[-1]
        if name in _LOCKS:
            yield Finding(
                path, 1, "this lock names one mirror: commit requirements with hashes instead"
            )
        elif name in _NPM_LOCKS:
            for number, line in enumerate((tree.text(path) or "").splitlines(), start=1):
                if "resolved" in line and "://" in line:
                    yield Finding(path, number, "a lock line that names a server")
        elif _REQUIREMENTS.search(path):
            yield from _requirement_file(path, tree.text(path) or "")


def _requirement_file(path: str, text: str) -> Iterator[Finding]:
    for first, entry in _entries(text):
        if "://" in entry:
            yield Finding(path, first, "a URL in a requirement file")
        elif entry.startswith("-"):
            yield Finding(
                path, first, "an option in a requirement file: where to ask is the machine's own"
            )
        elif not _PINNED.match(entry):
            yield Finding(path, first, "a requirement is pinned with ==")
        elif not _HASH.search(entry):
            yield Finding(path, first, "a requirement without hashes")


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """(first line, logical line): comments dropped, continued lines joined."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), start=1):
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not parts:
            first = number
        parts.append(bare.removesuffix("\\").strip())
        if bare.endswith("\\"):
            continue
        if entry := " ".join(part for part in parts if part):
            yield first, entry
        parts = []
