"""What the dialogue remembers between two messages of one customer: bounded, strict JSON.

A stored state that is broken, foreign or of another version reads as a fresh one: the customer
loses a half-made choice, never gets an error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from backend.kernel.money import Money

from .intents import Span

PENDING_LIFE = timedelta(minutes=5)
MAX_CHOICES = 9
MAX_MISSES = 2
_VERSION = 1
_MAX_ID = 128
_MAX_JSON = 4096


class Topic(StrEnum):
    """What the next number or word of the customer would answer."""

    BALANCE = "BALANCE"
    LASTING = "LASTING"
    TOP_UP = "TOP_UP"
    USAGE = "USAGE"
    POWER_OUT = "POWER_OUT"
    PRICE = "PRICE"
    STEPS = "STEPS"
    BILL = "BILL"
    SWITCH = "SWITCH"
    UNBIND = "UNBIND"
    UNBIND_CONFIRM = "UNBIND_CONFIRM"
    BIND_NUMBER = "BIND_NUMBER"
    BIND_CODE = "BIND_CODE"


@dataclass(frozen=True, slots=True)
class Pending:
    """An open question. `choices` are ids of meters or accounts in the order they were numbered."""

    topic: Topic
    choices: tuple[str, ...] = ()
    amount: Money | None = None
    span: Span = Span.DEFAULT
    challenge_id: str | None = None

    def __post_init__(self) -> None:
        if len(self.choices) > MAX_CHOICES:
            raise ValueError(f"at most {MAX_CHOICES} choices")


@dataclass(frozen=True, slots=True)
class State:
    """`pending` is dead from `expires_at` (zoned) on; `selected` outlives it; `misses` is 0 to 2."""

    pending: Pending | None = None
    expires_at: datetime | None = None
    selected: str | None = None
    misses: int = 0

    def open_question(self, now: datetime) -> Pending | None:
        """The pending question while it lives."""
        if self.pending is None or self.expires_at is None or now >= self.expires_at:
            return None
        return self.pending

    def asking(self, pending: Pending | None, now: datetime) -> State:
        """This state with another question (five minutes from `now`) or none; misses forgotten."""
        until = None if pending is None else now + PENDING_LIFE
        return State(pending, until, self.selected, 0)

    def understood(self) -> State:
        """This state with the question kept and misses forgotten."""
        return State(self.pending, self.expires_at, self.selected, 0)

    def missed(self) -> State:
        """This state after one more message that was not understood."""
        misses = min(self.misses + 1, MAX_MISSES)
        return State(self.pending, self.expires_at, self.selected, misses)

    def choosing(self, account_id: str | None) -> State:
        """This state with the account that answers are about."""
        return State(self.pending, self.expires_at, account_id, self.misses)

    def to_json(self) -> str:
        """One JSON object, at most a few hundred characters, for `from_json`."""
        pending = self.pending
        return json.dumps(
            {
                "v": _VERSION,
                "misses": self.misses,
                "selected": self.selected,
                "expires_at": self.expires_at.isoformat() if self.expires_at else None,
                "pending": None if pending is None else _pending_record(pending),
            },
            ensure_ascii=True,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, stored: str | bytes | None) -> State:
        """The state that `to_json` wrote; a fresh one for anything else. Never raises."""
        if stored is None or len(stored) > _MAX_JSON:
            return cls()
        try:
            return _read_state(json.loads(stored))
        except (ValueError, TypeError, KeyError, RecursionError):
            return cls()


def _pending_record(pending: Pending) -> dict[str, Any]:
    return {
        "topic": pending.topic.value,
        "choices": list(pending.choices),
        "amount": None if pending.amount is None else pending.amount.hao,
        "span": pending.span.value,
        "challenge_id": pending.challenge_id,
    }


def _read_state(record: Any) -> State:
    """Raises ValueError, TypeError or KeyError for whatever `to_json` cannot have written."""
    _exactly(record, {"v", "misses", "selected", "expires_at", "pending"})
    misses, expires = record["misses"], record["expires_at"]
    if record["v"] != _VERSION or type(misses) is not int or not 0 <= misses <= MAX_MISSES:
        raise ValueError("another version or a wrong count")
    expires_at = None if expires is None else datetime.fromisoformat(expires)
    if expires_at is not None and expires_at.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    pending = None if record["pending"] is None else _read_pending(record["pending"])
    if (pending is None) != (expires_at is None):
        raise ValueError("a question and its end belong together")
    return State(pending, expires_at, _id_or_none(record["selected"]), misses)


def _read_pending(record: Any) -> Pending:
    _exactly(record, {"topic", "choices", "amount", "span", "challenge_id"})
    if type(record["choices"]) is not list:
        raise TypeError("choices are a list")
    choices = tuple(_id_or_none(choice) or "" for choice in record["choices"])
    if "" in choices:
        raise ValueError("a choice is an id")
    amount, topic = record["amount"], Topic(record["topic"])
    pending = Pending(
        topic,
        choices,
        None if amount is None else Money(amount),
        Span(record["span"]),
        _id_or_none(record["challenge_id"]),
    )
    if bool(choices) == (topic in (Topic.BIND_NUMBER, Topic.BIND_CODE)):
        raise ValueError("a list has choices, an awaited number has none")
    if (topic is Topic.BIND_CODE) != (pending.challenge_id is not None):
        raise ValueError("a code belongs to a challenge")
    return pending


def _exactly(record: Any, keys: set[str]) -> None:
    if type(record) is not dict or set(record) != keys:
        raise ValueError("not the record that was written")


def _id_or_none(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= _MAX_ID:
        raise ValueError("not an id")
    return value
