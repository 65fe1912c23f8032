"""A bill against the book: each line in exactly one class, sums that add up, borders that end (C6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.reconcile.rules import (
    BORDER,
    BillClass,
    GivenBack,
    Matching,
    Paid,
    Theirs,
    border_of,
    days_due,
    due_at,
    match,
    window,
)

DAY = date(2026, 11, 21)
NOON = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, 16, 0, tzinfo=UTC)  # the end of the China day
NUMBERS = st.sampled_from([f"order{n}" for n in range(6)])
REFUND_NUMBERS = st.sampled_from([f"refund{n}" for n in range(4)])
TRANSACTIONS = st.sampled_from([f"t{n}" for n in range(4)])
FEN = st.integers(min_value=1, max_value=500)
INSTANTS = st.integers(-16 * 3600, 32 * 3600).map(lambda s: NOON + timedelta(seconds=s))
LINES = st.lists(
    st.builds(Theirs, NUMBERS, TRANSACTIONS, FEN, st.none() | REFUND_NUMBERS, FEN, INSTANTS),
    max_size=12,
)
ORDERS = st.lists(
    st.builds(Paid, NUMBERS, TRANSACTIONS, FEN, st.none() | INSTANTS),
    unique_by=lambda order: order.order_no,
)
REFUNDS = st.lists(
    st.builds(GivenBack, REFUND_NUMBERS, NUMBERS, FEN, st.none() | INSTANTS),
    unique_by=lambda refund: refund.refund_no,
)
ORDER = Paid("order0", "t0", 500, NOON)
LINE = Theirs("order0", "t0", 500, None, 0, NOON)
REFUND = GivenBack("refund0", "order0", 200, NOON)
BACK = Theirs("order0", "t0", 0, "refund0", 200, NOON)


def compared(
    lines: list[Theirs], orders: list[Paid], refunds: list[GivenBack] | None = None
) -> Matching:
    """The bill of DAY against the book."""
    return match(DAY, lines=lines, paid=orders, given_back=refunds or [])


def classes(matching: Matching) -> list[tuple[BillClass, int | None, int | None]]:
    """What differs: class, our fen, their fen."""
    return [(each.kind, each.ours_fen, each.theirs_fen) for each in matching.findings]


def is_asked(at: datetime | None) -> bool:
    """Whether a booking lies where the bill of DAY must bring it."""
    return at is not None and window(DAY).start <= at < MIDNIGHT - BORDER


@given(LINES, ORDERS, REFUNDS)
def test_every_line_and_every_booking_falls_into_exactly_one_class(
    lines: list[Theirs], orders: list[Paid], refunds: list[GivenBack]
) -> None:
    found = compared(lines, orders, refunds)
    with_theirs = [each for each in found.findings if each.theirs_fen is not None]
    assert found.matched + len(with_theirs) == len(lines)
    told = sorted(
        (each.order_no, each.transaction_id, each.refund_no, each.theirs_fen or 0)
        for each in with_theirs
    )
    said = [
        (
            line.order_no,
            line.transaction_id,
            line.refund_no or "",
            line.refund_fen if line.refund_no else line.amount_fen,
        )
        for line in lines
    ]
    for one in told:
        said.remove(one)
    assert len(said) == found.matched, "a line was told that the bill has not"
    keys = [each.key for each in found.findings]
    assert len(keys) == len(set(keys)), "two differences have one name"
    ours = [each for each in found.findings if each.ours_fen is not None and not each.refund_no]
    assert len({each.order_no for each in ours}) == len(ours), "an order was told twice"
    only_ours = {each.order_no for each in ours if each.theirs_fen is None}
    on_the_bill = {(line.order_no, line.transaction_id) for line in lines if not line.refund_no}
    assert only_ours == {
        order.order_no
        for order in orders
        if is_asked(order.paid_at) and (order.order_no, order.transaction_id) not in on_the_bill
    }
    assert all(
        (each.kind is BillClass.REFUND_DIFFERS) == bool(each.refund_no) for each in found.findings
    )


@given(LINES, ORDERS, REFUNDS)
def test_the_sums_of_both_sides_differ_by_what_is_told_and_by_nothing_else(
    lines: list[Theirs], orders: list[Paid], refunds: list[GivenBack]
) -> None:
    found = compared(lines, orders, refunds)
    assert found.theirs_paid_fen == sum(each.amount_fen for each in lines if not each.refund_no)
    assert found.theirs_refund_fen == sum(each.refund_fen for each in lines if each.refund_no)
    told = [each for each in found.findings if not each.refund_no]
    assert found.ours_paid_fen - found.theirs_paid_fen == sum(
        (each.ours_fen or 0) - (each.theirs_fen or 0) for each in told
    )
    backs = [each for each in found.findings if each.refund_no]
    assert found.ours_refund_fen - found.theirs_refund_fen == sum(
        (each.ours_fen or 0) - (each.theirs_fen or 0) for each in backs
    )
    on_the_bill = {(each.order_no, each.transaction_id) for each in lines if not each.refund_no}
    left = [each for each in orders if (each.order_no, each.transaction_id) not in on_the_bill]
    assert found.carried_fen == sum(
        each.amount_fen
        for each in left
        if each.paid_at is not None and MIDNIGHT - BORDER <= each.paid_at < MIDNIGHT
    )


def test_what_both_have_alike_is_matched_and_nothing_is_told() -> None:
    found = compared([LINE, BACK], [ORDER], [REFUND])
    assert (found.matched, found.findings) == (2, ())
    assert (found.ours_paid_fen, found.ours_refund_fen) == (500, 200)


@pytest.mark.parametrize(
    ("lines", "orders", "differs"),
    [
        ([], [ORDER], (BillClass.ONLY_OURS, 500, None)),
        ([LINE], [], (BillClass.ONLY_THEIRS, None, 500)),
        ([LINE], [replace(ORDER, paid_at=None)], (BillClass.ONLY_THEIRS, None, 500)),
        ([replace(LINE, amount_fen=501)], [ORDER], (BillClass.AMOUNT_DIFFERS, 500, 501)),
        ([replace(LINE, amount_fen=499)], [ORDER], (BillClass.AMOUNT_DIFFERS, 500, 499)),
    ],
)
def test_a_payment_that_differs_is_told_with_both_amounts(
    lines: list[Theirs], orders: list[Paid], differs: tuple[BillClass, int | None, int | None]
) -> None:
    found = compared(lines, orders)
    assert (found.matched, classes(found)) == (0, [differs])


@pytest.mark.parametrize(
    ("lines", "refunds", "differs"),
    [
        ([], [REFUND], (200, None)),
        ([BACK], [], (None, 200)),
        ([BACK], [replace(REFUND, done_at=None)], (None, 200)),
        ([BACK], [replace(REFUND, amount_fen=199)], (199, 200)),
        ([BACK], [replace(REFUND, order_no="order1")], (200, 200)),
    ],
)
def test_a_refund_that_differs_is_told_with_both_amounts(
    lines: list[Theirs], refunds: list[GivenBack], differs: tuple[int | None, int | None]
) -> None:
    found = compared(lines, [], refunds)
    assert (found.matched, classes(found)) == (0, [(BillClass.REFUND_DIFFERS, *differs)])


def test_a_refund_that_names_no_order_is_matched_by_its_own_number() -> None:
    """UnionPay's file names the payment of a refund by UnionPay's number only."""
    matching = compared([replace(BACK, order_no="")], [], [REFUND])
    assert (matching.matched, classes(matching)) == (1, [])
    other = compared([replace(BACK, order_no="order1")], [], [REFUND])
    assert classes(other) == [(BillClass.REFUND_DIFFERS, 200, 200)]


def test_an_order_paid_twice_is_matched_once_and_the_other_payment_is_told() -> None:
    second = replace(LINE, transaction_id="t1")
    for lines in ([LINE, second], [second, LINE]):
        found = compared(lines, [ORDER])
        assert found.matched == 1
        assert [each.transaction_id for each in found.findings] == ["t1"]
    # The very same line twice is money twice as well, unless a person finds that it is not.
    again = compared([LINE, LINE, LINE], [ORDER])
    assert (again.matched, len({each.key for each in again.findings})) == (1, 2)


def test_an_order_paid_a_second_before_midnight_waits_for_the_next_bill_and_no_longer() -> None:
    late = replace(ORDER, paid_at=MIDNIGHT - timedelta(seconds=1))
    today = compared([], [late])
    assert (today.findings, today.carried_fen, today.ours_paid_fen) == ((), 500, 0)
    tomorrow = DAY + timedelta(days=1)
    billed = match(tomorrow, lines=[LINE], paid=[late], given_back=[])
    assert (billed.matched, billed.findings) == (1, ())
    never = match(tomorrow, lines=[], paid=[late], given_back=[])
    assert classes(never) == [(BillClass.ONLY_OURS, 500, None)]


def test_a_line_is_matched_whatever_day_our_book_has_the_payment_on() -> None:
    next_day = replace(ORDER, paid_at=MIDNIGHT + timedelta(seconds=1))
    long_ago = replace(ORDER, paid_at=NOON - timedelta(days=9))
    for order in (next_day, long_ago):
        assert compared([LINE], [order]).matched == 1
        assert compared([], [order]).findings == (), "not of this day, so not missing"


def test_the_border_begins_fifteen_minutes_before_midnight() -> None:
    before = replace(ORDER, paid_at=MIDNIGHT - BORDER - timedelta(microseconds=1))
    assert len(compared([], [before]).findings) == 1
    assert compared([], [replace(ORDER, paid_at=MIDNIGHT - BORDER)]).findings == ()


def test_a_bill_is_asked_for_from_ten_o_clock_of_the_next_china_day() -> None:
    opened = datetime(2026, 11, 19, 8, 0, tzinfo=UTC)
    ten = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
    assert due_at(DAY) == ten
    assert days_due(since=opened, at=ten)[-1] == DAY
    before = days_due(since=opened, at=ten - timedelta(seconds=1))
    assert before == [date(2026, 11, 19), date(2026, 11, 20)]
    assert days_due(since=ten, at=ten) == [], "an account of today has no bill of yesterday"
    long_off = days_due(since=opened - timedelta(days=400), at=ten)
    assert (len(long_off), long_off[-1]) == (30, DAY)


def test_unionpays_day_ends_at_eleven_so_its_last_hour_is_the_next_bills() -> None:
    eleven = replace(ORDER, paid_at=MIDNIGHT - timedelta(hours=1))
    border = border_of("UNIONPAY")
    assert border_of("WECHAT_PAY") == BORDER
    assert len(compared([], [eleven]).findings) == 1
    found = match(DAY, lines=[], paid=[eleven], given_back=[], border=border)
    assert (found.findings, found.carried_fen) == ((), 500)
    tomorrow = DAY + timedelta(days=1)
    never = match(tomorrow, lines=[], paid=[eleven], given_back=[], border=border)
    assert classes(never) == [(BillClass.ONLY_OURS, 500, None)]
    assert window(tomorrow, border).start == MIDNIGHT - border


def test_a_refund_whose_line_names_no_order_is_matched_by_its_own_number() -> None:
    found = compared([replace(BACK, order_no="")], [], [REFUND])
    assert (found.matched, found.findings) == (1, ())
