"""What enrolment needs from outside: somebody who tells a person of a refusal."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

from backend.kernel.db import UnitOfWork

from .rules import Box


class NoteRefusal(Protocol):
    """Tells operators that something a person must hear of was refused."""

    async def __call__(
        self, work: UnitOfWork, *, gateway: Box, code: str, at: datetime
    ) -> UUID | None:
        """Open one episode a gateway and code (`UplinkRefused.code`); None when it is open already."""
        ...
