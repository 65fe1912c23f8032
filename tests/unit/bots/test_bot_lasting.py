"""Tenants ask how long their money lasts: days and the hour, or why nobody knows yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.charges.forecast_rules import Basis
from backend.kernel.money import Money
from bots.intents import Balance, Human, Intent, Lasting, Refunds, Supply, TopUp, Usage, parse
from bots.view import View

Calls = Callable[[View], Any]
ZERO_AT = datetime(2026, 5, 6, 12, 20, tzinfo=UTC)  # 20:20 in China
PHRASES: list[tuple[str, Intent]] = [
    ("还能用几天", Lasting()),
    ("还能用几天?", Lasting()),
    ("還能用幾天", Lasting()),
    ("电费还能用几天", Lasting(Supply.ELECTRICITY)),
    ("水还能用多久", Lasting(Supply.WATER)),
    ("余额还能用多久", Lasting()),
    ("够用几天", Lasting()),
    ("还可以用多少天", Lasting()),
    ("还能撑多久", Lasting()),
    ("还能用到几号", Lasting()),
    ("什么时候用完", Lasting()),
    ("电费哪天用完", Lasting(Supply.ELECTRICITY)),
    ("还剩几天", Lasting()),
    ("可用天数", Lasting()),
    ("还剩多少", Balance()),
    ("余额", Balance()),
    ("还有多少钱", Balance()),
    ("退款要几天到账", Refunds()),
    ("联系人工", Human()),
]


@pytest.mark.parametrize(("text", "intent"), PHRASES, ids=[text for text, _ in PHRASES])
def test_a_phrase_means_what_a_tenant_means_by_it(text: str, intent: Intent) -> None:
    assert parse(text) == intent


def test_use_and_top_ups_are_still_understood() -> None:
    assert isinstance(parse("今天用了多少"), Usage)
    assert isinstance(parse("充值 50"), TopUp)


def lasting(view: View, **changes: Any) -> View:
    """The view with changes to its first meter."""
    (account,) = view.accounts
    meter = replace(account.meters[0], **changes)
    return replace(view, accounts=(replace(account, meters=(meter,)),))


def test_days_and_the_hour_of_zero_are_told_with_what_is_left(
    one_meter: View, chat_with: Calls
) -> None:
    view = lasting(one_meter, days_left=3, zero_at=ZERO_AT, basis=Basis.OWN_USE)
    assert chat_with(view).say("还能用几天").split("\n") == [
        "301室电表 约可用 3 天，预计 5月6日 20:20 用完",
        "余额 23.60 元（10:30 数据），按近期用量预估",
        "回复 充值 50 可缴费。",
    ]
    today = lasting(one_meter, days_left=0, zero_at=ZERO_AT, basis=Basis.OWN_USE)
    assert "约可用 不到 1 天" in chat_with(today).say("还能用几天"), "0 days would read as none"
    far = lasting(one_meter, days_left=1000, zero_at=None, basis=Basis.OWN_USE)
    assert chat_with(far).say("还能用几天").startswith("301室电表 可用 1000 天以上\n")


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        (Basis.LEARNING, "301室电表 用量记录不足 7 天，暂不能预估。"),
        (Basis.IDLE, "301室电表 近期没有用量，不会用完。"),
        (Basis.NO_PRICE, "301室电表 暂未查到价格，不能预估。"),
    ],
)
def test_what_is_not_known_is_said_and_not_guessed(
    basis: Basis, said: str, one_meter: View, chat_with: Calls
) -> None:
    view = lasting(one_meter, days_left=None, zero_at=None, basis=basis)
    assert chat_with(view).say("还能用多久").split("\n")[0] == said
    assert "约可用" not in chat_with(view).say("余额")


def test_who_owes_is_told_what_he_owes(one_meter: View, chat_with: Calls) -> None:
    view = lasting(one_meter, remaining=Money.parse("-2"), days_left=0, zero_at=ZERO_AT)
    assert chat_with(view).say("还能用几天").startswith("301室电表 已欠费 2.00 元")


def test_old_data_says_so(one_meter: View, chat_with: Calls, now: datetime) -> None:
    view = lasting(one_meter, days_left=3, zero_at=ZERO_AT, data_at=now - timedelta(days=2))
    assert "数据较旧" in chat_with(view).say("还能用几天")


def test_of_several_meters_it_asks_which_and_a_number_answers(
    home_and_shop: View, chat_with: Calls
) -> None:
    chat = chat_with(home_and_shop)
    assert chat.say("还能用几天").startswith("查哪一块表可用多久？")
    assert chat.say("2").startswith("301室电表")
