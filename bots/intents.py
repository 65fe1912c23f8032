"""What a customer's words ask for: rules, no AI. `parse` is pure and never raises.

Amounts are read, not judged: bounds belong to the dialogue, which knows the project's limits.
The only Chinese in the code of this room is here and in the two modules that read words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from backend.kernel.money import Money

from .amounts import AmountFault, has_numeral, read_amount
from .normalise import normalise, without_spaces


class Supply(StrEnum):
    """What a meter measures."""

    ELECTRICITY = "ELECTRICITY"
    WATER = "WATER"
    HEAT = "HEAT"


class Span(StrEnum):
    """For which days use is asked; DEFAULT when none was said."""

    TODAY = "TODAY"
    YESTERDAY = "YESTERDAY"
    THIS_MONTH = "THIS_MONTH"
    LAST_MONTH = "LAST_MONTH"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Balance:
    """How much money is left; `supply` None means of every kind."""

    supply: Supply | None = None


@dataclass(frozen=True, slots=True)
class Lasting:
    """How long the money lasts."""

    supply: Supply | None = None


@dataclass(frozen=True, slots=True)
class TopUp:
    """Wants to pay. `amount` None: none was said, or `fault` says why it could not be read."""

    amount: Money | None = None
    supply: Supply | None = None
    fault: AmountFault | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """How much was used in `span`."""

    span: Span = Span.DEFAULT
    supply: Supply | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a unit costs now; `steps`: where the step price stands."""

    supply: Supply | None = None
    steps: bool = False


@dataclass(frozen=True, slots=True)
class Bill:
    """What this month's use costs so far, line by line."""

    supply: Supply | None = None


@dataclass(frozen=True, slots=True)
class Refunds:
    """Where a refund is that was asked for."""


@dataclass(frozen=True, slots=True)
class Bind:
    """Bind an account; `account_no` is 4 to 32 letters, digits and `-`, upper case, or not said."""

    account_no: str | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """Six digits: a verification code while one is awaited."""

    digits: str


@dataclass(frozen=True, slots=True)
class Pick:
    """A number from 1 to 9: an item of the last list."""

    n: int


@dataclass(frozen=True, slots=True)
class Number:
    """Any other bare row of digits (at most 32): an account number or a room."""

    digits: str


@dataclass(frozen=True, slots=True)
class Switch:
    """Choose another account as the one that answers are about."""


@dataclass(frozen=True, slots=True)
class Records:
    """Past top-ups and where the last one is."""


@dataclass(frozen=True, slots=True)
class PowerOut:
    """No power or no water: why?"""

    supply: Supply | None = None


@dataclass(frozen=True, slots=True)
class Help:
    """What can be asked."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The customer has just followed the account; never the result of `parse`."""


@dataclass(frozen=True, slots=True)
class Human:
    """Wants a person."""


@dataclass(frozen=True, slots=True)
class Unbind:
    """Remove a binding."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not understood. `text` is the normalised form, to be matched, never to be repeated."""

    text: str = ""


Intent = (
    Balance | Lasting | TopUp | Usage | Price | Bill | Refunds | Bind | Code | Pick | Number | Switch
    | Records | PowerOut | Help | Welcome | Human | Unbind | Unknown
)  # fmt: skip

_ACCOUNT = r"[0-9a-z][0-9a-z-]{2,30}[0-9a-z]"
_CODE = re.compile(r"(?:(?:验证码|校验码)[是为]?)?([0-9]{6})")
_PICK = re.compile(r"[选第]?([1-9一二三四五六七八九])(?:个|号)?")
_PICK_WORDS = "一二三四五六七八九"
_BIND = re.compile(
    rf"(?:我要|我想)?(?:绑定|添加|增加|加|绑)?(?:户号|户|账户|房号|表号|电表|水表)?[是为]?(?P<no>{_ACCOUNT})?"
)
_BIND_WORD = re.compile(r"绑|(?:加|添加|增加)(?:户|账户|房号)|^户号")

_HELP = re.compile(r"\?+|帮助|使用帮助|help|menu|菜单|功能|怎么用|使用说明|你好|您好|hi|hello|在吗")
_HUMAN = re.compile(r"人工|客服|投诉|报修|坏了|退费|退款|联系(?:人|电话|物业|你们)|^电话$|物业电话")
# 退款 alone wants a person; with a question about it, the book knows the answer.
_REFUNDS = re.compile(
    r"退[款费钱].*(?:到哪|到了|到账|进度|进展|状态|记录|明细|多久|什么时候|何时|几天|怎么样|成功)"
    r"|(?:查|看).*退[款费]|退[款费]了?[吗没]|退的[款钱]"
)
_STEPS = re.compile(r"阶梯|梯价|第?几档|档位|哪一?档")
_BILL_LINES = re.compile(
    r"^明细$|(?:费用?|用[电水热量]|用量|消费|扣款?|月的?)明细|扣费|用了(?:多少|几块)钱|花了?多少钱?|[电水热]费(?:构成|组成)"
)
_PRICE = re.compile(
    r"[电水热]价|单价|价格|价钱|价位|收费标准|怎么(?:收费|算钱|计费)|计费标准|峰谷|尖峰|谷电|峰电|分时"
    r"|(?:多少|几块?)钱?(?:一|1|每)(?:度|方|吨|立方|千瓦时)"
    r"|(?:一|1|每)(?:度|方|吨|立方米?|千瓦时)[电水]?(?:是|要|卖)?(?:多少|几块?)"
    r"|便宜|(?:几点|什么时候|何时|现在).*贵"  # by the hour
)
_BY_UNIT = (
    (Supply.ELECTRICITY, re.compile(r"度|千瓦时|峰|谷")),
    (Supply.WATER, re.compile(r"吨|方")),
)
_UNBIND = re.compile(r"解绑|(?:解除|取消)绑定|(?:删除|取消)户号")
_BALANCE_FIRST = re.compile(
    r"余额|剩余|没[电水]费|费没了|快没[电水]|没钱|不足|欠费|欠了?多少|还[剩有]|剩多少"
)
_LASTING = re.compile(
    r"(?:能|可以?|够|还)(?:再)?[用撑](?:几天|几日|多久|多长时间|多少[天日]|到(?:几号|哪天|什么时候))"
    r"|剩余?(?:几|多少)[天日]|(?:可用|剩余)天数|(?:什么时候|何时|哪天|几号|多久)会?[用就]*(?:完|光)"
)
_RECORDS = re.compile(
    r"(?:充值|冲值|缴费|交费|购电|购水|支付|付款)(?:的)?(?:记录|明细|历史)|到账|^(?:查|查询|查看|我的)?记录$|账单|发票"
)
_POWER_OUT = re.compile(
    r"没[有]?[电水](?!费|卡|表)|[停断][电水]|跳闸|拉闸|不来[电水]|[电水]没了|没暖气"
)
_SWITCH = re.compile(r"切换|换表|换户|(?:换|改)(?:一?个|成)?(?:户号|账户|房间|电表|水表)")
_SPANS = (
    (Span.TODAY, re.compile(r"今[天日]|当[天日]")),
    (Span.YESTERDAY, re.compile(r"昨[天日]")),
    (Span.THIS_MONTH, re.compile(r"(?:本|这个?|当)月")),
    (Span.LAST_MONTH, re.compile(r"上个?月")),
)
_USAGE = re.compile(
    r"用[电水热](?!费余)|用量|用了多少|耗[电水]|抄表|读数|[电水]量|度数|几度|多少度"
)
_SUPPLIES = (
    (Supply.WATER, re.compile(r"水")),
    (Supply.HEAT, re.compile(r"热费|取暖|暖气|供暖|供热|用热|热表")),
    (Supply.ELECTRICITY, re.compile(r"电(?!话|子)")),
)
_STRONG_VERB = re.compile(
    r"充值|冲值|储值|续费|缴纳|[充缴交付]?[电水热]费(?:充值|缴费|交费)|[充冲缴交付买][电水热]?费|购[电水热]|买[电水热]|充[电水](?!桩)"
    r"|[充交缴付]钱"
)
_WEAK_VERB = re.compile(r"[充冲交缴付买购存]")
_BILL = re.compile(r"[电水]费|热费|取暖费|暖气费")
_FILLER = re.compile(
    r"我要|我想要?|我的|我家|我|想要|帮忙|帮我|给我|麻烦|一下子?|今天|现在|请问|请|谢谢|给|帮|吧|了|呢|啊|呀|吗|的|来|去|再|要|到|里|多少|怎么|如何|怎样|哪里|能不能|可以|能|查询|查看|查|看|问|是|还"
)
_METER_WORD = re.compile(r"[电水热](?:表|费|卡)?|暖气|取暖|账户|账号|金额")


def parse(text: str) -> Intent:
    """The intent of `text` as a customer typed it; `Unknown` when no rule fits. Never raises."""
    plain = normalise(text)
    return _bare(plain) or _worded(plain) or Unknown(without_spaces(plain))


def account_number(text: str) -> str | None:
    """The account number that the whole of `text` is (letters, digits, `-`, one digit at least)."""
    joined = without_spaces(normalise(text))
    if re.fullmatch(_ACCOUNT, joined) and any("0" <= ch <= "9" for ch in joined):
        return joined.upper()
    return None


def _bare(plain: str) -> Intent | None:
    """Numbers without words."""
    joined = without_spaces(plain)
    if match := _PICK.fullmatch(joined):
        said = match[1]
        return Pick(int(said) if said in "123456789" else _PICK_WORDS.index(said) + 1)
    if match := _CODE.fullmatch(joined):
        return Code(match[1])
    if re.fullmatch(r"[0-9]{1,32}", joined):
        return Number(joined)
    return None


def _worded(plain: str) -> Intent | None:
    """The first rule that fits; the order is the meaning: 余额不足 is no top-up, 充值记录 neither."""
    supply = _supply(plain)
    if _HELP.fullmatch(plain):
        return Help()
    if _REFUNDS.search(plain):
        return Refunds()
    if _HUMAN.search(plain):
        return Human()
    if _UNBIND.search(plain):
        return Unbind()
    if (bind := _bind(plain)) is not None:
        return bind
    if _RECORDS.search(plain):
        return Records()
    if _LASTING.search(without_spaces(plain)):
        return Lasting(supply)
    if (priced := _priced(plain, supply)) is not None:
        return priced
    if _BALANCE_FIRST.search(plain):
        return Balance(supply)
    if _POWER_OUT.search(plain):
        return PowerOut(supply)
    if _SWITCH.search(plain):
        return Switch()
    return _top_up(plain, supply) or _usage(plain, supply) or _balance(plain, supply)


def _priced(plain: str, supply: Supply | None) -> Price | Bill | None:
    """Prices and what was paid by them; 度 is power and 吨 is water when nothing else says which."""
    if _STEPS.search(plain):
        return Price(supply, steps=True)
    joined = without_spaces(plain)
    if _BILL_LINES.search(joined):
        return Bill(supply)
    if not _PRICE.search(joined):
        return None
    if supply is None:
        supply = next((kind for kind, words in _BY_UNIT if words.search(joined)), None)
    return Price(supply)


def _bind(plain: str) -> Bind | None:
    if not _BIND_WORD.search(plain):
        return None
    match = _BIND.fullmatch(without_spaces(plain))
    number = match["no"] if match else None
    return Bind(account_number(number) if number else None)


def _supply(plain: str) -> Supply | None:
    found = [supply for supply, words in _SUPPLIES if words.search(plain)]
    return found[0] if len(found) == 1 else None


def _top_up(plain: str, supply: Supply | None) -> TopUp | None:
    strong, weak, bill = (rule.search(plain) for rule in (_STRONG_VERB, _WEAK_VERB, _BILL))
    verb = strong or weak or bill
    if verb is None:
        return None
    clear = strong is not None or (weak is not None and bill is not None)
    # Words leave a gap behind, so that `301充50` never reads as 30150.
    rest = _FILLER.sub(" ", plain[: verb.start()] + " " + plain[verb.end() :])
    words = _METER_WORD.sub(" ", rest).split()
    if not words:
        return TopUp(None, supply) if clear else None
    amount = read_amount(words[0]) if len(words) == 1 else AmountFault.NOT_AN_AMOUNT
    if isinstance(amount, Money):
        return TopUp(amount, supply)
    if clear or (weak and has_numeral("".join(words))):
        return TopUp(None, supply, amount)
    return None


def _usage(plain: str, supply: Supply | None) -> Usage | None:
    span = next((span for span, words in _SPANS if words.search(plain)), None)
    if span is None and not _USAGE.search(plain):
        return None
    return Usage(span or Span.DEFAULT, supply)


def _balance(plain: str, supply: Supply | None) -> Balance | None:
    rest = _METER_WORD.sub("", _FILLER.sub("", plain)).replace("?", "")
    asked = supply is not None or re.search(r"查|[电水]费|余", plain)
    return Balance(supply) if asked and rest in ("", "余", "钱") else None
