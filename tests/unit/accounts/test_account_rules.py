"""Masking, numbers and the limits of binding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounts.rules import (
    check_account_no,
    check_phone,
    mask_phone,
    mask_place,
    may_send_code,
)
from backend.kernel.errors import InvalidInput


@given(st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_a_phone_number_is_taken_and_shown_without_its_middle(phone: str) -> None:
    assert check_phone(phone) == phone
    assert mask_phone(phone) == f"{phone[:3]}****{phone[7:]}"


@pytest.mark.parametrize(
    "phone",
    [
        "",
        "1381234567",
        "138123456789",
        "12812345678",
        "+8613812345678",
        "13812345678\n",
        "１３８１２３４５６７８",
    ],
)
def test_what_is_no_mobile_number_is_refused(phone: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_phone(phone)
    assert refused.value.field == "phone"


@pytest.mark.parametrize("no", ["100001", "123456789012"])
def test_an_account_number_has_6_to_12_digits(no: str) -> None:
    assert check_account_no(no) == no


@pytest.mark.parametrize(
    "no", ["", "10000", "1234567890123", "10000a", "100001\n", " 100001", "１００００１", "-100001"]
)
def test_what_is_no_account_number_is_refused(no: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_account_no(no)
    assert refused.value.field == "accountNo"


@given(st.text(min_size=1, max_size=30))
def test_a_masked_place_hides_at_least_a_third_of_it(place: str) -> None:
    shown = mask_place(place)
    hidden = max(1, len(place) - 2 * max(1, len(place) // 3))
    assert len(shown) == max(2, len(place))
    assert "*" * hidden in shown
    assert shown[0] == place[0]


@pytest.mark.parametrize(
    ("account", "customer", "may"),
    [(0, 0, True), (4, 9, True), (5, 0, False), (0, 10, False), (5, 10, False), (99, 0, False)],
)
def test_codes_are_limited_per_account_and_per_customer(
    account: int, customer: int, may: bool
) -> None:
    assert may_send_code(sent_to_account=account, sent_to_customer=customer) is may
