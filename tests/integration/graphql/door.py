"""One argument of a field that holds an id, as the IDOR tests try it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from .things import Things

Variables = dict[str, object]
PROBLEM = "__typename ... on Problem { code message }"


@dataclass(frozen=True)
class Door:
    """One argument that holds an id.

    `field` is `Type.field`, `argument` the argument's name, `variable` the document's variable for
    it, `kind` the attribute of Things. `write` answers by a union. `group_wide`: only operators of
    the whole group come this far, so no project is foreign to them.
    """

    field: str
    argument: str
    kind: str
    document: str
    others: Callable[[Things], Variables] = lambda _: {}
    write: bool = False
    group_wide: bool = False

    @property
    def name(self) -> str:
        """`Type.field(argument)`."""
        return f"{self.field}({self.argument})"

    def variables(self, mine: Things, asked: Things) -> Variables:
        """The right variables, with the id under test taken from `asked`."""
        return self.others(mine) | {"id": getattr(asked, self.kind)}


def unique() -> str:
    """Ten letters and digits that nothing has."""
    return secrets.token_hex(5)


def digits() -> str:
    """Ten digits that nothing has."""
    return f"{secrets.randbelow(10**10):010d}"


def mutation(arguments: str, call: str) -> str:
    """The document of a mutation that answers by a union."""
    return f"mutation({arguments}) {{ answer: {call} {{ {PROBLEM} }} }}"
