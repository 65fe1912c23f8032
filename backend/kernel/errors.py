"""Domain errors: what went wrong, by a stable code that edges turn into typed answers.

Anticipated failures are subclasses of `DomainError`; anything else is a fault of the program.
A message is written for the person who reads it and holds no secret and no other tenant's data.
"""

from __future__ import annotations


class DomainError(Exception):
    """An anticipated failure. `code` is stable (API), `message` is for people."""

    code = "DOMAIN_ERROR"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(DomainError):
    """The caller's input breaks a stated rule; `field` names the input when one is at fault."""

    code = "INVALID_INPUT"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(DomainError):
    """No such object for this caller. The same answer is given for another tenant's object (C29)."""

    code = "NOT_FOUND"


class Unauthenticated(DomainError):
    """No valid session."""

    code = "UNAUTHENTICATED"


class Forbidden(DomainError):
    """The caller is known but lacks the permission (C30)."""

    code = "FORBIDDEN"


class Conflict(DomainError):
    """The state of the object does not allow this now, or a key was reused with other content."""

    code = "CONFLICT"


class RateLimited(DomainError):
    """Too many tries; `retry_after_s` seconds until the next one is accepted."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(DomainError):
    """Something outside (channel, gateway, meter) did not answer; trying again later is right."""

    code = "UNAVAILABLE"
