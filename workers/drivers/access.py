"""What a driver may use besides the line to its meter: the time, passwords, a key machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backend.kernel.clock import Clock, SystemClock
from backend.kernel.errors import Conflict

if TYPE_CHECKING:
    from .cipher import CipherService


class PasswordNotConfigured(Conflict):
    """Nobody said the meter's password for this level: not the caller, nor the profile."""

    code = "PASSWORD_NOT_CONFIGURED"


@dataclass(frozen=True, slots=True)
class Access:
    """`clock` for orders that expire. `passwords`: three bytes as on the wire (P0 first) by level; a
    level that is missing takes what the profile says the factory sets. `operator`: four bytes that a
    meter keeps in its log. `cipher`: the key machine, None when there is none."""

    clock: Clock = field(default_factory=SystemClock)
    passwords: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    operator: bytes = bytes(4)
    cipher: CipherService | None = None
