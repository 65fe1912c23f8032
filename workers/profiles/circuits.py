"""Boxes with one bus address a circuit: which addresses a box has, as the console shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backend.kernel.errors import InvalidInput

_Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CircuitGroup:
    """Circuits of one kind; each takes `step` addresses and answers at the first of them."""

    name: str
    step: int


@dataclass(frozen=True, slots=True)
class Circuit:
    """One user of a box: where it answers."""

    address: int
    group: str


@dataclass(frozen=True, slots=True)
class Circuits:
    """The addressing rule of a box: a box of size s takes s addresses, box 1 from address 1 on; its
    groups follow each other in the order given here. `sizes` are the boxes that are made."""

    sizes: tuple[int, ...]
    max_address: int
    groups: tuple[CircuitGroup, ...]
    evidence: str
    source: str

    def addresses(self, *, size: int, box: int, counts: Mapping[str, int]) -> tuple[Circuit, ...]:
        """The circuits of box number `box` (from 1) with `counts` circuits of each group by name.

        Raises InvalidInput: no such size or group, too many circuits, or addresses beyond the last.
        """
        if size not in self.sizes:
            raise InvalidInput(f"boxes have {self.sizes} circuits, not {size}", field="size")
        unknown = set(counts) - {group.name for group in self.groups}
        if unknown:
            raise InvalidInput(f"no such circuits: {', '.join(sorted(unknown))}", field="counts")
        if box < 1 or any(count < 0 for count in counts.values()):
            raise InvalidInput("boxes count from 1, circuits from 0", field="box")
        first = following = (box - 1) * size + 1
        found: list[Circuit] = []
        for group in self.groups:
            for _ in range(counts.get(group.name, 0)):
                found.append(Circuit(following, group.name))
                following += group.step
        if following > first + size:
            raise InvalidInput(
                f"{following - first} addresses needed, the box has {size}", field="counts"
            )
        if first + size - 1 > self.max_address:
            raise InvalidInput(f"box {box} lies beyond address {self.max_address}", field="box")
        return tuple(found)


def contradictions(tree: _Tree) -> Iterator[str]:
    """What the schema cannot say about `[circuits]`."""
    names = [group["name"] for group in tree["groups"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"circuits.groups: {name} is there twice"
    for index, group in enumerate(tree["groups"]):
        if group["step"] > min(tree["sizes"]):
            yield f"circuits.groups[{index}].step: {group['step']} is more than a whole box"
    for size in tree["sizes"]:
        if size > tree["max_address"]:
            yield f"circuits.sizes: a box of {size} does not fit below {tree['max_address']}"


def build(tree: _Tree) -> Circuits:
    """The rule in a tree that the schema and `contradictions` have passed."""
    return Circuits(
        sizes=tuple(tree["sizes"]),
        max_address=tree["max_address"],
        groups=tuple(CircuitGroup(**group) for group in tree["groups"]),
        evidence=tree["evidence"],
        source=tree["source"],
    )
