"""The daily bill (交易账单) of WeChat Pay: hashed, gzipped, amounts in yuan, fields behind backticks."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

from backend.kernel.clock import CHINA
from backend.kernel.money import Money
from backend.topups.ports import BillLine, ChannelUnavailable

_UNPACKED_LIMIT = 256 * 1024 * 1024
_SUMMARY = "总交易单数"
_REFUND = "REFUND"


def unpack(*, packed: bytes, sha1: str) -> str:
    """The text of a downloaded bill after its SHA-1 (over the unpacked bytes) is compared.

    Raises ChannelUnavailable: a bill that is cut or changed proves nothing, ask for it again.
    """
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        plain = unpacker.decompress(packed, _UNPACKED_LIMIT)
    except zlib.error:
        raise ChannelUnavailable("the bill cannot be unpacked") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ChannelUnavailable("the bill is cut short or too long")
    # SHA-1 is what the channel states; it guards against damage, TLS and our signature do the rest.
    found = hashlib.sha1(plain, usedforsecurity=False).hexdigest()
    if not hmac.compare_digest(found, sha1.lower()):
        raise ChannelUnavailable("the bill does not match its hash")
    return plain.decode("utf-8-sig")


def lines_of(text: str, /, *, sub_mchid: str = "") -> list[BillLine]:
    """The payments and refunds of a bill; the two summary lines are left out.

    Columns are found by their heading, since the channel adds some over the years. With a `sub_mchid`
    every line must be of this sub-merchant, for whom a provider asked. Raises ChannelUnavailable for a
    file of another shape or merchant.
    """
    rows = text.splitlines()
    if not rows:
        raise ChannelUnavailable("the bill is empty")
    headings = [name.strip().strip("`") for name in rows[0].split(",")]
    found: list[BillLine] = []
    try:
        for row in rows[1:]:
            if row.startswith(_SUMMARY):
                return found
            fields = dict(zip(headings, _fields(row), strict=True))
            if sub_mchid and fields["特约商户号"] != sub_mchid:
                raise ValueError("a line is of another sub-merchant")
            found.append(_line(fields))
    except (KeyError, ValueError) as error:
        raise ChannelUnavailable(f"the bill has another shape: {error}") from None
    # Without the summary the end of the file is missing.
    raise ChannelUnavailable("the bill has no summary")


def _fields(row: str) -> list[str]:
    """The fields of a row. A goods name may hold a comma, so the separator is comma and backtick."""
    if not row.startswith("`"):
        raise ValueError("a row without backticks")
    return [value.strip() for value in row[1:].rstrip("\r").split(",`")]


def _line(row: Mapping[str, str]) -> BillLine:
    """One row as a BillLine. Raises KeyError, ValueError."""
    refund = row["交易状态"] == _REFUND
    at = datetime.strptime(row["交易时间"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA)
    return BillLine(
        order_no=row["商户订单号"],
        transaction_id=row["微信订单号"],
        amount_fen=_fen(row.get("订单金额") or row["应结订单金额"]),
        refund_fen=_fen(row.get("申请退款金额") or row["退款金额"]) if refund else 0,
        refund_no=row["商户退款单号"] if refund else None,
        at=at.astimezone(UTC),
    )


def _fen(yuan: str) -> int:
    """Whole fen of a decimal text of yuan, exactly. Raises ValueError."""
    return Money.parse(yuan).fen
