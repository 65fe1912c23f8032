"""What stands in arrears and what is paid of it, line by line, whatever the amounts (C7)."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.money import Money
from backend.ledger.rules import (
    LINES,
    AccountKey,
    AccountKind,
    Lot,
    LotKind,
    LotUse,
    Posting,
    Transfer,
    Unbalanced,
    recovered_lines,
    take_from_lots,
    topup_paid,
    unpaid_lines,
    vend_reserved,
    vend_settled,
)

ENERGY, FIXED, LOSS, PUBLIC, SERVICE = LINES
# Small amounts, so that what is owing and what is there often meet to the hao.
_hao = st.integers(0, 9)
_claims = st.dictionaries(st.sampled_from(LINES), _hao)
_charges = st.dictionaries(st.sampled_from(LINES), st.integers(-9, 9))


@given(_charges, _hao)
def test_what_a_purse_does_not_cover_stands_in_arrears_to_the_hao(
    lines: dict[AccountKind, int], covered: int
) -> None:
    owing = unpaid_lines(lines, covered)
    given_back = -sum(amount for amount in lines.values() if amount < 0)
    wanted = sum(amount for amount in lines.values() if amount > 0)
    assert sum(owing.values()) == max(0, wanted - covered - given_back)
    assert all(0 < amount <= lines[line] for line, amount in owing.items())


@given(_charges, _hao)
def test_a_later_line_is_paid_only_when_the_earlier_ones_are(
    lines: dict[AccountKind, int], covered: int
) -> None:
    owing = unpaid_lines(lines, covered)
    assert list(owing) == [line for line in LINES if line in owing]
    for line in LINES[LINES.index(next(iter(owing))) + 1 :] if owing else ():
        assert owing.get(line, 0) == max(0, lines.get(line, 0))


@given(_claims, _hao)
def test_money_pays_arrears_in_their_order_and_no_more_than_is_owed(
    arrears: dict[AccountKind, int], funds: int
) -> None:
    paid = recovered_lines(arrears, funds)
    assert sum(paid.values()) == min(funds, sum(arrears.values()))
    assert all(0 < amount <= arrears[line] for line, amount in paid.items())
    assert list(paid) == [line for line in LINES if line in paid]
    for line in list(paid)[:-1]:
        assert paid[line] == arrears[line]
    if sum(paid.values()) < sum(arrears.values()):
        short = [line for line in LINES if paid.get(line, 0) < arrears.get(line, 0)]
        assert not any(line in paid for line in LINES[LINES.index(short[0]) + 1 :])


def test_energy_is_paid_before_the_fees() -> None:
    lines = {SERVICE: 3, ENERGY: 5, FIXED: 4}
    assert unpaid_lines(lines, 6) == {FIXED: 3, SERVICE: 3}
    assert unpaid_lines({ENERGY: 5, FIXED: -2}, 1) == {ENERGY: 2}
    assert recovered_lines({PUBLIC: 2, LOSS: 1, ENERGY: 5}, 7) == {ENERGY: 5, LOSS: 1, PUBLIC: 1}


def test_every_line_of_an_entry_moves_money() -> None:
    purse, channel = (
        AccountKey(kind, UUID(int=1)) for kind in (AccountKind.PURSE, AccountKind.CHANNEL)
    )
    one = Money(1)
    with pytest.raises(Unbalanced):
        Transfer("k", "T", (Posting(purse, one), Posting(channel, -one), Posting(purse, Money(0))))


def test_the_entries_of_a_top_up_are_named_so_that_each_is_posted_once() -> None:
    one, two, three, amount = UUID(int=1), UUID(int=2), UUID(int=3), Money(7)
    channel = AccountKey(AccountKind.CHANNEL, three)
    life = (
        topup_paid(topup_id=one, into=channel, account=two, amount=amount),
        vend_reserved(vend_id=one, account=two, meter=three, amount=amount),
        vend_settled(vend_id=one, meter=three, amount=amount),
    )
    assert [(each.business_key, each.kind) for each in life] == [
        (f"topup:{one}:paid", "TOPUP_PAID"),
        (f"vend:{one}:reserved", "VEND_RESERVED"),
        (f"vend:{one}:settled", "VEND_SETTLED"),
    ]
    undone = life[0].reversed(reason="void")
    assert undone.business_key == f"topup:{one}:paid:reverse:void"
    assert undone.kind == "TOPUP_PAID_REVERSED"


def test_a_lot_that_gives_nothing_is_not_noted() -> None:
    empty, full = (Lot(UUID(int=n), LotKind.PAID, Money(5 * n), n) for n in range(2))
    assert take_from_lots([empty, full], Money(5)) == [LotUse(full.id, Money(5))]
