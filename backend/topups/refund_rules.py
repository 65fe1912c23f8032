"""Pure rules of refunds (退费): what may go back, who must agree, what the channel's word means (C4, C30).

Amounts are fen: a channel pays whole fen, so what is left of a lot is rounded down, never up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backend.kernel.errors import Conflict, Forbidden, InvalidInput
from backend.kernel.money import HAO_PER_FEN, ZERO, Money

from .ports import RefundState as ChannelWord


class RefundState(StrEnum):
    """REQUESTED waits for a second operator. APPROVED: the purse is lowered, the money has not left.
    SENT: the channel was asked and may have acted. DONE: the payer has it. FAILED: it did not leave and
    is in the purse again. REFUSED: a second operator said no."""

    REQUESTED = "REQUESTED"
    APPROVED = "APPROVED"
    SENT = "SENT"
    DONE = "DONE"
    FAILED = "FAILED"
    REFUSED = "REFUSED"


FINAL = frozenset({RefundState.DONE, RefundState.FAILED, RefundState.REFUSED})

# Most are done in a minute and somebody waits; WeChat takes minutes for change and one to three days for a
# bank card (channels.md section 2.3). Alipay wants ten seconds between two questions (3.2).
_ASK_AT_LEAST = timedelta(seconds=15)
_ASK_AT_MOST = timedelta(hours=2)
UNREACHED_FOR = timedelta(minutes=30)
UNDER_WAY_FOR = timedelta(days=3)
# The merchant account is short of money that is not paid out yet: it fills by itself (WeChat Pay v3,
# Alipay).
_LATER = frozenset({"NOT_ENOUGH", "ACQ.SELLER_BALANCE_NOT_ENOUGH"})


@dataclass(frozen=True, slots=True)
class Refundable:
    """What an order's money looks like now. `lot_left`: what remains of its lot; `purse_left`: what the
    purse that holds the lot has; `asked_for`: refunds that wait for a second operator, in fen."""

    lot_left: Money
    purse_left: Money
    asked_for_fen: int

    @property
    def fen(self) -> int:
        """The most that can be asked for now."""
        held = max(ZERO, min(self.lot_left, self.purse_left))
        return max(0, held.hao // HAO_PER_FEN - self.asked_for_fen)

    @property
    def elsewhere(self) -> Money:
        """What the lot has but the purse has not: it is at the meter, or on its way there."""
        return max(ZERO, self.lot_left - max(ZERO, self.purse_left))


def check_request(
    *, amount_fen: int, reason: str, refundable: Refundable, taken_back: str = ""
) -> str:
    """The checked reason of a refund that may be asked for.

    `taken_back`: why no command lowers the money of the meter that has the rest (its profile says
    that). Raises InvalidInput (reason, amount), Conflict (more than can go back, and where the rest is).
    """
    told = reason.strip()
    if not 4 <= len(told) <= 200:
        raise InvalidInput("say in a few words why", field="reason")
    if amount_fen <= 0:
        raise InvalidInput("a refund is more than 0", field="amount")
    most = refundable.fen
    if amount_fen <= most:
        return told
    words = f"at most {Money.of_fen(most)} yuan of this top-up can go back now"
    if refundable.elsewhere:
        words += (
            f"; {refundable.elsewhere} yuan are at the meter, or were used there. Can a command lower"
            f" its money? {taken_back or 'no: its model holds none'}. Taking the meter down moves"
            " what it holds into the purse"
        )
    raise Conflict(words)


def needs_second(*, amount_fen: int, gone_back_fen: int, alone_fen: int) -> bool:
    """Whether a second operator must agree. `gone_back_fen`: what was asked for of the same order and
    not refused or failed, so that many small refunds are no way around the limit."""
    return amount_fen + gone_back_fen > alone_fen


def check_approver(*, requested_by: str, approver: str) -> None:
    """Raise Forbidden when the one who asked would agree (C30)."""
    if requested_by == approver:
        raise Forbidden("who asked for a refund cannot approve it")


class Outcome(StrEnum):
    """What to do after asking the channel. HELP: ask again, and a person must look."""

    DONE = "DONE"
    FAILED = "FAILED"
    AGAIN = "AGAIN"
    HELP = "HELP"


def judge_word(*, word: ChannelWord, since: timedelta) -> Outcome:
    """What the channel's word means, `since` the first time it was asked."""
    if word is ChannelWord.DONE:
        return Outcome.DONE
    if word is ChannelWord.FAILED:
        return Outcome.FAILED
    return Outcome.HELP if since >= UNDER_WAY_FOR else Outcome.AGAIN


def judge_refusal(*, code: str, asked: int) -> Outcome:
    """What a refusal means, `asked` times asked with this one.

    The first call refused means that nothing moved. After a call whose answer was lost the money may
    have left, so a refusal gives nothing back to the purse: a person must look.
    """
    if code in _LATER or asked > 1:
        return Outcome.HELP
    return Outcome.FAILED


def ask_again(*, at: datetime, since: timedelta) -> datetime:
    """When to ask again for what is under way `since` its first try: after a third of that time, however
    often it was asked for. A count would take tries that reached nobody for the channel's own slowness."""
    return at + min(max(since // 3, _ASK_AT_LEAST), _ASK_AT_MOST)
