"""The daily file of UnionPay: unpacked, cut into its columns, read to the fen (C6)."""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from datetime import UTC, datetime, time, timedelta

import httpx
import pytest

from backend.integrations.unionpay import UnionpayChannel
from backend.integrations.unionpay_bill import lines_of
from backend.kernel.clock import CHINA, SetClock
from backend.sandbox.bank_book import Trade
from backend.sandbox.unionpay_bill import file_of
from backend.topups.ports import ChannelUnavailable, RefundRequest

from .bank_tills import CLOCK, UnionpayTill, a_bank_order, a_number, post_page

# A settlement day ends at 23:00.
_TODAY = (CLOCK.now().astimezone(CHINA) + timedelta(hours=1)).date()


async def _traded(till: UnionpayTill) -> tuple[str, str, RefundRequest]:
    numbers: list[str] = []
    for fen in (1, 123_456):
        order = a_bank_order(fen=fen)
        await post_page(await till.channel.prepay(order))
        till.pay(order.order_no)
        numbers.append(order.order_no)
    refund = RefundRequest(numbers[1], a_number(), 3_019, 123_456, "退费")
    await till.channel.refund(refund)
    return numbers[0], numbers[1], refund


async def test_the_bill_lists_payments_and_refunds_to_the_fen(unionpay: UnionpayTill) -> None:
    paid, returned, refund = await _traded(unionpay)
    lines = await unionpay.channel.bill(_TODAY)
    found = [(line.order_no, line.amount_fen, line.refund_fen, line.refund_no) for line in lines]
    assert found == [
        (paid, 1, 0, None),
        (returned, 123_456, 0, None),
        (returned, 0, 3_019, refund.refund_no),
    ]
    assert all(abs(CLOCK.now() - line.at) < timedelta(minutes=1) for line in lines)
    assert lines[0].transaction_id == (await unionpay.channel.query(paid)).transaction_id


async def test_a_refund_of_another_days_payment_names_no_order(unionpay: UnionpayTill) -> None:
    await _traded(unionpay)
    content = _packed(_rows(unionpay)[2:])
    lines = lines_of(content=content, mer_id=unionpay.config.mer_id, settled=_TODAY)
    assert [(line.order_no, line.refund_fen) for line in lines] == [("", 3_019)]


async def test_a_day_without_trade_is_empty_only_when_the_file_is_due(
    unionpay: UnionpayTill,
) -> None:
    today = CLOCK.now().astimezone(CHINA).date()
    due = datetime.combine(today, time(10), CHINA).astimezone(UTC)
    clock = SetClock(due - timedelta(seconds=1))
    channel = UnionpayChannel(unionpay.config, clock=clock)
    with pytest.raises(ChannelUnavailable, match="no bill yet"):
        await channel.bill(today - timedelta(days=1))
    clock.advance(timedelta(seconds=1))
    assert await channel.bill(today - timedelta(days=1)) == []


async def test_a_file_that_is_not_made_yet_is_asked_for_again(unionpay: UnionpayTill) -> None:
    with pytest.raises(ChannelUnavailable, match="no bill yet"):
        await unionpay.channel.bill(_TODAY + timedelta(days=1))


async def test_a_file_that_is_cut_short_is_not_used(unionpay: UnionpayTill) -> None:
    await _traded(unionpay)
    unionpay.fault("broken_bill")
    with pytest.raises(ChannelUnavailable, match="shape"):
        await unionpay.channel.bill(_TODAY)


def _rows(till: UnionpayTill) -> list[bytes]:
    """The rows of the stand-in's file."""
    shown = httpx.get(f"{till.url}/control/orders", trust_env=False).json()["orders"]
    content = file_of(
        trades=[Trade(**trade) for trade in shown],
        mer_id=till.config.mer_id,
        month_day=f"{_TODAY:%m%d}",
    )
    assert content is not None
    archive = zipfile.ZipFile(io.BytesIO(zlib.decompress(base64.b64decode(content))))
    return archive.read(archive.namelist()[0]).splitlines()


def _packed(rows: list[bytes]) -> str:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("INN112888ZM_777290058110048", b"\r\n".join(rows))
    return base64.b64encode(zlib.compress(packed.getvalue())).decode()


async def test_columns_that_have_moved_are_an_error_not_a_guess(unionpay: UnionpayTill) -> None:
    await _traded(unionpay)
    rows, mer_id = _rows(unionpay), unionpay.config.mer_id
    whole = lines_of(content=_packed(rows), mer_id=mer_id, settled=_TODAY)
    assert len(whole) == 3
    for wrong in (
        [b" " + row for row in rows],
        [row[:200] for row in rows],
        [row.replace(mer_id.encode(), b"777290058110049") for row in rows],
        [row.replace(b" 00000", b" 0000", 1) for row in rows],
        [row.replace(b" 04 ", b" 99 ") for row in rows],
        [b"nonsense"],
    ):
        with pytest.raises(ChannelUnavailable, match="shape"):
            lines_of(content=_packed(wrong), mer_id=mer_id, settled=_TODAY)


@pytest.mark.parametrize(
    "content", ["", "%%%", "YQ==", base64.b64encode(zlib.compress(b"x")).decode()]
)
def test_what_is_no_zip_in_zlib_in_base64_is_an_error(content: str) -> None:
    with pytest.raises(ChannelUnavailable, match="shape"):
        lines_of(content=content, mer_id="777290058110048", settled=_TODAY)
