"""The daily file (对账文件) of UnionPay: base64 of zlib of a zip, in it ZM files of fixed width in GBK.

Layout: column widths as in public copies of UnionPay's own demo (`parseZMFile`), one byte between columns;
the meaning of the columns that are used here from the same source and 《全渠道平台接入接口规范 第3部分
文件接口》 6.1. Grade: mirror; no real file has been read with this code. What does not fit raises.
"""

from __future__ import annotations

import base64
import binascii
import io
import logging
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from backend.integrations.bank_form import china_time
from backend.integrations.unionpay_reading import PAY, REFUND
from backend.topups.ports import BillLine, ChannelUnavailable

log = logging.getLogger(__name__)
_UNPACKED_LIMIT = 256 * 1024 * 1024
# The columns up to the merchant id, in bytes; what follows (fees of others, reserve) is not read.
WIDTHS = (
    3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21, 15,
)  # fmt: skip
_TIME, _AMOUNT, _QUERY_ID, _ORDER_ID, _TXN_TYPE, _ORIGINAL, _MER_ID = 4, 6, 9, 11, 19, 26, 27
_DEBIT = {PAY: False, REFUND: True}


@dataclass(frozen=True, slots=True)
class _Row:
    line: BillLine
    original: str


def lines_of(*, content: str, mer_id: str, settled: date) -> list[BillLine]:
    """The payments and refunds of `fileContent`, for the settlement day `settled`.

    A refund names the payment by UnionPay's own number only: `order_no` is that of the payment when the
    same file has it, else empty. Raises ChannelUnavailable for a file of another shape.
    """
    try:
        rows = [
            _row(text, mer_id=mer_id, settled=settled)
            for name, text in _rows(_unpacked(content))
            if _is_ours(name)
        ]
    # RuntimeError: the zip is encrypted, or packed in a way that zipfile does not know.
    except (ValueError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise ChannelUnavailable(f"the bill has another shape: {error}") from None
    paid = {row.line.transaction_id: row.line.order_no for row in rows if not row.original}
    return [
        replace(row.line, order_no=paid.get(row.original, "")) if row.original else row.line
        for row in rows
    ]


def _unpacked(content: str) -> bytes:
    """The zip in `fileContent`. Raises ValueError, zlib.error."""
    try:
        packed = base64.b64decode(content, validate=True)
    except binascii.Error:
        raise ValueError("it is not base64") from None
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(packed, _UNPACKED_LIMIT)
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError("it is cut short or too long")
    return plain


def _rows(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """(file name, row) of every file in the zip."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        if sum(one.file_size for one in archive.infolist()) > _UNPACKED_LIMIT:
            raise ValueError("it is too long")
        for name in archive.namelist():
            for row in archive.read(name).splitlines():
                if row.strip():
                    yield name, row


def _is_ours(name: str) -> bool:
    """Whether a file lists ordinary trade: `INN..ZM_..`. ZME files list disputes (差错), whose layout
    public copies do not agree on: they are told to the operator's log, not guessed at."""
    file = name.rsplit("/", 1)[-1].upper()
    if "ZME" in file:
        log.warning("the UnionPay bill lists a dispute", extra={"fields": {"file": name}})
    return "ZM_" in file


def _row(row: bytes, *, mer_id: str, settled: date) -> _Row:
    """One row of a ZM file. Raises ValueError."""
    fields: list[str] = []
    start = 0
    for width in WIDTHS:
        if start + width > len(row):
            raise ValueError("a row is too short")
        fields.append(row[start : start + width].decode("gbk").strip())
        start += width + 1
    if fields[_MER_ID] != mer_id:
        raise ValueError("a row is another merchant's, or the columns have moved")
    back = _DEBIT.get(fields[_TXN_TYPE])
    if back is None:
        raise ValueError(f"a row is a transaction of another type, {fields[_TXN_TYPE]}")
    if back and not fields[_ORIGINAL].strip("0"):
        raise ValueError("a refund does not name its payment")
    amount = int(fields[_AMOUNT])
    number = fields[_ORDER_ID]
    # The year is left out. A settlement day ends at 23:00, so a row is of this day or the evening before.
    year = settled.year
    at = china_time(f"{year}{fields[_TIME]}")
    if at.date() > settled + timedelta(days=31):
        at = china_time(f"{year - 1}{fields[_TIME]}")
    line = BillLine(
        order_no="" if back else number,
        transaction_id=fields[_QUERY_ID],
        amount_fen=0 if back else amount,
        refund_fen=amount if back else 0,
        refund_no=number if back else None,
        at=at,
    )
    return _Row(line, fields[_ORIGINAL] if back else "")
