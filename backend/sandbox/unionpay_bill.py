"""The daily file the UnionPay stand-in gives out: ZM rows of fixed width in GBK, zipped, zlib, base64.

Widths as in public copies of UnionPay's demo (grade: mirror).
"""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from backend.kernel.clock import CHINA
from backend.sandbox.bank_book import BACK, DONE, Trade

_WIDTHS = (
    3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21, 15,
    1, 15, 32, 13, 13, 8, 32, 13, 13, 12, 2, 1, 32, 98,
)  # fmt: skip
_CUT = timedelta(hours=1)


def settled_on(trade: Trade, /) -> date:
    """The settlement day of a done trade: it ends at 23:00."""
    done = datetime.strptime(trade.at, "%Y%m%d%H%M%S").replace(tzinfo=CHINA)
    return (done + _CUT).date()


def file_of(*, trades: Sequence[Trade], mer_id: str, month_day: str) -> str | None:
    """`fileContent` of a settlement day `MMdd`; None when there was no trade."""
    by_number = {trade.number: trade for trade in trades if trade.mer_id == mer_id}
    mine = [
        trade
        for trade in by_number.values()
        if trade.state == DONE and f"{settled_on(trade):%m%d}" == month_day
    ]
    if not mine:
        return None
    rows = [_row(trade, by_number.get(trade.original)) for trade in mine]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"INN{month_day}88ZM_{mer_id}", b"".join(row + b"\r\n" for row in rows))
        archive.writestr(f"INN{month_day}88ZME_{mer_id}", b"")
    return base64.b64encode(zlib.compress(packed.getvalue())).decode()


def _row(trade: Trade, payment: Trade | None) -> bytes:
    back = trade.kind == BACK
    columns = [""] * len(_WIDTHS)
    columns[0] = "S30" if back else "S22"
    columns[4] = trade.at[4:]
    columns[5] = "622848******1234"
    columns[6] = f"{trade.fen:012d}"
    columns[9] = trade.serial
    columns[11] = trade.number
    columns[15] = "C000000000000"
    columns[16] = f"{'D' if back else 'C'}{trade.fen:012d}"
    columns[19] = "04" if back else "01"
    columns[20] = "00" if back else "01"
    columns[21] = "000201"
    columns[26] = payment.serial if payment else "0" * 21
    columns[27] = trade.mer_id
    columns[30] = "演示物业"
    return b" ".join(
        text.encode("gbk").ljust(width) for text, width in zip(columns, _WIDTHS, strict=True)
    )
