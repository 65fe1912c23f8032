"""Pages as text: a page's elements, the scripts it pulls in, and the colours of its style sheet."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAY = ROOT / "web/h5"
CONSOLE = ROOT / "web/console"
STAGE = ROOT / "backend/sandbox/stage_pages"
_TEXT = re.compile(r'^  "([a-z_]+\.[^"]+)": "(.+)",$', re.MULTILINE)
_ROOT_COLOURS = re.compile(r"--([\w-]+):\s*(#[0-9a-f]{6});")


@dataclass
class Element:
    """A start tag with its attributes."""

    tag: str
    attributes: dict[str, str | None]


@dataclass
class Page(HTMLParser):
    """The elements of a page, and the text that stands inside script and style elements."""

    path: Path
    elements: list[Element] = field(default_factory=list)
    code: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element."""
        self.elements.append(Element(tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        """Outside again."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Keep code."""
        if self._inside in ("script", "style"):
            self.code += data.strip()

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of this name."""
        return [element.attributes for element in self.elements if element.tag == tag]

    def values(self, attribute: str) -> list[str]:
        """The values of an attribute wherever it stands."""
        found = (element.attributes.get(attribute) for element in self.elements)
        return [value for value in found if value]


def words(language: str) -> dict[str, str]:
    """Key and sentence of a language of the console."""
    files = [CONSOLE / f"{language}.js", *sorted(CONSOLE.glob(f"{language}_*.js"))]
    found = [pair for file in files for pair in _TEXT.findall(file.read_text(encoding="utf-8"))]
    assert len(found) == len(dict(found)), "a key stands twice"
    return dict(found)


def colours(style: str) -> dict[str, str]:
    """The colours named in `:root`."""
    return dict(_ROOT_COLOURS.findall(style))


def contrast(one: str, other: str) -> float:
    """Contrast of two `#rrggbb` colours by WCAG 2.2 (1 to 21)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
