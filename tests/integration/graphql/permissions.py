"""What each field needs, as docs/permissions.md tells; test_permissions.py and test_isolation.py prove it.

python -m tests.integration.graphql.permissions     print both tables anew, after a row was changed by hand
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from backend.tenancy.rules import PRESET_ROLES, Permission

DOCS = Path(__file__).resolve().parents[3] / "docs" / "permissions.md"
BEGIN, END = "<!-- permissions -->", "<!-- /permissions -->"
ALL = frozenset(str(permission) for permission in Permission)
_ROW = re.compile(r"^\| `((?:Query|Mutation|Account|Project|Meter)\.[^`]+)` \| ([^|]+) \|")

Needs = Mapping[str, frozenset[str]]


def needs(text: str | None = None) -> Needs:
    """The permissions that each row of the document names, by field."""
    lines = (text or DOCS.read_text("utf-8")).splitlines()
    rows = (_ROW.match(line) for line in lines)
    return {row[1]: frozenset(re.findall(r"`([^`]+)`", row[2])) for row in rows if row}


def holders(of: Needs) -> set[frozenset[str]]:
    """What operators must hold for the tests: all that a field needs and no more, and all but one."""
    named = frozenset[str]().union(*of.values())
    return {*of.values(), *(ALL - {permission} for permission in named)}


def tables(of: Needs) -> str:
    """Both tables: which role holds which permission, and what each field needs with the roles for which it
    is enough."""
    roles = {name: {str(each) for each in held} for name, held in PRESET_ROLES.items()}
    lines = [_row("permission", *roles), "|" + "---|" * (1 + len(roles))]
    for permission in Permission:
        marks = ("yes" if permission in held else "" for held in roles.values())
        lines.append(_row(f"`{permission}`", *marks))
    lines += ["", _row("field", "needs", "enough for"), "|---|---|---|"]
    for field, wanted in sorted(of.items()):
        able = ", ".join(name for name, held in roles.items() if wanted <= held)
        lines.append(_row(f"`{field}`", ", ".join(f"`{one}`" for one in sorted(wanted)), able))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def printed(text: str) -> str:
    """The document with its tables as they follow from its rows and the preset roles."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{tables(needs(text))}\n{END}{tail}"


if __name__ == "__main__":
    DOCS.write_text(printed(DOCS.read_text("utf-8")), "utf-8")
