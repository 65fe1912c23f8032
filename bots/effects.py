"""What a turn asks the edge to do, and how the edge says what came of it. None of them moves money."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from backend.kernel.money import Money

from .state import State


@dataclass(frozen=True, slots=True)
class StartBinding:
    """Send a code to the phone REGISTERED for this account; answer BindingStarted or BindingRefused."""

    account_no: str


@dataclass(frozen=True, slots=True)
class ConfirmBinding:
    """Check the six digits; answer BindingDone or BindingRefused."""

    challenge_id: str
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MakePayLink:
    """Make a pay page for the account (and meter); answer PayLink or EffectFailed. Charges nothing.

    `amount` None: the payer chooses on the page.
    """

    account_id: str
    amount: Money | None
    meter_id: str | None = None


@dataclass(frozen=True, slots=True)
class UnbindAccount:
    """Remove the customer's binding, confirmed by them; answer Unbound or EffectFailed."""

    account_id: str


Effect = StartBinding | ConfirmBinding | MakePayLink | UnbindAccount


class Refusal(StrEnum):
    """Reasons of BindingRefused and EffectFailed. Any that is not told apart reads the same."""

    NOT_FOUND = "not_found"
    NO_PHONE = "no_phone"
    ACCOUNT_CLOSED = "account_closed"
    WRONG_CODE = "wrong_code"
    EXPIRED = "expired"
    TOO_MANY = "too_many"
    TOO_MANY_ACCOUNTS = "too_many_accounts"
    SELLING_STOPPED = "selling_stopped"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class BindingStarted:
    """The code is on its way. `masked_phone` as 138****5678; `masked_address` may be empty."""

    masked_phone: str
    masked_address: str
    challenge_id: str


@dataclass(frozen=True, slots=True)
class BindingDone:
    """The account is bound and shown as `label`."""

    label: str


@dataclass(frozen=True, slots=True)
class BindingRefused:
    """Not bound. Reasons that would tell whether an account exists all read the same to the customer."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class PayLink:
    """The page where the customer sees masked name, address and amount, and pays."""

    url: str


@dataclass(frozen=True, slots=True)
class Unbound:
    """The binding is removed."""


@dataclass(frozen=True, slots=True)
class EffectFailed:
    """A pay link or an unbinding could not be done."""

    reason: Refusal = Refusal.UNAVAILABLE


Outcome = BindingStarted | BindingDone | BindingRefused | PayLink | Unbound | EffectFailed


@dataclass(frozen=True, slots=True)
class Turn:
    """What to answer and keep. `replies` is empty exactly when `effect` waits for `finish`."""

    replies: tuple[str, ...]
    state: State
    effect: Effect | None = None
