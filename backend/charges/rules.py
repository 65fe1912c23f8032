"""Pure words and rules of charges: registers at an instant, a month to date, a charge, what is available.

Amounts are hao, use is in base units (Wh, litres, Wh of heat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from backend.kernel.money import Money


class Reason(StrEnum):
    """USE between two readings; CORRECTION of a month by late readings or rulings; ESTIMATE, provisional,
    and its reversal (C13, C15)."""

    USE = "USE"
    CORRECTION = "CORRECTION"
    ESTIMATE = "ESTIMATE"
    ESTIMATE_REVERSED = "ESTIMATE_REVERSED"


class Hold(StrEnum):
    """Why an assignment is not charged now: a register went back, or gained more than a meter of its kind can
    measure in the time, and a person must rule on the reading; or no tariff holds for it (C14)."""

    NEGATIVE = "NEGATIVE"
    TOO_FAST = "TOO_FAST"
    NO_TARIFF = "NO_TARIFF"

    @property
    def waits(self) -> bool:
        """Whether it waits for a ruling."""
        return self is not Hold.NO_TARIFF


class Stop(NamedTuple):
    """The instant of a reading behind which nothing is charged, and why."""

    at: datetime
    hold: Hold


class Ruling(StrEnum):
    """What a person says of a reading that is held: it was wrong, use counts anew from it, or (of one that
    gained too much) it is right and is charged."""

    IGNORE = "IGNORE"
    REBASE = "REBASE"
    COUNT = "COUNT"


class Amounts(NamedTuple):
    """Hao by line, in the order in which they are printed and paid."""

    energy: int = 0
    fixed: int = 0
    loss: int = 0
    public: int = 0
    service: int = 0

    @property
    def total(self) -> int:
        """All lines together."""
        return sum(self)

    def less(self, other: Amounts) -> Amounts:
        """What these are more than the others, line by line."""
        a, b, c, d, e = self
        v, w, x, y, z = other
        return Amounts(a - v, b - w, c - x, d - y, e - z)

    def plus(self, other: Amounts) -> Amounts:
        """Both together, line by line."""
        a, b, c, d, e = self
        v, w, x, y, z = other
        return Amounts(a + v, b + w, c + x, d + y, e + z)


NOTHING = Amounts()


class Point(NamedTuple):
    """Registers of a meter at an instant; `bands` (spike, peak, flat, valley, deep), None where unknown."""

    at: datetime
    total: int
    bands: tuple[int | None, ...] = (None,) * 5


class Supply(NamedTuple):
    """What an account uses of a kind: charging takes turns on it."""

    account_id: UUID
    kind: str


Place = tuple[int, int]  # block and line of a row


@dataclass(slots=True)
class Position:
    """How far an assignment is charged: up to the reading `last`, from its `baseline` (C14).

    `place`: where its row was read, by which it is found again; None before it has one.
    """

    assignment_id: UUID
    project_id: UUID
    account_id: UUID
    kind: str
    meter_id: UUID
    baseline: Point
    last: Point
    seq: int
    price_hao: int
    estimated: bool
    held_at: datetime | None
    hold: Hold | None
    place: Place | None = None

    @property
    def supply(self) -> Supply:
        """The supply it is part of."""
        return Supply(self.account_id, self.kind)


@dataclass(slots=True)
class Month:
    """A month of a supply to date: use by span of one version and season, and what is posted for it.

    `segments`: [start, version, season, use by band (6), days (first, last, length), used in the step
    year before the month], JSON as it is kept. `place`: as that of a position.
    """

    account_id: UUID
    project_id: UUID
    kind: str
    month: date
    rated_until: datetime
    used: int
    segments: list[list[Any]]
    posted: Amounts
    place: Place | None = None


class Charge(NamedTuple):
    """One charge as its table row keeps it; see 0016_charges.sql for what each column says."""

    id: UUID
    project_id: UUID
    account_id: UUID
    purse_id: UUID
    assignment_id: UUID
    seq: int
    reason: Reason
    kind: str
    month: date
    day: date
    from_at: datetime
    to_at: datetime
    from_total: int | None
    to_total: int | None
    use: tuple[int, ...]
    shared: bool
    version_id: UUID | None
    season: int | None
    step_before: int | None
    use_before: list[int] | None
    days: list[int] | None
    detail: dict[str, Any] | None
    amounts: Amounts
    entry_id: UUID | None
    charged_at: datetime


class Figures(NamedTuple):
    """The three figures of an account, and what they come from (C3). `balance` is what the purse holds less
    arrears; `uncharged` the use that is read and not yet charged, at the last price; `overdraft` what the
    class allows, drawn emergency credit included."""

    balance: Money
    uncharged: Money
    overdraft: Money

    @property
    def available(self) -> Money:
        """What can still be used: balance - uncharged + allowed overdraft."""
        return self.balance - self.uncharged + self.overdraft


JUMP = 5  # a price so many times the lowest one before it is believed only by a person


def doubtful(charged: Sequence[tuple[int, int]]) -> Money:
    """How much of what was charged is doubtful because a price jumped: a figure that was typed a hundred
    times too high cuts nobody, and keeps nobody in the dark who paid.

    `charged`: use (base units) and hao by each version, in the order of the versions, then what is read and
    not charged yet. What costs more than JUMP times the lowest price before it is doubtful as far as it is
    more than that one would have taken (reference/trust.md section 5: a bad tariff, no trips).
    """
    found = 0
    lowest: tuple[int, int] | None = None
    for use, hao in charged:
        if use <= 0 or hao <= 0:
            continue
        if lowest is None or hao * lowest[0] < lowest[1] * use:
            lowest = use, hao
        elif hao * lowest[0] > JUMP * lowest[1] * use:
            found += hao - lowest[1] * use // lowest[0]
    return Money(found)
