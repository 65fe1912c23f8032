"""Money keeps every hao, and no float ever becomes money (C2)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.money import ZERO, Money
from backend.kernel.quantity import Quantity, Unit

haos = st.integers(min_value=-(10**17), max_value=10**17)


@given(haos)
def test_an_amount_printed_and_read_again_is_the_same_amount(hao: int) -> None:
    assert Money.parse(str(Money(hao))) == Money(hao)


@given(haos)
def test_an_amount_is_printed_as_the_exact_decimal_with_two_to_four_places(hao: int) -> None:
    printed = str(Money(hao))
    assert Decimal(printed) == Decimal(hao) / 10_000
    assert len(printed.partition(".")[2]) in (2, 4)


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_fen_go_in_and_come_out_whole(fen: int) -> None:
    assert Money.of_fen(fen).fen == fen


@given(haos.filter(lambda hao: hao % 100 != 0))
def test_a_fraction_of_a_fen_is_never_rounded_away_at_the_payment_edge(hao: int) -> None:
    with pytest.raises(ValueError, match="whole number of fen"):
        _ = Money(hao).fen


@given(haos, haos)
def test_sums_and_order_of_money_are_those_of_integers(one: int, two: int) -> None:
    assert Money(one) + Money(two) == Money(one + two)
    assert Money(one) - Money(two) == Money(one - two)
    assert -Money(one) == Money(-one)
    assert (Money(one) < Money(two)) == (one < two)
    assert (Money(one) >= Money(two)) == (one >= two)
    assert bool(Money(one)) == (Money(one) != ZERO)


@pytest.mark.parametrize(
    "text",
    ["", "-", "+5", "1e3", "1,000", ".5", "5.", "0.00001", "5 ", " 5", "5\n", "5元", "NaN", "１２"],
)
def test_anything_but_a_plain_decimal_is_not_an_amount(text: str) -> None:
    with pytest.raises(ValueError, match="four decimals"):
        Money.parse(text)


@pytest.mark.parametrize("value", [1.0, 0.1, True, "1", Decimal(1), None])
def test_no_float_and_no_other_type_becomes_money(value: object) -> None:
    with pytest.raises(TypeError):
        Money(value)  # type: ignore[arg-type] # that is the point
    with pytest.raises(TypeError):
        Money.of_fen(value)  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize("value", [1.0, True, "1"])
def test_no_float_becomes_a_quantity(value: object) -> None:
    with pytest.raises(TypeError):
        Quantity(value, Unit.WATT_HOUR)  # type: ignore[arg-type] # that is the point


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_a_quantity_is_printed_exactly_in_the_unit_people_read(value: int) -> None:
    assert Decimal(Quantity(value, Unit.LITRE).decimal) == Decimal(value) / 1000
    assert str(Quantity(12_345, Unit.WATT_HOUR)) == "12.345 kWh"


def test_water_is_not_subtracted_from_power() -> None:
    with pytest.raises(ValueError, match="cannot subtract"):
        _ = Quantity(1, Unit.WATT_HOUR) - Quantity(1, Unit.LITRE)
