"""What a rule is: a name, a sentence for people, and a checker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..tree import Finding, Tree


@dataclass(frozen=True, slots=True)
class Rule:
    """`check` yields every breach in a tree; none means the rule holds."""

    name: str
    sentence: str
    check: Callable[[Tree], Iterable[Finding]]
