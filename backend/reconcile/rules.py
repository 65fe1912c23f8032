"""Pure matching of a channel's daily bill with the book (C6).

The bill of a China day is matched by order, transaction and refund number, whatever day the book has
them on. What the book has of the day and the bill has not is missing, unless it is so close to midnight
that the next bill may bring it: that is carried. So an order that was paid at 23:59:59 and billed on the
next day belongs to the next bill, and one that no bill brings is told one day later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from backend.kernel.clock import CHINA, Period, day_period

# Clocks of two houses, and the seconds between a payment and its booking, at either end of a day.
BORDER = timedelta(minutes=15)
# UnionPay's settlement day ends at 23:00 (backend/integrations/unionpay_bill.py).
_BORDERS = {"UNIONPAY": timedelta(hours=1) + BORDER}
# Bills are made at 10:00 China for the day before (channels.md sections 2.3 and 3.2, [doc]).
PUBLISHED = time(10, 0)
# A bill that has not come by then is a person's business; trying goes on.
OVERDUE_AFTER = timedelta(hours=8)
# So far back a day is still planned: after a longer stand-still somebody must look anyway.
PLANNED_BACK = 30


class BillClass(StrEnum):
    """What became of a line or a booking. REFUND_DIFFERS is every difference of a refund."""

    MATCHED = "MATCHED"
    ONLY_OURS = "ONLY_OURS"
    ONLY_THEIRS = "ONLY_THEIRS"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    REFUND_DIFFERS = "REFUND_DIFFERS"


@dataclass(frozen=True, slots=True)
class Theirs:
    """A line of the bill, in fen. `refund_no`: it is money given back, `refund_fen` of it; then `order_no`
    is empty where the bill does not name the order (UnionPay's)."""

    order_no: str
    transaction_id: str
    amount_fen: int
    refund_no: str | None
    refund_fen: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Paid:
    """An order of ours at this merchant account. `paid_at` None: not paid, by the book."""

    order_no: str
    transaction_id: str | None
    amount_fen: int
    paid_at: datetime | None


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A refund of ours at this merchant account. `done_at` None: it has not ended, by the book."""

    refund_no: str
    order_no: str
    amount_fen: int
    done_at: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Where bill and book differ. A side that has nothing is None. `ordinal` tells alike ones apart."""

    kind: BillClass
    order_no: str
    transaction_id: str
    refund_no: str
    ours_fen: int | None
    theirs_fen: int | None
    reason: str
    ordinal: int = 0

    @property
    def key(self) -> str:
        """Names the difference within its day: the same one found again has the same key."""
        numbers = (self.order_no, self.transaction_id, self.refund_no, str(self.ordinal))
        return "|".join((self.kind, *numbers))


@dataclass(frozen=True, slots=True)
class Matching:
    """A bill compared with the book. Sums in fen, over what was compared; `carried_fen`: payments of
    the last minutes that the next bill may bring (not in the sums of ours)."""

    matched: int
    findings: tuple[Finding, ...]
    theirs_paid_fen: int
    theirs_refund_fen: int
    ours_paid_fen: int
    ours_refund_fen: int
    carried_fen: int


def border_of(channel: str) -> timedelta:
    """How long before midnight a channel may have begun its next day."""
    return _BORDERS.get(channel, BORDER)


def window(day: date, border: timedelta = BORDER) -> Period:
    """When our bookings must lie that the bill of `day` is asked for: the China day, and what the
    bill before it left to it."""
    whole = day_period(day, CHINA)
    return Period(whole.start - border, whole.end)


def is_overdue(day: date, *, at: datetime) -> bool:
    """Whether the bill of a day should long have come."""
    return at >= due_at(day) + OVERDUE_AFTER


def due_at(day: date) -> datetime:
    """When the bill of a China day can be fetched."""
    return datetime.combine(day + timedelta(days=1), PUBLISHED, CHINA)


def days_due(*, since: datetime, at: datetime) -> list[date]:
    """The days whose bill is out at `at`, of a merchant account that exists since `since`; oldest first."""
    today = at.astimezone(CHINA).date()
    first = max(since.astimezone(CHINA).date(), today - timedelta(days=PLANNED_BACK))
    days = [first + timedelta(days=n) for n in range((today - first).days)]
    return [day for day in days if due_at(day) <= at]


def match(
    day: date,
    *,
    lines: Sequence[Theirs],
    paid: Iterable[Paid],
    given_back: Iterable[GivenBack],
    border: timedelta = BORDER,
) -> Matching:
    """Put every line of the bill and every booking that it is asked for into exactly one class.

    `paid`, `given_back`: what the lines name, and what lies in `window` and on no earlier bill. An
    order belongs to one line at most, and only to one of its own transaction.
    """
    asked = window(day, border)
    matched: list[Finding] = []
    found: list[Finding] = []
    orders = {order.order_no: order for order in paid}
    refunds = {refund.refund_no: refund for refund in given_back}
    for line in lines:
        into = _refund_line(line, refunds) if line.refund_no else _payment_line(line, orders)
        (matched if into.kind is BillClass.MATCHED else found).append(into)
    assert asked.end is not None
    late = asked.end - border
    carried = 0
    for order in orders.values():
        if order.paid_at is None or order.paid_at not in asked:
            continue
        if order.paid_at >= late:
            carried += order.amount_fen
        else:
            found.append(_only_ours(order))
    for refund in refunds.values():
        if refund.done_at is None or refund.done_at not in asked:
            continue
        if refund.done_at < late:
            found.append(_only_our_refund(refund))
    every = [*matched, *found]
    payments = [finding for finding in every if not finding.refund_no]
    backs = [finding for finding in every if finding.refund_no]
    return Matching(
        matched=len(matched),
        findings=_numbered(found),
        theirs_paid_fen=sum(finding.theirs_fen or 0 for finding in payments),
        theirs_refund_fen=sum(finding.theirs_fen or 0 for finding in backs),
        ours_paid_fen=sum(finding.ours_fen or 0 for finding in payments),
        ours_refund_fen=sum(finding.ours_fen or 0 for finding in backs),
        carried_fen=carried,
    )


def _payment_line(line: Theirs, orders: dict[str, Paid]) -> Finding:
    order = orders.get(line.order_no)
    if order is None:
        return _of_payment(line, BillClass.ONLY_THEIRS, None, "no such order, or billed before")
    if order.paid_at is None:
        return _of_payment(line, BillClass.ONLY_THEIRS, None, "the order is not paid in our book")
    if order.transaction_id != line.transaction_id:
        why = f"our book has it paid by the transaction {order.transaction_id}"
        return _of_payment(line, BillClass.ONLY_THEIRS, None, why)
    del orders[line.order_no]
    if order.amount_fen != line.amount_fen:
        return _of_payment(line, BillClass.AMOUNT_DIFFERS, order.amount_fen, "the amounts differ")
    return _of_payment(line, BillClass.MATCHED, order.amount_fen, "")


def _refund_line(line: Theirs, refunds: dict[str, GivenBack]) -> Finding:
    assert line.refund_no is not None
    refund = refunds.get(line.refund_no)
    if refund is None:
        return _of_refund(line, BillClass.REFUND_DIFFERS, None, "no such refund, or billed before")
    if refund.done_at is None:
        why = "the refund has not ended in our book"
        return _of_refund(line, BillClass.REFUND_DIFFERS, None, why)
    del refunds[line.refund_no]
    if line.order_no and refund.order_no != line.order_no:
        why = f"in our book it is a refund of the order {refund.order_no}"
        return _of_refund(line, BillClass.REFUND_DIFFERS, refund.amount_fen, why)
    if refund.amount_fen != line.refund_fen:
        why = "the amounts differ"
        return _of_refund(line, BillClass.REFUND_DIFFERS, refund.amount_fen, why)
    return _of_refund(line, BillClass.MATCHED, refund.amount_fen, "")


def _of_payment(line: Theirs, kind: BillClass, ours_fen: int | None, reason: str) -> Finding:
    return Finding(kind, line.order_no, line.transaction_id, "", ours_fen, line.amount_fen, reason)


def _of_refund(line: Theirs, kind: BillClass, ours_fen: int | None, reason: str) -> Finding:
    assert line.refund_no is not None
    return Finding(
        kind,
        line.order_no,
        line.transaction_id,
        line.refund_no,
        ours_fen,
        line.refund_fen,
        reason,
    )


def _only_ours(order: Paid) -> Finding:
    return Finding(
        BillClass.ONLY_OURS,
        order.order_no,
        order.transaction_id or "",
        "",
        order.amount_fen,
        None,
        "the bill has no such payment",
    )


def _only_our_refund(refund: GivenBack) -> Finding:
    return Finding(
        BillClass.REFUND_DIFFERS,
        refund.order_no,
        "",
        refund.refund_no,
        refund.amount_fen,
        None,
        "the bill has no such refund",
    )


def _numbered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Alike findings (a line that comes twice) told apart by their ordinal."""
    seen: dict[str, int] = {}
    numbered: list[Finding] = []
    for finding in findings:
        ordinal = seen.get(finding.key, 0)
        seen[finding.key] = ordinal + 1
        numbered.append(replace(finding, ordinal=ordinal))
    return tuple(numbered)
