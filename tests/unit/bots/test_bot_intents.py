"""What people really type, and what it must mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.kernel.money import Money
from bots.amounts import AmountFault, chinese_number, read_amount
from bots.intents import (
    Balance,
    Bind,
    Code,
    Help,
    Human,
    Intent,
    Number,
    Pick,
    PowerOut,
    Records,
    Span,
    Supply,
    Switch,
    TopUp,
    Unbind,
    Unknown,
    Usage,
    account_number,
    parse,
)

E, W = Supply.ELECTRICITY, Supply.WATER


def yuan(text: str, supply: Supply | None = None) -> TopUp:
    return TopUp(Money.parse(text), supply)


def bad(fault: AmountFault) -> TopUp:
    return TopUp(None, None, fault)


PHRASES: list[tuple[str, Intent]] = [
    ("余额", Balance()),
    ("查余额", Balance()),
    ("餘額", Balance()),
    (" 余 额 ", Balance()),
    ("余额?", Balance()),
    ("还剩多少", Balance()),
    ("還剩多少錢", Balance()),
    ("电费", Balance(E)),
    ("查一下电费", Balance(E)),
    ("我的水费", Balance(W)),
    ("電費", Balance(E)),
    ("电费还有多少", Balance(E)),
    ("余额不足", Balance()),
    ("没电费了", Balance(E)),
    ("快没电了", Balance(E)),
    ("水电费", Balance()),
    ("充值", TopUp()),
    ("我要充值", TopUp()),
    ("怎么充值", TopUp()),
    ("儲值", TopUp()),
    ("交电费", TopUp(None, E)),
    ("请问电费怎么交", TopUp(None, E)),
    ("充值50", yuan("50")),
    ("充值 50", yuan("50")),
    ("充值50。", yuan("50")),
    ("充值：50", yuan("50")),
    ("充值５０元", yuan("50")),
    ("充５０", yuan("50")),
    ("充50", yuan("50")),
    ("冲值50", yuan("50")),
    ("50元充值", yuan("50")),
    ("充值 50.5", yuan("50.5")),
    ("充值50.05元", yuan("50.05")),
    ("充值 0.01", yuan("0.01")),
    ("充值1,000", yuan("1000")),
    ("充值¥50", yuan("50")),
    ("充值￥50", yuan("50")),
    ("充值五十块", yuan("50")),
    ("充值 五十塊錢", yuan("50")),
    ("充一百二", yuan("120")),
    ("充两百", yuan("200")),
    ("充值壹佰元", yuan("100")),
    ("充值一百零五", yuan("105")),
    ("充值伍拾圓", yuan("50")),
    ("充五块五", yuan("5.5")),
    ("充三十五块二毛", yuan("35.2")),
    ("充五十点五", yuan("50.5")),
    ("充五毛", yuan("0.5")),
    ("帮我充100块", yuan("100")),
    ("交电费 50元", yuan("50", E)),
    ("买电50", yuan("50", E)),
    ("買電50", yuan("50", E)),
    ("水费充50", yuan("50", W)),
    ("给电表充50", yuan("50", E)),
    ("电费50", yuan("50", E)),
    ("充值 abc", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 -5", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 +5", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 1e9", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 5.001", bad(AmountFault.TOO_FINE)),
    ("充值 5.0.0", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 1,5", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 50 20", bad(AmountFault.NOT_AN_AMOUNT)),
    ("301充50", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充三五百", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 ٥٠", bad(AmountFault.NOT_AN_AMOUNT)),
    ("充值 99999999999999999999", bad(AmountFault.TOO_LARGE)),
    ("用电", Usage(Span.DEFAULT, E)),
    ("用水", Usage(Span.DEFAULT, W)),
    ("今天用电", Usage(Span.TODAY, E)),
    ("今日用电量", Usage(Span.TODAY, E)),
    ("昨天用了多少电", Usage(Span.YESTERDAY, E)),
    ("本月电费", Usage(Span.THIS_MONTH, E)),
    ("上个月用水", Usage(Span.LAST_MONTH, W)),
    ("上個月用電", Usage(Span.LAST_MONTH, E)),
    ("昨天", Usage(Span.YESTERDAY)),
    ("绑定", Bind()),
    ("綁定", Bind()),
    ("加户号", Bind()),
    ("我要绑定户号", Bind()),
    ("绑定 10010023", Bind("10010023")),
    ("绑定１００１００２３", Bind("10010023")),
    ("绑定 1001 0023", Bind("10010023")),
    ("加户号A-1023", Bind("A-1023")),
    ("户号：10010023", Bind("10010023")),
    ("123456", Code("123456")),
    ("123 456", Code("123456")),
    ("１２３４５６", Code("123456")),
    ("验证码123456", Code("123456")),
    ("3", Pick(3)),
    ("３", Pick(3)),
    ("第二个", Pick(2)),
    ("选1", Pick(1)),
    ("0", Number("0")),
    ("301", Number("301")),
    ("10010023", Number("10010023")),
    ("切换", Switch()),
    ("切換", Switch()),
    ("换表", Switch()),
    ("记录", Records()),
    ("充值记录", Records()),
    ("充值記錄", Records()),
    ("充值没到账", Records()),
    ("账单", Records()),
    ("没电", PowerOut(E)),
    ("沒電了", PowerOut(E)),
    ("今天停电吗", PowerOut(E)),
    ("没水了", PowerOut(W)),
    ("跳闸", PowerOut()),
    ("帮助", Help()),
    ("幫助", Help()),
    ("?", Help()),
    ("？", Help()),
    ("menu", Help()),
    ("ＭＥＮＵ", Help()),
    ("人工", Human()),
    ("报修", Human()),
    ("我要退费", Human()),
    ("解绑", Unbind()),
    ("解綁", Unbind()),
    ("取消绑定", Unbind()),
    ("哈哈", Unknown("哈哈")),
    ("充电桩", Unknown("充电桩")),
    ("交", Unknown("交")),
    ("", Unknown("")),
]


@pytest.mark.parametrize(("text", "intent"), PHRASES)
def test_a_phrase_as_people_type_it_means_one_thing(text: str, intent: Intent) -> None:
    assert parse(text) == intent


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("十", 10), ("十五", 15), ("二十五", 25), ("一百二", 120), ("一百零二", 102),
        ("一百二十", 120), ("一千五", 1500), ("一千零五", 1005), ("一万", 10000),
        ("一万二", 12000), ("一万零五", 10005), ("两万三千", 23000), ("零", 0), ("5百", 500),
    ],
)  # fmt: skip
def test_chinese_numerals_are_read_as_spoken(text: str, value: int) -> None:
    assert chinese_number(text) == value


@pytest.mark.parametrize(
    "text", ["", "百", "万", "三五", "二十三十", "十百", "零零", "一零", "一万万", "半", "15百"]
)
def test_numerals_that_could_mean_two_things_are_not_read(text: str) -> None:
    assert chinese_number(text) is None


@given(st.integers(0, 999_999_999), st.integers(0, 99))
def test_every_amount_with_two_decimals_is_read_to_the_fen(whole: int, fen: int) -> None:
    expected = Money.of_fen(whole * 100 + fen)
    assert parse(f"充值 {whole}.{fen:02d} 元") == TopUp(expected)
    assert read_amount(f"{whole}.{fen:02d}") == expected


@given(st.text(max_size=400))
def test_no_text_can_break_the_parser(text: str) -> None:
    intent = parse(text)
    assert parse("充值" + text) is not None
    if isinstance(intent, TopUp) and intent.amount is not None:
        assert intent.amount.hao % 100 == 0


@given(
    st.text(
        alphabet="充值电费水查余额绑定户号解0123456789.,-块元十百千万零一二两三五点毛 ?人工没记录",
        max_size=20,
    )
)
def test_no_mixture_of_the_command_words_breaks_the_parser(text: str) -> None:
    intent = parse(text)
    if isinstance(intent, TopUp):
        assert intent.amount is None or intent.fault is None


def test_an_account_number_has_a_digit_and_is_upper_case() -> None:
    assert account_number(" a-1023 ") == "A-1023"
    assert account_number("abcdef") is None
    assert account_number("12") is None
    assert account_number("1" * 33) is None
