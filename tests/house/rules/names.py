"""A file named after nothing collects everything (trap 3 of the field: a utils.py of 2,080 lines)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..tree import Finding, Tree

BAGS = frozenset({"util", "utils", "helper", "helpers", "common", "commons", "manager", "managers"})


def check(tree: Tree) -> Iterator[Finding]:
    """Files and folders whose name is, or contains as a word, that of a bag."""
    for path in tree.files:
        for part in PurePosixPath(path).parts:
            words = set(re.split(r"[_\-.]", part.lower()))
            if words & BAGS:
                yield Finding(
                    path, 1, f"`{part}` says nothing of what is inside: name it by its work"
                )
                break
