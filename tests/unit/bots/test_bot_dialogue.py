"""Conversations as a customer has them; the bot never charges and never tells what it must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.kernel.money import Money
from bots.dialogue import finish, step
from bots.effects import (
    BindingDone,
    BindingRefused,
    ConfirmBinding,
    Effect,
    EffectFailed,
    MakePayLink,
    PayLink,
    Refusal,
    StartBinding,
    UnbindAccount,
)
from bots.intents import Balance, Help, Human, Intent, Switch, TopUp, Welcome
from bots.state import MAX_CHOICES, State
from bots.view import AccountView, CutCause, MeterView, Relay, TopUpProgress, TopUpView, View

ChatWith = Callable[..., Any]


def with_meter(view: View, **changes: object) -> View:
    """The view with its first meter changed."""
    account = view.accounts[0]
    meter = replace(account.meters[0], **changes)  # type: ignore[arg-type]  # names given by tests
    return replace(view, accounts=(replace(account, meters=(meter,)),))


# --- binding -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["余额", "充值 50", "用电", "记录", "没电", "切换", "解绑", "人工", "?", "哈哈", "1"]
)
def test_whatever_an_unbound_customer_says_leads_to_binding_first(
    chat_with: ChatWith, said: str
) -> None:
    chat = chat_with(View(service_phone="021-12345678"))
    assert "绑定户号" in chat.say(said)
    assert chat.effects == []


def test_binding_goes_by_account_number_then_code_to_the_registered_phone(
    chat_with: ChatWith, one_meter: View
) -> None:
    chat = chat_with(View())
    chat.say("你好")
    sent = chat.say("10010023")
    assert "138****5678" in sent
    assert "幸福路**号" in sent
    assert "6 位验证码" in chat.say("余额")
    assert "已绑定 301室" in chat.say("123456")
    assert chat.effects == [StartBinding("10010023"), ConfirmBinding("challenge-1", "123456")]
    chat.view = one_meter
    assert chat.say("余额").startswith("301室电表 余额 23.60 元（10:30 数据）")


def test_every_refusal_that_could_tell_whether_an_account_exists_reads_the_same(
    chat_with: ChatWith,
) -> None:
    answers = set()
    for reason in (
        Refusal.NOT_FOUND,
        Refusal.NO_PHONE,
        Refusal.ACCOUNT_CLOSED,
        Refusal.SELLING_STOPPED,
    ):
        answers.add(
            chat_with(View(), outcomes={StartBinding: BindingRefused(reason)}).say("绑定 10010023")
        )
    assert len(answers) == 1
    tries = {StartBinding: BindingRefused(Refusal.TOO_MANY)}
    assert chat_with(View(), outcomes=tries).say("绑定 10010023") not in answers


def test_a_wrong_code_may_be_typed_again_until_its_five_minutes_end(chat_with: ChatWith) -> None:
    chat = chat_with(View(), outcomes={ConfirmBinding: BindingRefused(Refusal.WRONG_CODE)})
    chat.say("绑定 10010023")
    assert "验证码不对" in chat.say("111111")
    assert "验证码不对" in chat.say("222222")
    chat.now += timedelta(minutes=5)
    assert "已失效" in chat.say("333333")
    assert chat.effects[-1] == ConfirmBinding("challenge-1", "222222")


@pytest.mark.parametrize("reason", [Refusal.TOO_MANY, Refusal.EXPIRED, Refusal.NOT_FOUND])
def test_after_a_final_refusal_no_code_is_awaited(chat_with: ChatWith, reason: Refusal) -> None:
    chat = chat_with(View(), outcomes={ConfirmBinding: BindingRefused(reason)})
    chat.say("绑定 10010023")
    chat.say("111111")
    assert json.loads(chat.stored)["pending"] is None


def test_the_code_is_never_repeated_nor_shown_in_logs_nor_stored(chat_with: ChatWith) -> None:
    chat = chat_with(View())
    chat.say("绑定 10010023")
    assert "918273" not in chat.say("918273")
    assert "918273" not in repr(chat.effects[-1])
    assert "918273" not in chat.stored


def test_a_phone_number_that_reaches_the_bot_unmasked_is_masked(chat_with: ChatWith) -> None:
    done = {ConfirmBinding: BindingDone("13812345678")}
    chat = chat_with(View(), outcomes=done)
    chat.say("绑定 10010023")
    assert "138****5678" in chat.say("123456")


def test_a_second_account_is_bound_while_other_questions_are_answered(
    chat_with: ChatWith, one_meter: View
) -> None:
    chat = chat_with(one_meter)
    chat.say("绑定")
    chat.say("10010099")
    assert "23.60 元" in chat.say("余额")
    assert "已绑定" in chat.say("123456")
    assert chat.effects == [StartBinding("10010099"), ConfirmBinding("challenge-1", "123456")]


def test_binding_what_is_bound_asks_nothing_of_the_backend(
    chat_with: ChatWith, one_meter: View
) -> None:
    chat = chat_with(one_meter)
    assert "已经绑定" in chat.say("绑定 10010023")
    assert chat.effects == []


# --- balance, use, records -----------------------------------------------------------------


def test_the_balance_answer_starts_with_the_figure_and_its_data_time(
    chat_with: ChatWith, one_meter: View
) -> None:
    assert chat_with(one_meter).say("余额").split("\n") == [
        "301室电表 余额 23.60 元（10:30 数据）",
        "约可用 3 天。",
        "回复 充值 50 可缴费。",
    ]


def test_old_data_says_so_and_keeps_its_day(
    chat_with: ChatWith, one_meter: View, now: datetime
) -> None:
    view = with_meter(one_meter, data_at=now - timedelta(days=2))
    reply = chat_with(view).say("余额")
    assert "5月1日 10:40 数据" in reply
    assert "数据较旧" in reply


def test_a_debt_is_named_and_a_part_of_a_fen_counts_as_one(
    chat_with: ChatWith, one_meter: View
) -> None:
    view = with_meter(one_meter, remaining=Money(-50), days_left=0)
    assert "已欠费 0.01 元" in chat_with(view).say("余额")


def test_a_meter_that_was_never_read_shows_no_figure(chat_with: ChatWith, one_meter: View) -> None:
    view = with_meter(one_meter, remaining=None, data_at=None)
    assert chat_with(view).say("余额") == "301室电表 暂未读到余额，请稍后再查。"


def test_several_meters_are_listed_those_that_end_first_at_the_top(
    chat_with: ChatWith, home_and_shop: View
) -> None:
    chat = chat_with(home_and_shop)
    lines = chat.say("余额").split("\n")
    assert lines[1:4] == [
        "1 301室水表 -3.50 元（10:30）",
        "2 301室电表 23.60 元（10:30）",
        "3 B12商铺 B12电表 暂无数据",
    ]
    assert chat.say("2").startswith("301室电表 余额 23.60 元")
    assert chat.say("1").startswith("301室水表 已欠费 3.50 元")
    assert "1 到 3" in chat.say("9")
    chat.now += timedelta(minutes=6)
    assert "已失效" in chat.say("1")


def test_the_kind_of_supply_or_a_name_finds_the_meter_without_a_list(
    chat_with: ChatWith, home_and_shop: View
) -> None:
    chat = chat_with(home_and_shop)
    assert chat.say("水费").startswith("301室水表")
    assert chat.say("b12电表").startswith("B12商铺 B12电表")
    assert chat.say("10010024").startswith("B12商铺 B12电表")
    assert "给哪一块表充值" in chat.say("充值 50")
    chat.say("301室水表")
    assert chat.effects == [MakePayLink("a1", Money.parse("50"), "m2")]


def test_switching_narrows_answers_to_one_account_and_outlives_the_list(
    chat_with: ChatWith, home_and_shop: View
) -> None:
    chat = chat_with(home_and_shop)
    assert chat.say("切换").split("\n")[1:3] == ["1 301室", "2 B12商铺"]
    assert "已切换到 B12商铺" in chat.say("2")
    chat.now += timedelta(days=1)
    assert chat.say("余额").startswith("B12商铺 B12电表")


def test_the_default_account_answers_when_none_was_switched_to(
    chat_with: ChatWith, home_and_shop: View
) -> None:
    chat = chat_with(replace(home_and_shop, default_account_id="a2"))
    assert chat.say("余额").startswith("B12商铺 B12电表")


def test_a_list_never_has_more_than_nine_items(chat_with: ChatWith, one_meter: View) -> None:
    account = one_meter.accounts[0]
    meters = tuple(replace(account.meters[0], id=f"m{n}", name=f"{n:02d}号电表") for n in range(12))
    chat = chat_with(replace(one_meter, accounts=(replace(account, meters=meters),)))
    lines = chat.say("余额").split("\n")
    assert len(lines) == MAX_CHOICES + 2
    assert "共 12 项" in lines[-1]
    assert chat.say("11号电表").startswith("11号电表 余额")


def test_use_is_told_for_the_span_asked_and_missing_days_are_not_zero(
    chat_with: ChatWith, one_meter: View
) -> None:
    chat = chat_with(one_meter)
    assert chat.say("昨天用电").split("\n")[1:] == ["昨天 8 度"]
    assert chat.say("用电").split("\n")[1:] == [
        "今天 5.2 度",
        "昨天 8 度",
        "本月 23.456 度",
        "上月 暂无数据",
    ]


def test_a_kind_of_meter_that_is_not_there_is_said(chat_with: ChatWith, one_meter: View) -> None:
    assert "没有找到水表" in chat_with(one_meter).say("水费")


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (TopUpProgress.WAITING_PAYMENT, "待支付"),
        (TopUpProgress.PAID, "已支付"),
        (TopUpProgress.DELIVERING, "下发中"),
        (TopUpProgress.DELIVERED, "已到表"),
        (TopUpProgress.WAITING_METER, "已支付·表计离线 上线后自动到账"),
        (TopUpProgress.REFUNDED, "已退款"),
        (TopUpProgress.CLOSED, "未支付，已关闭"),
    ],
)
def test_records_show_money_paid_and_meter_credited_apart(
    chat_with: ChatWith, one_meter: View, now: datetime, progress: TopUpProgress, words: str
) -> None:
    view = replace(one_meter, top_ups=(TopUpView("a1", Money.parse("50"), now, progress),))
    assert chat_with(view).say("记录") == f"充值记录：\n10:40 50.00 元 {words}"


# --- top-up: a link, never a charge --------------------------------------------------------


def test_a_top_up_shows_meter_amount_address_and_one_link_and_charges_nothing(
    chat_with: ChatWith, one_meter: View
) -> None:
    chat = chat_with(one_meter)
    assert chat.say("充值 50").split("\n") == [
        "301室电表 充值 50.00 元",
        "幸福路**号301室",
        "点这里核对并付款：https://pay.example.com/p/token",
    ]
    assert chat.effects == [MakePayLink("a1", Money.parse("50"), "m1")]


def test_with_several_meters_the_number_picks_and_the_amount_is_kept(
    chat_with: ChatWith, home_and_shop: View
) -> None:
    chat = chat_with(home_and_shop)
    chat.say("充值 50.05")
    reply = chat.say("1")
    assert reply.startswith("301室水表 充值 50.05 元")
    assert "已欠费 3.50 元" in reply
    assert "上一笔 50.00 元已付款" in reply
    assert chat.effects == [MakePayLink("a1", Money.parse("50.05"), "m2")]


@pytest.mark.parametrize("amount", ["0", "0.00", "5000.01", "999999999", "99999999999999999999999"])
def test_an_amount_out_of_bounds_makes_no_link(
    chat_with: ChatWith, one_meter: View, amount: str
) -> None:
    chat = chat_with(one_meter)
    assert "0.01 元到 5000.00 元" in chat.say(f"充值 {amount}")
    assert chat.effects == []


@pytest.mark.parametrize("amount", ["0.01", "5000"])
def test_the_bounds_themselves_are_allowed(
    chat_with: ChatWith, one_meter: View, amount: str
) -> None:
    chat = chat_with(one_meter)
    chat.say(f"充值 {amount}")
    assert chat.effects == [MakePayLink("a1", Money.parse(amount), "m1")]


@pytest.mark.parametrize("text", ["充值 abc", "充值 -5", "充值 1e9", "充值 5.001", "充值 50 20"])
def test_a_malformed_amount_gets_a_hint_and_no_link(
    chat_with: ChatWith, one_meter: View, text: str
) -> None:
    chat = chat_with(one_meter)
    assert "请这样发送" in chat.say(text)
    assert chat.effects == []


def test_a_failed_link_says_that_nothing_was_charged(chat_with: ChatWith, one_meter: View) -> None:
    for reason in (Refusal.UNAVAILABLE, Refusal.SELLING_STOPPED):
        chat = chat_with(one_meter, outcomes={MakePayLink: EffectFailed(reason)})
        assert "没有扣款" in chat.say("充值 50")


def test_a_choice_that_was_unbound_meanwhile_is_not_acted_on(
    chat_with: ChatWith, home_and_shop: View
) -> None:
    chat = chat_with(home_and_shop)
    chat.say("充值 50")
    chat.view = replace(home_and_shop, accounts=home_and_shop.accounts[1:])
    assert "已失效" in chat.say("1")
    assert chat.effects == []


# --- no power ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"relay": Relay.OPEN, "remaining": Money(0)}, "欠费断电"),
        ({"relay": Relay.OPEN, "remaining": Money(-1), "online": False}, "欠费断电"),
        ({"relay": Relay.CLOSED}, "正常供电"),
        ({"relay": Relay.CLOSED, "online": False}, "设备离线"),
        ({"relay": Relay.UNKNOWN}, "设备离线"),
        ({"relay": Relay.OPEN, "data_at": None}, "设备离线"),
        ({"relay": Relay.OPEN}, "远程断电"),
        (
            {"relay": Relay.OPEN, "cut_cause": CutCause.MALIGNANT_LOAD, "remaining": Money(0)},
            "违规电器",
        ),
        ({"relay": Relay.OPEN, "cut_cause": CutCause.TIMETABLE}, "作息时间"),
        ({"relay": Relay.OPEN, "cut_cause": CutCause.OVERLOAD}, "功率过大"),
    ],
)
def test_no_power_is_explained_from_what_was_observed(
    chat_with: ChatWith, one_meter: View, changes: dict[str, object], words: str
) -> None:
    assert words in chat_with(with_meter(one_meter, **changes)).say("没电").split("\n")[0]


def test_data_older_than_two_periods_never_says_supply_is_normal(
    chat_with: ChatWith, one_meter: View, now: datetime
) -> None:
    view = with_meter(one_meter, relay=Relay.CLOSED, data_at=now - timedelta(minutes=61))
    assert "正常" not in chat_with(view).say("没电")


def test_after_paying_the_answer_to_no_power_is_to_wait_not_to_pay_again(
    chat_with: ChatWith, home_and_shop: View
) -> None:
    reply = chat_with(home_and_shop).say("没水")
    assert "请勿重复付款" in reply
    assert "充值 50" not in reply


# --- unbinding, misses, secrets ------------------------------------------------------------


def test_unbinding_asks_once_and_can_be_refused(chat_with: ChatWith, one_meter: View) -> None:
    chat = chat_with(one_meter)
    assert "确定解除 301室" in chat.say("解绑")
    assert "已保留" in chat.say("2")
    assert "已失效" in chat.say("1")
    assert chat.effects == []
    chat.say("解绑")
    assert "已解除绑定" in chat.say("1")
    assert chat.effects == [UnbindAccount("a1")]


def test_unbinding_one_of_several_asks_which(chat_with: ChatWith, home_and_shop: View) -> None:
    chat = chat_with(home_and_shop)
    chat.say("解绑")
    chat.say("2")
    chat.say("1")
    assert chat.effects == [UnbindAccount("a2")]


def test_two_misses_in_a_row_offer_a_person_first(chat_with: ChatWith, one_meter: View) -> None:
    chat = chat_with(one_meter)
    first = chat.say("天气怎么样")
    assert "人工" in first
    assert "余额" in first
    assert "021" not in first.split("\n")[0]
    assert chat.say("讲个笑话").startswith("人工服务电话：021-12345678")
    chat.say("余额")
    assert chat.say("天气怎么样") == first


def test_the_customers_own_words_are_never_repeated(chat_with: ChatWith, one_meter: View) -> None:
    for text in ("蓬蓬裙<xml>", "充值 蓬蓬裙", "绑定 蓬蓬裙", "]]>蓬蓬裙"):
        for view in (one_meter, View()):
            assert "蓬蓬裙" not in chat_with(view).say(text)


def test_a_six_digit_number_out_of_place_is_no_code(chat_with: ChatWith, one_meter: View) -> None:
    chat = chat_with(one_meter)
    assert "没有等待的验证码" in chat.say("123456")
    assert chat.effects == []


@pytest.mark.parametrize("said", [Welcome(), Help(), Human(), Balance(), TopUp(), Switch()])
def test_a_menu_click_is_answered_like_its_words(
    chat_with: ChatWith, one_meter: View, said: Intent
) -> None:
    assert chat_with(one_meter).say(said)


def test_an_outcome_of_another_effect_is_a_fault_not_an_answer(
    one_meter: View, now: datetime
) -> None:
    for effect, outcome in (
        (MakePayLink("a1", None), BindingDone("x")),
        (StartBinding("10010023"), PayLink("https://pay.example.com")),
    ):
        with pytest.raises(TypeError, match="does not answer"):
            finish(state=State(), effect=effect, outcome=outcome, view=one_meter, now=now)


# --- anything at all -----------------------------------------------------------------------

ANY_TEXT = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "余额",
            "充值",
            "充值 50",
            "切换",
            "解绑",
            "绑定",
            "绑定 10010099",
            "1",
            "2",
            "9",
            "123456",
            "没电",
        ]
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(said=st.lists(ANY_TEXT, min_size=1, max_size=12), bound=st.sampled_from([0, 1, 2]))
def test_any_words_in_any_order_get_one_short_answer_and_the_state_stays_small(
    chat_with: ChatWith, one_meter: View, home_and_shop: View, said: list[str], bound: int
) -> None:
    chat = chat_with((View(), one_meter, home_and_shop)[bound])
    for text in said:
        reply = chat.say(text)
        lines = reply.split("\n")
        assert 1 <= len(lines) <= 6
        assert all(0 < len(line) <= 60 for line in lines)
        assert reply.count("https://") <= 1
        assert len(chat.stored) < 500
    kinds: set[type[Effect]] = {type(effect) for effect in chat.effects}
    assert kinds <= {StartBinding, ConfirmBinding, MakePayLink, UnbindAccount}


def test_step_changes_nothing_it_was_given(one_meter: View, now: datetime) -> None:
    state = State()
    step(state=state, said="余额", view=one_meter, now=now)
    assert state == State()


def test_a_hostile_label_stays_on_one_short_line(chat_with: ChatWith, one_meter: View) -> None:
    account = one_meter.accounts[0]
    meter: MeterView = replace(account.meters[0], name="坏\n名{amount}\u202e" + "长" * 40)
    hostile: AccountView = replace(account, label="{x}\r\n", meters=(meter,))
    reply = chat_with(replace(one_meter, accounts=(hostile,))).say("余额")
    assert len(reply.split("\n")) == 3
    assert len(reply.split("\n")[0]) < 50
