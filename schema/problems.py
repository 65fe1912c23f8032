"""Anticipated failures as types of the schema: one table from domain errors to problems."""

from __future__ import annotations

from typing import TypeAlias

import strawberry
from strawberry.schema import ExceptionHandler
from strawberry.types.field import StrawberryField

from backend.alerts.ports import Undeliverable
from backend.integrations.wechat_oauth import LoginRefused
from backend.kernel.errors import (
    Conflict,
    DomainError,
    Forbidden,
    InvalidInput,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from backend.kernel.secrets import SealBroken
from backend.ledger.rules import Overdrawn, Unbalanced
from backend.topups.ports import ChannelRefused, NoticeRejected


@strawberry.interface(description="Why it was not done. `message` is for people, `code` is stable.")
class Problem:
    """An anticipated failure."""

    code: str
    message: str


@strawberry.type(description="The input breaks a rule; `field` names it when one is at fault.")
class InvalidInputProblem(Problem):
    """The caller's input is wrong."""

    field: str | None = None


@strawberry.type(description="There is no such object for this caller.")
class NotFoundProblem(Problem):
    """Nothing there, or not for this caller: the same answer (C29)."""


@strawberry.type(description="Nobody is signed in.")
class UnauthenticatedProblem(Problem):
    """No valid session."""


@strawberry.type(description="The caller lacks the permission.")
class ForbiddenProblem(Problem):
    """Known, but not allowed (C30)."""


@strawberry.type(description="The state of the object does not allow it now.")
class ConflictProblem(Problem):
    """Not in this state."""


@strawberry.type(description="Too many tries; try again after `retryAfterS` seconds.")
class RateLimitedProblem(Problem):
    """Too many tries."""

    retry_after_s: int


@strawberry.type(description="Something outside did not answer; trying again later is right.")
class UnavailableProblem(Problem):
    """Try again later."""


@strawberry.type(description="A provider refused for good.")
class RefusedProblem(Problem):
    """The payment channel, or another provider, said no."""


AnyProblem: TypeAlias = (
    InvalidInputProblem
    | NotFoundProblem
    | UnauthenticatedProblem
    | ForbiddenProblem
    | ConflictProblem
    | RateLimitedProblem
    | UnavailableProblem
    | RefusedProblem
)

# A class that is not named here is answered as its nearest base that is.
PROBLEMS: dict[type[DomainError], type[Problem]] = {
    InvalidInput: InvalidInputProblem,
    NotFound: NotFoundProblem,
    Unauthenticated: UnauthenticatedProblem,
    Forbidden: ForbiddenProblem,
    Conflict: ConflictProblem,
    Unbalanced: ConflictProblem,
    Overdrawn: ConflictProblem,
    RateLimited: RateLimitedProblem,
    Unavailable: UnavailableProblem,
    SealBroken: UnavailableProblem,
    ChannelRefused: RefusedProblem,
    NoticeRejected: RefusedProblem,
    Undeliverable: RefusedProblem,
    LoginRefused: RefusedProblem,
}


def problem_type(error: type[DomainError]) -> type[Problem] | None:
    """The problem a domain error becomes, or None when neither it nor a base of it is mapped."""
    return next((PROBLEMS[base] for base in error.__mro__ if base in PROBLEMS), None)


def details(error: DomainError) -> dict[str, str | int | None]:
    """What a domain error tells beside its code and message, by its name in the schema."""
    if isinstance(error, InvalidInput):
        return {"field": error.field}
    if isinstance(error, RateLimited):
        return {"retry_after_s": error.retry_after_s}
    return {}


class ProblemOf(ExceptionHandler[DomainError, NotFoundProblem]):
    """Turns a domain error raised by a mutation into the member of its union.

    Declared with one member because every mutation's union holds all of them (`AnyProblem`).
    """

    def handle(
        self, exception: DomainError, *, field: StrawberryField, info: strawberry.Info
    ) -> NotFoundProblem | None:
        """The problem, or None (an ordinary error) when the table does not know the class."""
        kind = problem_type(type(exception))
        if kind is None:
            return None
        made = kind(code=exception.code, message=exception.message, **details(exception))
        return made  # type: ignore[return-value] # a sibling: all are members of the same unions
