"""The receipt (收据) of a top-up: what was paid, what it paid off first, what was bought (C7, A16).

Pure, and a ticket of 48 columns for printers of 80 mm paper (font A of ESC/POS printers; a Chinese
character takes two columns). Nothing is swallowed: the lines add up to what was paid, or it is no receipt.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backend.kernel.clock import CHINA
from backend.kernel.errors import InvalidInput
from backend.kernel.money import ZERO, Money

COLUMNS = 48
_WAYS = {
    "WECHAT_PAY": "微信支付",
    "ALIPAY": "支付宝",
    "UNIONPAY": "银联",
    "CHINAPAY": "银联商务",
    "CASH": "现金",
    "CARD": "刷卡",
}


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """One line under what was paid: what that part of the money went to."""

    name: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt. `recovered`: arrears and fees that the money paid off first, line by line; `credited`:
    what was bought. `copy`: 1 is the original, a later one says that it is a copy."""

    project: str
    order_no: str
    account_no: str
    account_name: str
    channel: str
    slip_no: str | None
    paid_at: datetime
    paid: Money
    recovered: tuple[ReceiptLine, ...]
    credited: Money
    refunded: Money
    cashier: str | None
    desk: str | None
    copy: int

    def __post_init__(self) -> None:
        parts = sum((line.amount.hao for line in self.recovered), self.credited.hao)
        if parts != self.paid.hao:
            raise InvalidInput(
                f"the lines of receipt {self.order_no} do not add up to what was paid"
            )

    @property
    def is_copy(self) -> bool:
        """Whether it was printed before."""
        return self.copy > 1


def as_copy(receipt: Receipt, /, *, copy: int) -> Receipt:
    """The same receipt as its `copy`-th print."""
    return replace(receipt, copy=copy)


def width_of(text: str) -> int:
    """Columns on the printer: two for wide characters."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def ticket(receipt: Receipt, /) -> str:
    """The receipt as lines of at most 48 columns."""
    return "\n".join(_lines(receipt)) + "\n"


def _lines(receipt: Receipt) -> Iterator[str]:
    yield _middle(receipt.project)
    yield _middle("充值收据" + (f"（补打 第{receipt.copy}联）" if receipt.is_copy else ""))
    yield "-" * COLUMNS
    yield from _pair("单号", receipt.order_no)
    yield from _pair("户号", receipt.account_no)
    yield from _pair("户名", receipt.account_name)
    yield from _pair("时间", receipt.paid_at.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S"))
    yield from _pair("方式", _WAYS.get(receipt.channel, receipt.channel))
    if receipt.slip_no:
        yield from _pair("签购单号", receipt.slip_no)
    yield "-" * COLUMNS
    yield from _pair("实收", f"{receipt.paid} 元")
    for line in receipt.recovered:
        yield from _pair(f"其中 {line.name}", f"-{line.amount} 元")
    yield from _pair("充入", f"{receipt.credited} 元")
    if receipt.refunded > ZERO:
        yield from _pair("已退", f"{receipt.refunded} 元")
    yield "-" * COLUMNS
    if receipt.cashier:
        yield from _pair("收费员", receipt.cashier)
    if receipt.desk:
        yield from _pair("窗口", receipt.desk)


def _plain(text: str) -> str:
    """The text without control characters and line breaks, which a printer would obey."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))


def _middle(text: str) -> str:
    cut = _cut(_plain(text), COLUMNS)[0]
    return (" " * ((COLUMNS - width_of(cut)) // 2) + cut).rstrip()


def _pair(name: str, value: str) -> Iterator[str]:
    """Name on the left, value on the right; a long value goes on in lines of its own."""
    name, value = _plain(name), _plain(value)
    room = COLUMNS - width_of(name) - 1
    if width_of(value) <= room and room > 0:
        yield name + " " * (COLUMNS - width_of(name) - width_of(value)) + value
        return
    yield from _cut(name, COLUMNS)
    for part in _cut(value, COLUMNS - 2):
        yield "  " + part


def _cut(text: str, columns: int) -> Sequence[str]:
    """The text in parts of at most so many columns."""
    parts, part = [], ""
    for char in text:
        if width_of(part + char) > columns:
            parts.append(part)
            part = ""
        part += char
    return [*parts, part]
