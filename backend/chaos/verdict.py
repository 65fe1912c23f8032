"""The judge: four sums and every single payment, from four witnesses who do not know each other. Pure.

A balanced book proves nothing about the meter (trust.md section 1, finding 1): what the channel took,
what the book holds, what the meters' own wallets grew by and what the channel's bill says must be one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sold:
    """A credit as a meter's own record or the book's vend tells it."""

    meter: str
    purchase_no: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class BookVend:
    """A vend of the book: for which order, what, and its state."""

    order_no: str
    sold: Sold
    state: str


@dataclass(frozen=True, slots=True)
class Book:
    """What the product's database says, over all groups. `paid`: fen by order that a channel was paid for.

    `channel_fen` is what the channels owe, `wallets_fen` what meters hold, `waiting_fen` what is on its
    way or fits nothing, `kept_fen` what is neither: in purses of the cloud and charged, less what desks
    took; `in_purse` are the orders whose money stays in a purse. `broken` counts entries that do not sum
    to zero, balances that are not the sum of their postings and purses that are not what is left of
    their lots; `unfinished` counts events of the outbox that wait, by topic; `cases` are
    open exception cases by kind. `charged_hao` is what use was charged, `used_hao` what it should have
    been by what was read of each register (`read_wh`, by meter).
    """

    paid: Mapping[str, int]
    vends: Sequence[BookVend]
    channel_fen: int
    wallets_fen: int
    waiting_fen: int
    broken: int
    unfinished: Mapping[str, int]
    cases: Mapping[str, int]
    kept_fen: int = 0
    in_purse: frozenset[str] = frozenset()
    charged_hao: int = 0
    used_hao: int = 0
    read_wh: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Witnesses:
    """All four. `paid`: fen by order number in the channel's own book, `refunded_fen` what it gave back;
    `bill_fen`: the channel's bill; `grown_fen`: what each meter's wallet grew by, `sold`: the sales each
    meter recorded, `opened_fen`: what of their money the book took over as it was, `registers_wh`: what
    each register shows that the cloud charges by; `baits`: orders that nobody ever paid, `believed`: forged
    notices that were answered as good."""

    paid: Mapping[str, int]
    book: Book
    grown_fen: Mapping[str, int]
    sold: Sequence[Sold]
    bill_fen: int
    baits: frozenset[str] = frozenset()
    believed: int = 0
    refunded_fen: int = 0
    registers_wh: Mapping[str, int] = field(default_factory=dict)
    opened_fen: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sums, and what is wrong: `reasons` is empty when nothing is. The four are one: what was paid less
    what went back (`refunded_fen`), what the ledger says of the channels, what meters hold with what the
    cloud keeps for the others (`kept_fen`), and the bill."""

    paid_fen: int
    refunded_fen: int
    kept_fen: int
    ledger_fen: int
    meter_fen: int
    bill_fen: int
    double: int
    lost: int
    stuck: int
    forged_accepted: int
    reasons: Sequence[str] = field(default_factory=tuple)

    @property
    def good(self) -> bool:
        """Whether the run may pass."""
        return not self.reasons


def unsettled(paid: Mapping[str, int], book: Book) -> int:
    """How many payments and events still wait for somebody."""
    unbooked = sum(1 for number in paid if number not in book.paid)
    unsent = sum(1 for vend in book.vends if vend.state != "VERIFIED")
    uncharged = book.charged_hao < book.used_hao
    return unbooked + unsent + uncharged + sum(book.unfinished.values())


def judge(seen: Witnesses) -> Verdict:
    """Compare the witnesses, payment by payment and sum by sum."""
    book = seen.book
    by_order = Counter(vend.order_no for vend in book.vends)
    verified = {vend.order_no: vend.sold for vend in book.vends if vend.state == "VERIFIED"}
    recorded = Counter(seen.sold)
    in_book = Counter(vend.sold for vend in book.vends)
    double = sum(count - 1 for count in by_order.values() if count > 1)
    double += (recorded - in_book).total()
    lost = sum(
        1
        for number in seen.paid
        if number not in book.paid
        or (
            number not in book.in_purse
            and (number not in verified or not recorded[verified[number]])
        )
    )
    forged = seen.believed + len(seen.baits & book.paid.keys())
    stuck = unsettled(seen.paid, book)
    sums = {
        "paid_fen": sum(seen.paid.values()) - seen.refunded_fen,
        "refunded_fen": seen.refunded_fen,
        "kept_fen": book.kept_fen,
        "ledger_fen": book.channel_fen,
        "meter_fen": sum(seen.grown_fen.values()) + seen.opened_fen + book.kept_fen,
        "bill_fen": seen.bill_fen,
    }
    wrong = {
        "the four sums differ": not _agree(seen),
        "a payment was credited twice": double,
        "a payment was lost": lost,
        "work is stuck": stuck,
        "a forged notice was believed": forged,
        "an order was booked with another amount": any(
            seen.paid.get(number) != fen for number, fen in book.paid.items()
        ),
        "money waits in the book": book.waiting_fen,
        "the book is broken": book.broken,
        "a wallet did not grow by its sales": _grown_by_sales(seen),
        "an exception case is open": sum(book.cases.values()),
        "use was charged wrong": book.charged_hao != book.used_hao,
        "a register was read that no meter showed": any(
            wh > seen.registers_wh.get(meter, 0) for meter, wh in book.read_wh.items()
        ),
    }
    reasons = tuple(reason for reason, found in wrong.items() if found)
    return Verdict(
        **sums, double=double, lost=lost, stuck=stuck, forged_accepted=forged, reasons=reasons
    )


def _agree(seen: Witnesses) -> bool:
    """Whether the channels, the book, the meters and the bills say the same."""
    book = seen.book
    taken = sum(seen.paid.values()) - seen.refunded_fen
    at_meters = {sum(seen.grown_fen.values()) + seen.opened_fen, book.wallets_fen}
    return {taken, seen.bill_fen} | {each + book.kept_fen for each in at_meters} == {
        book.channel_fen
    }


def _grown_by_sales(seen: Witnesses) -> int:
    """How many meters hold another amount than their own sales explain."""
    sold: Counter[str] = Counter()
    for sale in seen.sold:
        sold[sale.meter] += sale.amount_fen
    return sum(1 for meter, fen in seen.grown_fen.items() if fen != sold[meter])
