"""An XLSX sheet, written row by row and never held as a whole (A21, A25).

What came from people is text whatever it begins with: `=`, `+`, `-` or `@` never makes a formula
(CWE-1236, Improper Neutralization of Formula Elements). Not for the event loop: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from xlsxwriter import Workbook
from xlsxwriter.format import Format

Cell = str | Decimal | None


class Column(NamedTuple):
    """A column: its heading and its width in characters."""

    heading: str
    width: int


class Coloured(NamedTuple):
    """A cell in one colour, #RRGGBB; the text says the same without it."""

    text: str
    color: str


class Sheet:
    """A file with one sheet under a row of headings that stays in sight; `close` makes it whole."""

    def __init__(self, path: Path, *, name: str, columns: Sequence[Column]) -> None:
        """`name` as on the tab, at most 31 characters."""
        self._book = Workbook(
            str(path),
            {
                "constant_memory": True,
                "strings_to_formulas": False,
                "strings_to_numbers": False,
                "strings_to_urls": False,
            },
        )
        self._sheet = self._book.add_worksheet(name)
        self._text = self._book.add_format({"num_format": "@"})
        self._colours: dict[str, Format] = {}
        heading = self._book.add_format({"bold": True, "num_format": "@"})
        for place, column in enumerate(columns):
            self._sheet.set_column(place, place, column.width)
        for place, column in enumerate(columns):
            self._sheet.write_string(0, place, column.heading, heading)
        self._sheet.freeze_panes(1, 0)
        self.rows = 0

    def add(self, rows: Iterable[Sequence[Cell | Coloured]]) -> None:
        """Write rows below those before. Numbers stay exact to fifteen digits, as the format has them."""
        for row in rows:
            self.rows += 1
            for place, cell in enumerate(row):
                match cell:
                    case Coloured():
                        style = self._in(cell.color)
                        self._sheet.write_string(self.rows, place, cell.text, style)
                    case str():
                        self._sheet.write_string(self.rows, place, cell, self._text)
                    case Decimal():
                        self._sheet.write_number(self.rows, place, cell)
                    case None:
                        pass

    def close(self) -> None:
        """Finish the file."""
        self._book.close()

    def _in(self, color: str) -> Format:
        if color not in self._colours:
            style = {"font_color": color, "bold": True, "num_format": "@"}
            self._colours[color] = self._book.add_format(style)
        return self._colours[color]
