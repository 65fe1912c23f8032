"""Read an amount of yuan as people write it: `50`, `50.5元`, `¥1,000`, `五十块`, `一百二`, `五块五`. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from backend.kernel.money import Money


class AmountFault(StrEnum):
    """Why words that stand where an amount should be are not one."""

    NOT_AN_AMOUNT = "NOT_AN_AMOUNT"
    TOO_FINE = "TOO_FINE"
    TOO_LARGE = "TOO_LARGE"


# The capital numerals of cheques sit beside the common ones.
_DIGITS = {
    ch: value
    for value, chars in enumerate(
        ("零〇", "一壹", "二两贰俩", "三叁", "四肆", "五伍", "六陆", "七柒", "八捌", "九玖")
    )
    for ch in chars
}
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_TEN_THOUSAND = 10_000
_DIGIT_CLASS = "[0-9" + "".join(_DIGITS) + "]"
_NUMERAL_CHARS = frozenset([*_DIGITS, *_UNITS, "万", "点"])

_TAIL = r"(?:元|块|圆|rmb|cny|¥)?(?:钱|整|人民币)?"
_PLAIN = re.compile(rf"(?:¥|rmb|cny)?(?P<number>[^元块圆角毛分¥]+?){_TAIL}")
_WITH_JIAO = re.compile(
    rf"(?:¥)?(?P<yuan>[^元块圆角毛分]+)[元块圆](?P<jiao>{_DIGIT_CLASS})"
    rf"(?:[角毛](?:(?P<fen>{_DIGIT_CLASS})分?)?)?(?:钱)?"
)
_ONLY_JIAO = re.compile(rf"(?P<jiao>{_DIGIT_CLASS})[角毛](?:(?P<fen>{_DIGIT_CLASS})分?)?(?:钱)?")
_ASCII = re.compile(r"([0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.([0-9]+))?")
_MAX_WHOLE_DIGITS = 9


def has_numeral(text: str) -> bool:
    """Whether `text` holds a digit or a Chinese numeral."""
    return any("0" <= ch <= "9" or ch in _NUMERAL_CHARS for ch in text)


def read_amount(text: str) -> Money | AmountFault:
    """The amount that the whole of `text` (normalised) says, or why it says none.

    Two decimals at most; no sign, no exponent. Bounds are the caller's business.
    """
    if match := _ONLY_JIAO.fullmatch(text):
        whole, fraction = "0", _small(match["jiao"]) + _small(match["fen"])
    elif match := _WITH_JIAO.fullmatch(text):
        number = _split(match["yuan"])
        if number is None or number[1]:
            return AmountFault.NOT_AN_AMOUNT
        whole, fraction = number[0], _small(match["jiao"]) + _small(match["fen"])
    elif (match := _PLAIN.fullmatch(text)) and (number := _split(match["number"])) is not None:
        whole, fraction = number
    else:
        return AmountFault.NOT_AN_AMOUNT
    if len(whole) > _MAX_WHOLE_DIGITS:
        return AmountFault.TOO_LARGE
    if len(fraction) > 2:
        return AmountFault.TOO_FINE
    return Money.parse(f"{whole}.{fraction.ljust(2, '0')}")


def _split(number: str) -> tuple[str, str] | None:
    """Whole and fraction digits of an ASCII or Chinese number."""
    if match := _ASCII.fullmatch(number):
        return match[1].replace(",", "").lstrip("0") or "0", match[2] or ""
    head, point, tail = number.partition("点")
    if point and (not tail or any(ch not in _DIGITS for ch in tail)):
        return None
    whole = chinese_number(head)
    return None if whole is None else (str(whole), "".join(str(_DIGITS[ch]) for ch in tail))


def chinese_number(text: str) -> int | None:
    """The whole number that Chinese numerals say (below 100 million), None when they say none.

    The last unit may be left out as in speech: 一百二 is 120 and 一千五 is 1500. A row of digits
    without units (三五, which may mean "three to five") is not read.
    """
    head, wan, tail = text.partition("万")
    if not wan:
        return _section(text, tail_of=1)
    high, low = _section(head, tail_of=1), _section(tail, tail_of=_TEN_THOUSAND) if tail else 0
    return None if high is None or low is None else high * _TEN_THOUSAND + low


def _section(text: str, *, tail_of: int) -> int | None:
    """A number below 10,000; `tail_of` is the unit left of it, which gives a lone digit its place."""
    total, pending, last, zero = 0, None, tail_of if tail_of > 1 else 10_000, False
    spoken_unit = tail_of > 1
    for ch in text:
        value = _value(ch)
        if value is None:
            return None
        if ch in _UNITS:
            if value >= last or (pending is None and (value != 10 or (total and not zero))):
                return None
            total, pending, last, spoken_unit = total + (pending or 1) * value, None, value, True
            zero = False
        elif pending is not None:
            return None
        elif value == 0:
            if zero or not (spoken_unit or text == ch):
                return None
            zero = True
        else:
            pending = value
    if pending is None:
        return None if not text or (zero and text not in "零〇") else total
    return total + pending * (last // 10 if spoken_unit and not zero and last > 10 else 1)


def _value(ch: str) -> int | None:
    if "0" <= ch <= "9":
        return int(ch)
    return _UNITS.get(ch, _DIGITS.get(ch))


def _small(ch: str | None) -> str:
    return "" if ch is None else str(_value(ch))
