"""A case about a payment says in which points it differs from our order: an operator decides by that (C5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.topups.rules import Expected, OrderState, Payment, PaymentState, judge

ORDER = Expected("no", "merchant", "app", 5000, OrderState.CREATED, None, "provider", "their app")
SAID = Payment(
    "no",
    PaymentState.PAID,
    "merchant",
    "app",
    5000,
    "CNY",
    transaction_id="T1",
    provider_id="provider",
    provider_app_id="their app",
)
_DIFFERS = "differs from our order: "


@pytest.mark.parametrize(
    ("order", "said", "words"),
    [
        (ORDER, SAID, ""),
        (ORDER, replace(SAID, order_no="x"), _DIFFERS + "order"),
        (ORDER, replace(SAID, merchant_id="x"), _DIFFERS + "merchant"),
        (ORDER, replace(SAID, app_id="x"), _DIFFERS + "app"),
        (ORDER, replace(SAID, provider_id=""), _DIFFERS + "provider"),
        (ORDER, replace(SAID, provider_app_id=""), _DIFFERS + "provider's app"),
        (ORDER, replace(SAID, amount_fen=1, currency="USD"), _DIFFERS + "amount, currency"),
        (ORDER, replace(SAID, transaction_id=None), _DIFFERS + "transaction id"),
        (ORDER, replace(SAID, state=PaymentState.CLOSED), "the channel says CLOSED"),
        (
            ORDER,
            replace(SAID, state=PaymentState.REFUNDED),
            "the channel gave money back before the payment was booked",
        ),
        (replace(ORDER, state=OrderState.PAID, transaction_id="T1"), SAID, "settled before"),
        (
            replace(ORDER, state=OrderState.PAID, transaction_id="T0"),
            SAID,
            "the order was paid twice, by two transactions",
        ),
    ],
)
def test_the_points_in_which_a_payment_differs_are_named(
    order: Expected, said: Payment, words: str
) -> None:
    assert judge(order, said)[1] == words
