"""What a document asks for below a field, so that a page is read by a few statements (prefetch).

Strawberry's own `selected_fields` spreads every fragment at every place it is used, which a short
document can make exponential; here a fragment is spread once a level.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode

from .context import Info


def selected(info: Info, *path: str) -> frozenset[str]:
    """Names (as in the schema) of the fields chosen under this field, at `path` below it."""
    level: list[FieldNode] = list(info._raw_info.field_nodes)
    for name in path:
        level = [node for node in _below(info, level) if node.name.value == name]
    return frozenset(node.name.value for node in _below(info, level))


def _below(info: Info, fields: Iterable[FieldNode]) -> list[FieldNode]:
    found: list[FieldNode] = []
    spread: set[str] = set()
    waiting: list[SelectionSetNode] = [f.selection_set for f in fields if f.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            match selection:
                case FieldNode():
                    found.append(selection)
                case InlineFragmentNode():
                    waiting.append(selection.selection_set)
                case FragmentSpreadNode() if selection.name.value not in spread:
                    spread.add(selection.name.value)
                    waiting.append(info._raw_info.fragments[selection.name.value].selection_set)
    return found
