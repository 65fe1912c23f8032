"""The word of a second operator, the same for all that control asks for by two (C22, C23, C30)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from backend.kernel.errors import Conflict
from backend.kernel.scope import Actor


class Asked(Protocol):
    """What was asked for. `asked_by`: the operator's id."""

    @property
    def state(self) -> StrEnum:
        """Where it stands."""
        ...

    @property
    def asked_by(self) -> str:
        """Who asked."""
        ...

    @property
    def expires_at(self) -> datetime:
        """From then on it can only be asked for again."""
        ...


def check_second_word(
    asked: Asked, *, waits_as: StrEnum, actor: Actor, approved: bool, at: datetime
) -> None:
    """Raises Conflict: ruled before (it does not wait as `waits_as`), expired, or approved by who asked for
    it (C30). Who asked may take it back."""
    if asked.state != waits_as:
        raise Conflict(f"it was {asked.state.lower()} before")
    if at >= asked.expires_at:
        raise Conflict("it expired; ask for it again")
    if approved and asked.asked_by == actor.id:
        raise Conflict("who asked for it cannot approve it: this takes a second operator")
