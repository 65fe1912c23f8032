"""The table of all shipped models: what each can do and how far that can be trusted.

Printed from the profiles, so that docs/meters.md cannot say more than they do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .loader import PROFILE_DIR
from .model import GRADES

BEGIN, END = "<!-- models -->", "<!-- /models -->"
_PARTS = {
    "money": ("wallet", "sale", "money", "credit"),
    "switch": ("switch", "valve"),
    "settings": ("settings", "prices", "thresholds"),
    "time": ("clock_write", "calendar"),
}
_COLUMN_OF = {key: column for column, keys in _PARTS.items() for key in keys}
_KINDS = ("electricity", "water", "heat")
_SELLS = ("sale", "credit")
_HEADS = (
    "model", "maker", "kind", "phases", "protocol",
    "reading", "money", "switch", "settings", "clock and calendar", "note",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model. `grades` has, for each of reading, money, switch, settings and time, the grades of
    its parts from the best to the weakest; none: the model has no such part. `sells`: whether it can
    be sold to."""

    model: str
    maker: str
    kind: str
    phases: int
    protocol: str
    grades: dict[str, tuple[str, ...]]
    sells: bool
    note: str


def model_rows(folder: Path = PROFILE_DIR) -> list[ModelRow]:
    """Every profile of `folder`, by kind and name. Raises OSError, ValueError for a broken file."""
    rows = [_row(tomllib.loads(path.read_text("utf-8"))) for path in folder.glob("*.toml")]
    return sorted(rows, key=lambda row: (_KINDS.index(row.kind), row.model))


def _row(tree: dict[str, Any]) -> ModelRow:
    found: dict[str, set[str]] = {}
    for key, part in tree.items():
        found.setdefault(_COLUMN_OF.get(key, "reading"), set()).update(_grades(part))
    return ModelRow(
        model=tree["model"],
        maker=tree["maker"],
        kind=tree["kind"],
        phases=tree.get("phases", 0),
        protocol=tree["protocol"],
        grades={
            column: tuple(grade for grade in reversed(GRADES) if grade in found.get(column, ()))
            for column in ("reading", *_PARTS)
        },
        sells=any(key in tree for key in _SELLS),
        note=tree.get("note", ""),
    )


def _grades(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "evidence" in part:
            yield part["evidence"]
        for value in part.values():
            yield from _grades(value)
    elif isinstance(part, list):
        for value in part:
            yield from _grades(value)


def plain_table(rows: list[ModelRow]) -> str:
    """One line a model for a terminal: name, kind, protocol, and each part with its grades."""
    lines = []
    for row in rows:
        parts = [
            f"{column}: {' + '.join(grades)}" for column, grades in row.grades.items() if grades
        ]
        lines.append(f"{row.model}  {row.kind}  {row.protocol}  " + "; ".join(parts))
    return "\n".join(lines) + "\n"


def markdown_table(rows: list[ModelRow]) -> str:
    """The table of docs/meters.md, between its marks."""
    lines = ["| " + " | ".join(_HEADS) + " |", "|" + "---|" * len(_HEADS)]
    for row in rows:
        shown = {column: " + ".join(grades) for column, grades in row.grades.items()}
        if shown["money"] and not row.sells:
            shown["money"] += " (shown, not sold to)"
        cells = (
            row.model, row.maker, row.kind, str(row.phases or ""), row.protocol,
            *(shown[column] or "—" for column in ("reading", *_PARTS)), row.note,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([BEGIN, *lines, END]) + "\n"


def updated(text: str, rows: list[ModelRow]) -> str:
    """`text` with the table between its marks renewed. Raises ValueError when it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END + "\n")
    if not begin or not end:
        raise ValueError(f"no {BEGIN} .. {END} to put the table between")
    return before + markdown_table(rows) + after
