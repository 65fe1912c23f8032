"""The judge names every lie of every witness; only four truths pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.chaos.verdict import Book, BookVend, Sold, Witnesses, judge

FIRST, SECOND = Sold("m1", 1, 5000), Sold("m2", 1, 700)
TRUE_BOOK = Book(
    paid={"a": 5000, "b": 700},
    vends=(BookVend("a", FIRST, "VERIFIED"), BookVend("b", SECOND, "VERIFIED")),
    channel_fen=5700,
    wallets_fen=5700,
    waiting_fen=0,
    broken=0,
    unfinished={},
    cases={},
)
TRUE = Witnesses(
    paid={"a": 5000, "b": 700},
    book=TRUE_BOOK,
    grown_fen={"m1": 5000, "m2": 700, "m3": 0},
    sold=(FIRST, SECOND),
    bill_fen=5700,
    baits=frozenset({"bait"}),
)


def test_four_witnesses_who_agree_pass() -> None:
    verdict = judge(TRUE)
    assert verdict.good
    assert {verdict.paid_fen, verdict.ledger_fen, verdict.meter_fen, verdict.bill_fen} == {5700}
    assert (verdict.double, verdict.lost, verdict.stuck, verdict.forged_accepted) == (0, 0, 0, 0)


def test_money_that_went_back_or_stays_in_the_cloud_is_part_of_the_sums() -> None:
    kept = replace(
        TRUE_BOOK,
        paid={"a": 5000, "b": 700, "c": 900},
        in_purse=frozenset({"c"}),
        channel_fen=6300,
        kept_fen=600,
    )
    seen = replace(
        TRUE, paid={"a": 5000, "b": 700, "c": 900}, book=kept, bill_fen=6300, refunded_fen=300
    )
    assert judge(seen).good
    assert judge(replace(seen, refunded_fen=0)).reasons == (DIFFER,)
    assert judge(replace(seen, bill_fen=6600)).reasons == (DIFFER,)
    assert judge(replace(seen, book=replace(kept, kept_fen=900))).reasons == (DIFFER,)
    assert (
        "a payment was lost"
        in judge(replace(seen, book=replace(kept, in_purse=frozenset()))).reasons
    )


DIFFER = "the four sums differ"
LIES = {
    "a bill that misses a fen": (replace(TRUE, bill_fen=5699), DIFFER),
    "a wallet changed behind the system's back": (
        replace(TRUE, grown_fen={"m1": 5001, "m2": 700}),
        "a wallet did not grow by its sales",
    ),
    "two wallets changed so that the sum stays": (
        replace(TRUE, grown_fen={"m1": 4999, "m2": 701}),
        "a wallet did not grow by its sales",
    ),
    "a credit that the book does not know": (
        replace(TRUE, sold=(FIRST, SECOND, Sold("m2", 2, 700))),
        "a payment was credited twice",
    ),
    "an order with two vends": (
        replace(
            TRUE,
            book=replace(
                TRUE_BOOK,
                vends=(*TRUE_BOOK.vends, BookVend("a", Sold("m1", 2, 5000), "VERIFIED")),
            ),
        ),
        "a payment was credited twice",
    ),
    "a payment that the book never saw": (
        replace(TRUE, paid={"a": 5000, "b": 700, "c": 900}),
        "a payment was lost",
    ),
    "a credit that the meter never took": (
        replace(TRUE, sold=(FIRST,)),
        "a payment was lost",
    ),
    "a vend that is still on its way": (
        replace(
            TRUE,
            book=replace(TRUE_BOOK, vends=(TRUE_BOOK.vends[0], BookVend("b", SECOND, "SENT"))),
        ),
        "work is stuck",
    ),
    "an event that nobody does": (
        replace(TRUE, book=replace(TRUE_BOOK, unfinished={"vend.due": 1})),
        "work is stuck",
    ),
    "a forged notice answered as good": (
        replace(TRUE, believed=1),
        "a forged notice was believed",
    ),
    "an order paid by nobody": (
        replace(TRUE, book=replace(TRUE_BOOK, paid={"a": 5000, "b": 700, "bait": 100})),
        "a forged notice was believed",
    ),
    "an order booked with another amount": (
        replace(TRUE, book=replace(TRUE_BOOK, paid={"a": 700, "b": 5000})),
        "an order was booked with another amount",
    ),
    "use that was charged twice": (
        replace(TRUE, book=replace(TRUE_BOOK, used_hao=170, charged_hao=340)),
        "use was charged wrong",
    ),
    "use that nobody charged": (
        replace(TRUE, book=replace(TRUE_BOOK, used_hao=170)),
        "work is stuck",
    ),
    "a register that no meter showed": (
        replace(TRUE, book=replace(TRUE_BOOK, read_wh={"m9": 20}), registers_wh={"m9": 10}),
        "a register was read that no meter showed",
    ),
    "money that waits": (
        replace(TRUE, book=replace(TRUE_BOOK, waiting_fen=100)),
        "money waits in the book",
    ),
    "a balance that is not its postings": (
        replace(TRUE, book=replace(TRUE_BOOK, broken=1)),
        "the book is broken",
    ),
    "wallets of the book that no channel paid for": (
        replace(TRUE, book=replace(TRUE_BOOK, wallets_fen=5800)),
        DIFFER,
    ),
    "a case that waits for a person": (
        replace(TRUE, book=replace(TRUE_BOOK, cases={"VEND_STOPPED": 1})),
        "an exception case is open",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_named(lie: str) -> None:
    witnesses, reason = LIES[lie]
    verdict = judge(witnesses)
    assert not verdict.good
    assert reason in verdict.reasons
