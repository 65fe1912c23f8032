"""Pure words of enrolment: a gateway as this room knows it, and where its sealed line stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from backend.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Box:
    """A gateway: whose it is and what stands on its plate."""

    project_id: UUID
    id: UUID
    serial: str


class UplinkState(StrEnum):
    """Where a gateway's sealed line stands. NEW: no key and no usable claim, ever or any more.
    CLAIMED: a claim waits for the installer. LOCKED: that claim died of wrong tries. ACTIVE: a key is
    good. REVOKED: every key is dead, and no claim waits."""

    NEW = "NEW"
    CLAIMED = "CLAIMED"
    LOCKED = "LOCKED"
    ACTIVE = "ACTIVE"
    REVOKED = "REVOKED"


def state_of(
    *, active: bool, revoked: bool, claim_locked: bool | None, claim_over: bool
) -> UplinkState:
    """The one word for a gateway. `claim_locked` is None when no claim is open, `claim_over` says
    that the open one has expired."""
    if active:
        return UplinkState.ACTIVE
    if claim_locked is not None and not claim_over:
        return UplinkState.LOCKED if claim_locked else UplinkState.CLAIMED
    return UplinkState.REVOKED if revoked else UplinkState.NEW


def reason_of(text: str) -> str:
    """Why keys are revoked, as people wrote it. Raises InvalidInput when that says nothing."""
    if len(text.strip()) < 4:
        raise InvalidInput("say why the keys are revoked", field="reason")
    return text.strip()
