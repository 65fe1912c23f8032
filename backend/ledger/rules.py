"""Pure rules of the ledger: balanced entries, the entries of a top-up's life, lots, arrears.

Debits are positive, credits negative. A liability (what is owed to a customer) therefore has a
negative balance; `owed` turns it round for people. A claim (arrears) has a positive one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from backend.kernel.errors import DomainError
from backend.kernel.money import ZERO, Money


class AccountKind(StrEnum):
    """Ledger accounts of a project, and what their `ref` is.

    Assets: CHANNEL (a credential: money at a payment channel), CASH_DESK (a shift: money in its
    drawer). Claims, by line, on a purse (ref: the purse): ENERGY_ARREARS .. SERVICE_ARREARS.
    Liabilities: PURSE (an account: paid and neither at a meter nor used), IN_TRANSIT (a meter: on its
    way to it), METER_WALLET (a meter: held by it), REFUND_DUE (an account: on its way back to the
    payer), SUSPENSE (a project: money that fits nothing yet). Income, of the project: REVENUE (used at
    meters that hold money), ENERGY, FIXED_FEE, LOSS, PUBLIC, SERVICE (charged line by line), ROUNDING
    (the fraction left at closing, C2). Expense, of the project: GRANT_FUND (grants given).
    """

    CHANNEL = "CHANNEL"
    CASH_DESK = "CASH_DESK"
    CARD_SLIPS = "CARD_SLIPS"
    CASH_SAFE = "CASH_SAFE"
    PURSE = "PURSE"
    IN_TRANSIT = "IN_TRANSIT"
    METER_WALLET = "METER_WALLET"
    REFUND_DUE = "REFUND_DUE"
    SUSPENSE = "SUSPENSE"
    ENERGY_ARREARS = "ENERGY_ARREARS"
    FIXED_FEE_ARREARS = "FIXED_FEE_ARREARS"
    LOSS_ARREARS = "LOSS_ARREARS"
    PUBLIC_ARREARS = "PUBLIC_ARREARS"
    SERVICE_ARREARS = "SERVICE_ARREARS"
    REVENUE = "REVENUE"
    ENERGY = "ENERGY"
    FIXED_FEE = "FIXED_FEE"
    LOSS = "LOSS"
    PUBLIC = "PUBLIC"
    SERVICE = "SERVICE"
    ROUNDING = "ROUNDING"
    GRANT_FUND = "GRANT_FUND"
    CASH_DIFFERENCE = "CASH_DIFFERENCE"


# What is charged, in the order in which a purse pays it: energy first, so that what stays owing is the
# fee and not the light (domain-notes.md section 2.5 gives the same order of composition). Each line
# has its income and its arrears.
LINES = (
    AccountKind.ENERGY,
    AccountKind.FIXED_FEE,
    AccountKind.LOSS,
    AccountKind.PUBLIC,
    AccountKind.SERVICE,
)
ARREARS_OF = {line: AccountKind(f"{line}_ARREARS") for line in LINES}
ARREARS = tuple(ARREARS_OF.values())

# Accounts whose balance row is kept; the others are derived from postings so that none is hot.
KEPT = frozenset(
    {
        AccountKind.PURSE,
        AccountKind.IN_TRANSIT,
        AccountKind.METER_WALLET,
        AccountKind.REFUND_DUE,
        *ARREARS,
    }
)


class Unbalanced(DomainError):
    """Postings that do not sum to zero, or are not at least two."""

    code = "UNBALANCED"


class Overdrawn(DomainError):
    """More would be taken than is there."""

    code = "OVERDRAWN"


@dataclass(frozen=True, slots=True)
class AccountKey:
    """Names a ledger account of a project: its kind and what it belongs to."""

    kind: AccountKind
    ref: UUID


@dataclass(frozen=True, slots=True)
class Posting:
    """One line: a signed amount on an account. Debit positive."""

    account: AccountKey
    amount: Money


@dataclass(frozen=True, slots=True)
class Transfer:
    """A balanced entry. It cannot be built unbalanced (raises Unbalanced)."""

    business_key: str
    kind: str
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        total = sum((p.amount.hao for p in self.postings), 0)
        if total != 0 or len(self.postings) < 2 or any(not p.amount for p in self.postings):
            raise Unbalanced("a ledger entry needs two or more postings that sum to zero")

    def reversed(self, *, reason: str) -> Transfer:
        """The entry that undoes this one (C1: history is never edited)."""
        return Transfer(
            business_key=f"{self.business_key}:reverse:{reason}",
            kind=f"{self.kind}_REVERSED",
            postings=tuple(Posting(p.account, -p.amount) for p in self.postings),
        )


def move(
    *, business_key: str, kind: str, debit: AccountKey, credit: AccountKey, amount: Money
) -> Transfer:
    """A two-line entry: `amount` from `credit` to `debit`. Raises Unbalanced for a zero amount."""
    return Transfer(business_key, kind, (Posting(debit, amount), Posting(credit, -amount)))


def topup_paid(*, topup_id: UUID, into: AccountKey, account: UUID, amount: Money) -> Transfer:
    """Money arrived `into` a channel or a drawer and is owed to the account's purse."""
    return move(
        business_key=f"topup:{topup_id}:paid",
        kind="TOPUP_PAID",
        debit=into,
        credit=AccountKey(AccountKind.PURSE, account),
        amount=amount,
    )


def vend_reserved(*, vend_id: UUID, account: UUID, meter: UUID, amount: Money) -> Transfer:
    """The purse's money is set aside for a vend to the meter (reserve, then settle or void)."""
    return move(
        business_key=f"vend:{vend_id}:reserved",
        kind="VEND_RESERVED",
        debit=AccountKey(AccountKind.PURSE, account),
        credit=AccountKey(AccountKind.IN_TRANSIT, meter),
        amount=amount,
    )


def vend_settled(*, vend_id: UUID, meter: UUID, amount: Money) -> Transfer:
    """The meter's own answer says that it holds the money (C10)."""
    return move(
        business_key=f"vend:{vend_id}:settled",
        kind="VEND_SETTLED",
        debit=AccountKey(AccountKind.IN_TRANSIT, meter),
        credit=AccountKey(AccountKind.METER_WALLET, meter),
        amount=amount,
    )


class LotKind(StrEnum):
    """A grant is used before paid money (C4)."""

    GRANT = "GRANT"
    PAID = "PAID"


@dataclass(frozen=True, slots=True)
class Lot:
    """What is left of one top-up or grant. `order` sorts lots of a kind by age."""

    id: UUID
    kind: LotKind
    remaining: Money
    order: int


@dataclass(frozen=True, slots=True)
class LotUse:
    """An amount taken from a lot."""

    lot_id: UUID
    amount: Money


def take_from_lots(lots: Sequence[Lot], amount: Money) -> list[LotUse]:
    """Which lots pay `amount`: grants first, then the oldest paid money (C4).

    Raises Overdrawn when they hold less. Zero takes nothing; negative amounts are refused.
    """
    if amount < ZERO:
        raise ValueError("cannot take a negative amount")
    uses: list[LotUse] = []
    left = amount
    for lot in sorted(lots, key=lambda lot: (lot.kind is not LotKind.GRANT, lot.order)):
        if not left:
            break
        part = min(left, lot.remaining)
        if part > ZERO:
            uses.append(LotUse(lot.id, part))
            left -= part
    if left:
        raise Overdrawn(f"{left} yuan more is asked than the lots hold")
    return uses


def unpaid_lines(lines: Mapping[AccountKind, int], covered: int) -> dict[AccountKind, int]:
    """What stays owing, by line of LINES in hao, when a purse has `covered` hao for all of them.

    The first lines are paid first; a line that is negative (a correction) pays for the others.
    """
    left = covered - sum(amount for amount in lines.values() if amount < 0)
    owing: dict[AccountKind, int] = {}
    for line in LINES:
        amount = lines.get(line, 0)
        if amount > 0:
            left -= amount
            if left < 0:
                owing[line] = -left
                left = 0
    return owing


def recovered_lines(arrears: Mapping[AccountKind, int], funds: int) -> dict[AccountKind, int]:
    """What `funds` hao pay of arrears, by line of LINES in hao, in their order (C7)."""
    paid: dict[AccountKind, int] = {}
    for line in LINES:
        part = min(funds, arrears.get(line, 0))
        if part > 0:
            paid[line] = part
            funds -= part
    return paid
