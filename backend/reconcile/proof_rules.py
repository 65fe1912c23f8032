"""Pure proof of a meter that holds its own money: its count and what it has left, against the book (C11).

With L what the book says the meter holds (its METER_WALLET, of the vends up to the meter's own count), M
what the meter says, and what the book was more than the meter at the proof before (`left`), the meter has
used since then

    use = (L - M) - left

and its energy register has moved by `used` units (Wh, litres). At the meter's dearest and cheapest price
that explains between

    least = max(0, used - slack) * cheapest / 1000 - STEP
    most  =       (used + slack) * dearest  / 1000 + STEP

of money. Outside of it the money went, or came, by another way: drift. `slack` is what the registers can
hide: a display step at either reading, and what flows while one is read after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from backend.kernel.money import HAO_PER_YUAN, ZERO, Money

# Meters show money in fen (meter-protocols.md): what is below it is known to neither reading.
STEP = Money.of_fen(1)
# Registers step by 0.01 kWh or 0.01 m3 at the coarsest; once for each of two readings.
_REGISTER_STEPS = 2 * 10
# Money and energy of a reading are asked for one after the other, on a slow bus with a retry.
_READ_SPREAD = timedelta(seconds=60)
_HOUR = timedelta(hours=1)


class ProofVerdict(StrEnum):
    """AGREES: use explains what is gone. DRIFT: it does not, or the count is wrong. UNREAD: the meter told
    nothing that day. UNSETTLED: a vend is under way, so the book itself is not sure."""

    AGREES = "AGREES"
    DRIFT = "DRIFT"
    UNREAD = "UNREAD"
    UNSETTLED = "UNSETTLED"


@dataclass(frozen=True, slots=True)
class Prices:
    """What a unit of a thousand (kWh, m3) may have cost at the meter, in hao."""

    cheapest: int
    dearest: int


# Nobody knows the meter's prices: then no use is too cheap, and none costs more than the dearest price
# that a meter can be told by us.
ANY_PRICE = Prices(0, 10 * HAO_PER_YUAN)


@dataclass(frozen=True, slots=True)
class MeterWord:
    """What the meter said: its purchase count and money, `used` units since the proof before (None: its
    register went back) and the power that flowed."""

    count: int
    remaining: Money
    used: int | None
    power_w: int


@dataclass(frozen=True, slots=True)
class BookWord:
    """What the book says of the same instant. `counted`: the count that its verified vends make, up to the
    meter's; `count_least` and `count_most`: what the meter's count must be by the times of vends;
    `waiting`: vends up to the meter's count that are not verified. `held`: what it holds. `left`: by how
    much the book was above the meter at the proof before."""

    counted: int
    count_least: int
    count_most: int
    waiting: int
    held: Money
    left: Money


@dataclass(frozen=True, slots=True)
class MeterProof:
    """The proof. `posted`: what is to go from the meter's wallet to income; `left`: what the book is above
    the meter after that (below zero within a step, above it by a meter's overdraft)."""

    verdict: ProofVerdict
    reason: str
    use: Money
    least: Money
    most: Money
    posted: Money
    left: Money


def explained(*, used: int, power_w: int, prices: Prices) -> tuple[Money, Money]:
    """(least, most) money that `used` units can have cost, see the head of this file."""
    slack = _REGISTER_STEPS + max(0, power_w) * (_READ_SPREAD // timedelta(seconds=1)) // (
        _HOUR // timedelta(seconds=1)
    )
    least = max(0, used - slack) * prices.cheapest // 1000
    most = -(-(used + slack) * prices.dearest // 1000)
    return Money(least) - STEP, Money(most) + STEP


def prove(meter: MeterWord, book: BookWord, prices: Prices) -> MeterProof:
    """Compare a meter with the book. The count first: with a wrong one the money means nothing (C8)."""
    gap = book.held - meter.remaining
    use = gap - book.left
    least, most = explained(used=meter.used or 0, power_w=meter.power_w, prices=prices)

    def told(verdict: ProofVerdict, reason: str) -> MeterProof:
        return MeterProof(verdict, reason, use, least, most, ZERO, gap)

    if not book.count_least <= meter.count <= book.count_most:
        wanted = f"{book.count_least} to {book.count_most}"
        return told(ProofVerdict.DRIFT, f"the meter's count is {meter.count}, the book's {wanted}")
    if book.waiting:
        return told(ProofVerdict.UNSETTLED, "a vend that the meter counts is not verified yet")
    if book.counted != meter.count:
        why = f"the meter's count is {meter.count}, the book's vends make {book.counted}"
        return told(ProofVerdict.DRIFT, why)
    if meter.used is None:
        return told(ProofVerdict.DRIFT, "the meter's register went back")
    if use < least:
        why = f"the meter holds {meter.remaining} yuan, more than use leaves of {book.held}"
        return told(ProofVerdict.DRIFT, why)
    if use > most:
        why = f"{use} yuan are gone from the meter, its use explains {most} at most"
        return told(ProofVerdict.DRIFT, why)
    posted = max(ZERO, min(gap, book.held))
    return MeterProof(
        ProofVerdict.AGREES, "use explains it", use, least, most, posted, gap - posted
    )
