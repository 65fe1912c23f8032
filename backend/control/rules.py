"""The crown rule as one pure function: what to do with a vend, from what the meter itself says (C8-C10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from backend.kernel.money import HAO_PER_YUAN, Money


class VendState(StrEnum):
    """QUEUED: number allocated. SENT: a write may have reached the meter. VERIFIED: the meter's own
    read-back says credited. STOPPED: a person must decide. VOIDED: the meter was taken down before it
    took it, and the money went on with the account's."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    VERIFIED = "VERIFIED"
    STOPPED = "STOPPED"
    VOIDED = "VOIDED"


class VendSource(StrEnum):
    """Where a vend's money comes from: an order, the meter that served before (A17), a grant, a grant at
    an account's opening."""

    TOPUP = "TOPUP"
    TRANSFER = "TRANSFER"
    GRANT = "GRANT"
    OPENING = "OPENING"


class VendStep(StrEnum):
    """What to do next."""

    SEND = "SEND"
    VERIFIED = "VERIFIED"
    STOP = "STOP"


@dataclass(frozen=True, slots=True)
class Wallet:
    """What the meter says of itself: its purchase count and remaining amount."""

    purchase_no: int
    remaining: Money


@dataclass(frozen=True, slots=True)
class VendFacts:
    """A vend as we know it: its number N and amount, the wallet before the first write (None when
    nothing was ever written), and the time since then."""

    purchase_no: int
    amount: Money
    before: Wallet | None
    since_before: timedelta = timedelta(0)


# What a meter can use at most: 60 A at 264 V on three phases, at five yuan a kWh. Generous on
# purpose: it bounds a comparison, it never charges anybody.
_MOST_HAO_PER_SECOND = 60 * 264 * 3 * 5 * HAO_PER_YUAN // 1000 // 3600
_METER_STEP = Money.of_fen(1)


def most_used(elapsed: timedelta) -> Money:
    """The most a meter's wallet can have fallen by use within `elapsed`, plus one display step."""
    seconds = max(0, elapsed // timedelta(seconds=1)) + 1
    return Money(_MOST_HAO_PER_SECOND * seconds) + _METER_STEP


def decide_vend(facts: VendFacts, meter: Wallet) -> tuple[VendStep, str]:
    """Compare the vend's number N with the meter's count M, with the reason (C8, C9).

    M = N-1: the meter has not taken it: send with the same N. M = N: already done: compare the
    amount, allowing for what the meter can have used since; without a `before` nothing was ever
    written by us, so somebody else moved the count. Anything else: stop selling, never guess.
    """
    n, m = facts.purchase_no, meter.purchase_no
    if m == n - 1:
        return VendStep.SEND, "the meter waits for this number"
    if m != n:
        return VendStep.STOP, f"the meter's purchase count is {m}, the ledger expects {n - 1}"
    if facts.before is None:
        return VendStep.STOP, f"the meter's count is {m} already, but nothing was sent to it"
    full = facts.before.remaining + facts.amount
    if meter.remaining > full + _METER_STEP:
        return VendStep.STOP, f"the meter holds {meter.remaining} yuan, at most {full} fits"
    if meter.remaining < full - most_used(facts.since_before):
        return VendStep.STOP, f"the count moved, but {meter.remaining} yuan is too little of {full}"
    return VendStep.VERIFIED, "the meter's count and amount agree"
