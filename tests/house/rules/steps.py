"""Steps of the database come one after the other: a number each, and each stands on the one before.

Two engineers who take the same number at the same time make two ends; which one a database takes first is
then a matter of luck. And DDL that no step of its name runs is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ..tree import Finding, Tree

_STEP = re.compile(r"backend/migrations/(\d{4})_\w+\.py")
_DDL = re.compile(r"backend/migrations/(?P<step>\d{4}_\w+)\.sql")
_BEFORE = re.compile(r'dependencies: [^=]*= \[(?:\("models", "(?P<step>\w+)"\))?\]')


def check(tree: Tree) -> Iterator[Finding]:
    """Every step that is not the next one after the step that it names, and DDL that none runs."""
    yield from _forgotten(tree)
    last, number = "", 0
    for source in sorted(tree.sources, key=lambda each: each.path):
        found = _STEP.fullmatch(source.path)
        if found is None:
            continue
        number += 1
        text = source.text
        before = _BEFORE.search(text)
        line = text[: before.start()].count("\n") + 1 if before else 1
        if int(found[1]) != number or before is None or (before["step"] or "") != last:
            wanted = f"number {number:04d}, behind {last or 'nothing'}"
            yield source.finding(line, f"this step is out of its place: it is to be {wanted}")
        last = PurePosixPath(source.path).stem


def _forgotten(tree: Tree) -> Iterator[Finding]:
    for path in tree.files:
        if found := _DDL.fullmatch(path):
            step = path.replace(".sql", ".py")
            text = (tree.text(step) or "") if step in tree.files else ""
            if f'sql("{found["step"]}.sql")' not in text:
                yield Finding(path, 1, "no step of this name runs it")
