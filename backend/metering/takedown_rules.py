"""Pure rules of taking a meter down (拆表): what its last word must be, what it decides (A17, C8, C9).

Public peers do it the same way: closing reading, remaining and count of the old meter (read, or typed with
a second approver when it is dead), counter reset, money moved by one entry (domain-notes.md section 2.10).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import ZERO, Money

from .rules import CreditMode, MeterKind, register_gain

# A worker's write is over by then, its link's time-outs included, so a later word is the last one.
WRITE_UNDER_WAY = timedelta(minutes=1)
STUCK_AFTER = timedelta(minutes=30)


class Purpose(StrEnum):
    """REPLACE: another meter takes its place (换表). MOVE: the household goes to another room (转户).
    CLOSE: the account ends (销户)."""

    REPLACE = "REPLACE"
    MOVE = "MOVE"
    CLOSE = "CLOSE"


class TakedownState(StrEnum):
    """WAITING for the meter's last word; TYPED: an operator typed it, a second one must agree; KNOWN; DONE:
    the service ended and its money is booked; CANCELLED."""

    WAITING = "WAITING"
    TYPED = "TYPED"
    KNOWN = "KNOWN"
    DONE = "DONE"
    CANCELLED = "CANCELLED"


class FinalBy(StrEnum):
    """How the last word came: READ from the meter, or TYPED by an operator."""

    READ = "READ"
    TYPED = "TYPED"


@dataclass(frozen=True, slots=True)
class FinalWord:
    """What a meter says last: register in the unit of its kind, money and count (None: it holds none)."""

    at: datetime
    total: int
    remaining: Money | None
    purchase_no: int | None


@dataclass(frozen=True, slots=True)
class Service:
    """The service that ends, as the book knows it. `counted_no`: the newest purchase number that the meter
    was seen to take (its opening count when none); `last_no`: the newest one allocated; `most`: what it
    can hold, by the book, when it took all up to `last_no` and nothing was used."""

    kind: MeterKind
    credit_mode: CreditMode
    started_at: datetime
    opening_total: int
    counted_no: int
    last_no: int
    most: Money


def why_not(word: FinalWord, service: Service) -> str | None:
    """Why a last word cannot be believed, or None. What does not fit is never guessed at (C8)."""
    elapsed = max(word.at - service.started_at, timedelta(0))
    if register_gain(service.opening_total, word.total, kind=service.kind, elapsed=elapsed) is None:
        return "its register stands below the one at its opening"
    if service.credit_mode is not CreditMode.METER:
        return None
    if word.purchase_no is None or word.remaining is None:
        return "it tells no purchase count or no remaining amount"
    if not service.counted_no <= word.purchase_no <= service.last_no:
        return (
            f"its purchase count is {word.purchase_no}, the ledger expects"
            f" {service.counted_no} to {service.last_no}"
        )
    if word.remaining > service.most:
        return f"it holds {word.remaining} yuan, by the book at most {service.most}"
    return None


def is_taken(*, purchase_no: int, last_count: int) -> bool:
    """Whether a vend that was under way reached the meter: by the count of its last word alone."""
    return purchase_no <= last_count


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a meter's money: used at it, given back by it, and owed beyond it (overdraft)."""

    used: Money
    back: Money
    owed: Money


def settlement(*, held: Money, remaining: Money) -> Settlement:
    """Split what the book says a meter holds by what it says itself. `remaining` is at most `held`."""
    back = max(ZERO, remaining)
    return Settlement(used=held - back, back=back, owed=max(ZERO, -remaining))


def check_reason(reason: str) -> str:
    """The trimmed reason. Raises InvalidInput."""
    told = reason.strip()
    if not 4 <= len(told) <= 200:
        raise InvalidInput("say in a few words why", field="reason")
    return told


def check_key(key: str) -> str:
    """An idempotency key as it is; what it begins has keys of its own, so it is not of full length. Raises
    InvalidInput."""
    if not 8 <= len(key) <= 200:
        raise InvalidInput("an idempotency key has 8 to 200 characters", field="idempotencyKey")
    return key


def check_typed(word: FinalWord, *, note: str, service: Service) -> str:
    """The checked note of a typed last word; typed money is never more than the book has. Raises
    InvalidInput, Conflict."""
    told = note.strip()
    if not 4 <= len(told) <= 500:
        raise InvalidInput("say in the note where these figures come from", field="note")
    if word.remaining is not None and word.remaining.hao % 100:
        raise InvalidInput("a meter holds whole fen", field="remaining")
    wrong = why_not(word, service)
    if wrong is not None:
        raise Conflict(f"these figures do not fit: {wrong}")
    return told


def needs_second(*, remaining: Money | None, alone_fen: int) -> bool:
    """Whether a second operator must agree to typed money: above the project's limit (C30)."""
    return remaining is not None and abs(remaining.hao) > alone_fen * 100


def check_sure(*, at: datetime, unsure_until: datetime) -> None:
    """Raise Conflict while a write may still be on its way to the meter."""
    if at < unsure_until:
        raise Conflict("a sale may still be on its way to the meter: look again in a minute")


def check_successor(*, kind: str, to_kind: str, credit_mode: str, to_credit_mode: str) -> None:
    """Raise Conflict unless the new meter measures the same, and is sold to when the old one was."""
    if kind != to_kind:
        raise Conflict("the new meter measures something else")
    if credit_mode != CreditMode.NONE and to_credit_mode == CreditMode.NONE:
        raise Conflict("the new meter is not sold to")
