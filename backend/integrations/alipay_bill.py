"""The daily trade bill of Alipay (业务明细): a zip of GBK files, amounts in yuan, numbers behind tabs.

The headings are those of the real file (found alike in several public parsers); the file of the details
ends with a line `#----..列表结束..`.
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

from backend.kernel.clock import CHINA
from backend.kernel.money import Money
from backend.topups.ports import BillLine, ChannelUnavailable

_UNPACKED_LIMIT = 256 * 1024 * 1024
_HEADING = "支付宝交易号"
_END = "列表结束"
_PAID, _REFUND = "交易", "退款"


def unpack(packed: bytes, /) -> str:
    """The text of the details inside a downloaded bill.

    The file is told by its heading, not by its name, which is GBK and old zips say nothing of that. Raises
    ChannelUnavailable: a bill that is cut or changed proves nothing, ask for it again.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > _UNPACKED_LIMIT:
                raise ChannelUnavailable("the bill is too long")
            # read() checks each file's CRC.
            texts = [archive.read(member).decode("gb18030") for member in members]
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError):
        # RuntimeError: encrypted, or packed in a way that we do not know.
        raise ChannelUnavailable("the bill cannot be unpacked") from None
    except UnicodeDecodeError:
        raise ChannelUnavailable("the bill is not GBK") from None
    details = [text for text in texts if any(_is_heading(row) for row in text.splitlines())]
    if len(details) != 1:
        raise ChannelUnavailable("the bill has no details, or more than one file of them")
    return details[0]


def lines_of(text: str, /) -> list[BillLine]:
    """The payments and refunds of a bill's details; lines with `#` are comments.

    Columns are found by their heading. Raises ChannelUnavailable for a file of another shape, a kind of
    line that we do not know, or one without its end.
    """
    rows = text.splitlines()
    start = next((index for index, row in enumerate(rows) if _is_heading(row)), None)
    if start is None:
        raise ChannelUnavailable("the bill has no heading")
    headings = _fields(rows[start])
    found: list[BillLine] = []
    try:
        for row in rows[start + 1 :]:
            if row.startswith("#"):
                if _END in row:
                    return found
            elif row.strip():
                found.append(_line(dict(zip(headings, _fields(row), strict=True))))
    except (KeyError, ValueError, csv.Error) as error:
        raise ChannelUnavailable(f"the bill has another shape: {error}") from None
    raise ChannelUnavailable("the bill has no end")


def _is_heading(row: str) -> bool:
    return row.startswith(_HEADING + ",")


def _fields(row: str) -> list[str]:
    """The fields of a row; a tab behind a number keeps spreadsheets from rounding it."""
    (fields,) = csv.reader([row])
    return [value.strip() for value in fields]


def _line(row: Mapping[str, str]) -> BillLine:
    """One row as a BillLine; what was given back has a minus in the file. Raises KeyError, ValueError."""
    kind, fen = row["业务类型"], Money.parse(row["订单金额（元）"]).fen
    refund = kind == _REFUND
    if kind not in (_PAID, _REFUND) or (fen > 0) == refund:
        raise ValueError(f"a line of the kind {kind} with {fen} fen")
    at = datetime.strptime(row["完成时间"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA)
    return BillLine(
        order_no=row["商户订单号"],
        transaction_id=row["支付宝交易号"],
        amount_fen=0 if refund else fen,
        refund_fen=-fen if refund else 0,
        refund_no=row["退款批次号/请求号"] if refund else None,
        at=at.astimezone(UTC),
    )
