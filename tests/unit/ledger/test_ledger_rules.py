"""Entries cannot be built unbalanced; lots pay in order and never more than they hold (C1, C4)."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backend.kernel.money import ZERO, Money
from backend.ledger.rules import (
    ARREARS,
    KEPT,
    LINES,
    AccountKey,
    AccountKind,
    Lot,
    LotKind,
    Overdrawn,
    Posting,
    Transfer,
    Unbalanced,
    move,
    take_from_lots,
    topup_paid,
    vend_reserved,
    vend_settled,
)

kinds = st.sampled_from(list(AccountKind))
keys = st.builds(AccountKey, kinds, st.uuids())
amounts = st.integers(min_value=1, max_value=10**12).map(Money)
signed = st.integers(min_value=-(10**12), max_value=10**12).map(Money)
lots = st.lists(
    st.builds(
        Lot,
        st.uuids(),
        st.sampled_from(list(LotKind)),
        st.integers(min_value=0, max_value=10**9).map(Money),
        st.integers(min_value=0, max_value=50),
    ),
    max_size=12,
)


@given(st.lists(st.tuples(keys, signed), max_size=6))
def test_an_entry_exists_only_when_it_balances(lines: list[tuple[AccountKey, Money]]) -> None:
    postings = tuple(Posting(key, amount) for key, amount in lines)
    fits = (
        len(lines) >= 2
        and sum(amount.hao for _, amount in lines) == 0
        and all(amount for _, amount in lines)
    )
    if fits:
        assert Transfer("k", "T", postings).postings == postings
    else:
        with pytest.raises(Unbalanced):
            Transfer("k", "T", postings)


@given(st.lists(st.tuples(keys, signed.filter(bool)), min_size=1, max_size=6), keys)
def test_a_reversal_undoes_every_line_and_is_itself_balanced(
    lines: list[tuple[AccountKey, Money]], last: AccountKey
) -> None:
    total = sum((amount.hao for _, amount in lines), 0)
    if total == 0:
        total, lines = 1, [*lines, (last, Money(1))]
    entry = Transfer("k", "T", (*(Posting(*line) for line in lines), Posting(last, Money(-total))))
    undone = entry.reversed(reason="r")
    assert [(p.account, -p.amount) for p in undone.postings] == [
        (p.account, p.amount) for p in entry.postings
    ]
    assert undone.business_key != entry.business_key
    assert undone.reversed(reason="r").postings == entry.postings


@given(keys, keys, amounts)
def test_a_move_debits_one_account_by_what_it_credits_the_other(
    debit: AccountKey, credit: AccountKey, amount: Money
) -> None:
    entry = move(business_key="k", kind="T", debit=debit, credit=credit, amount=amount)
    assert entry.postings == (Posting(debit, amount), Posting(credit, -amount))
    with pytest.raises(Unbalanced):
        move(business_key="k", kind="T", debit=debit, credit=credit, amount=ZERO)


@given(amounts)
def test_after_a_top_ups_life_all_its_money_is_at_the_meter(amount: Money) -> None:
    channel, account, meter, topup, vend = (uuid4() for _ in range(5))
    life = [
        topup_paid(
            topup_id=topup,
            into=AccountKey(AccountKind.CHANNEL, channel),
            account=account,
            amount=amount,
        ),
        vend_reserved(vend_id=vend, account=account, meter=meter, amount=amount),
        vend_settled(vend_id=vend, meter=meter, amount=amount),
    ]
    held: dict[AccountKey, Money] = {}
    for entry in life:
        for posting in entry.postings:
            held[posting.account] = held.get(posting.account, ZERO) + posting.amount
    assert {key.kind: held_by for key, held_by in held.items()} == {
        AccountKind.CHANNEL: amount,
        AccountKind.PURSE: ZERO,
        AccountKind.IN_TRANSIT: ZERO,
        AccountKind.METER_WALLET: -amount,
    }
    assert len({entry.business_key for entry in life}) == 3


def test_only_what_is_owed_by_us_or_to_us_has_a_kept_balance() -> None:
    liabilities = {
        AccountKind.PURSE,
        AccountKind.IN_TRANSIT,
        AccountKind.METER_WALLET,
        AccountKind.REFUND_DUE,
    }
    assert liabilities | set(ARREARS) == KEPT
    assert [f"{line}_ARREARS" for line in LINES] == list(ARREARS)


@given(lots, st.integers(min_value=0, max_value=2 * 10**9).map(Money))
def test_lots_pay_exactly_what_is_asked_or_nothing(held: list[Lot], amount: Money) -> None:
    total = sum(lot.remaining.hao for lot in held)
    if amount.hao > total:
        with pytest.raises(Overdrawn):
            take_from_lots(held, amount)
        return
    uses = take_from_lots(held, amount)
    assert sum(use.amount.hao for use in uses) == amount.hao
    taken: dict[UUID, int] = {}
    for use in uses:
        assert use.amount > ZERO
        taken[use.lot_id] = taken.get(use.lot_id, 0) + use.amount.hao
    remaining = {lot.id: lot.remaining.hao for lot in held}
    assert all(taken[lot_id] <= remaining[lot_id] for lot_id in taken)


@given(lots, st.integers(min_value=1, max_value=10**9).map(Money))
def test_paid_money_is_touched_only_when_grants_and_older_money_are_used_up(
    held: list[Lot], amount: Money
) -> None:
    if amount.hao > sum(lot.remaining.hao for lot in held):
        return
    taken = {use.lot_id: use.amount for use in take_from_lots(held, amount)}
    for lot in held:
        if lot.id not in taken:
            continue
        for earlier in held:
            before = (earlier.kind is LotKind.GRANT, -earlier.order) > (
                lot.kind is LotKind.GRANT,
                -lot.order,
            )
            if before:
                assert taken.get(earlier.id, ZERO) == earlier.remaining


def test_a_negative_amount_is_not_taken() -> None:
    with pytest.raises(ValueError, match="negative"):
        take_from_lots([], Money(-1))
    assert take_from_lots([], ZERO) == []


class PurseLife(RuleBasedStateMachine):
    """Top-ups, grants and spending in any order: lots and purse always agree, none below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.lots: list[Lot] = []
        self.purse = 0

    @rule(kind=st.sampled_from(list(LotKind)), amount=amounts)
    def add(self, kind: LotKind, amount: Money) -> None:
        self.lots.append(Lot(uuid4(), kind, amount, len(self.lots)))
        self.purse += amount.hao

    @rule(amount=amounts)
    def spend(self, amount: Money) -> None:
        try:
            uses = {use.lot_id: use.amount for use in take_from_lots(self.lots, amount)}
        except Overdrawn:
            assert amount.hao > self.purse
            return
        self.lots = [
            Lot(lot.id, lot.kind, lot.remaining - uses.get(lot.id, ZERO), lot.order)
            for lot in self.lots
        ]
        self.purse -= amount.hao

    @invariant()
    def lots_and_purse_agree(self) -> None:
        assert sum(lot.remaining.hao for lot in self.lots) == self.purse >= 0
        assert all(lot.remaining >= ZERO for lot in self.lots)


TestPurseLife = PurseLife.TestCase
