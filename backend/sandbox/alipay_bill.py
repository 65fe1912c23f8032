"""The daily trade bill that the Alipay stand-in gives out, in the shape of the real file."""

from __future__ import annotations

import io
import zipfile

from backend.kernel.money import Money
from backend.sandbox.alipay_book import AlipayBook, Trade, TradeRefund

_HEADINGS = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,"
    "对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,"
    "券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,"
    "分润（元）,备注"
)


def bill_of(*, book: AlipayBook, app_id: str, day: str) -> bytes | None:
    """The zipped bill of a China day `yyyy-mm-dd`; None when nothing happened."""
    trades = {t.out_trade_no: t for t in book.trades() if t.app_id == app_id and t.paid_at}
    paid = [trade for trade in trades.values() if trade.paid_at.startswith(day)]
    refunds = [r for r in book.refunds(app_id=app_id) if r.done and r.at.startswith(day)]
    if not paid and not refunds:
        return None
    rows = [_row(trade, None) for trade in paid]
    rows += [_row(trades[refund.out_trade_no], refund) for refund in refunds]
    head = ["#支付宝业务明细查询", "#账号：[20880000000000000156]"]
    details = [*head, "#---业务明细列表----", _HEADINGS, *rows, "#---业务明细列表结束----", ""]
    total = Money.of_fen(sum(trade.total for trade in paid))
    sums = [
        "#支付宝业务汇总查询",
        "#---业务汇总列表----",
        "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）",
        f"合计,,{len(paid)},{len(refunds)},{total}",
        "#---业务汇总列表结束----",
        "",
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        name = f"20880000000000000156_{day.replace('-', '')}"
        archive.writestr(f"{name}_业务明细.csv", "\r\n".join(details).encode("gbk"))
        archive.writestr(f"{name}_业务明细(汇总).csv", "\r\n".join(sums).encode("gbk"))
    return packed.getvalue()


def _row(trade: Trade, refund: TradeRefund | None) -> str:
    """A line for a payment, or for a refund of it (with a minus)."""
    amount = str(Money.of_fen(-refund.amount if refund else trade.total))
    fields = [
        f"{trade.trade_no}\t",
        f"{trade.out_trade_no}\t",
        "退款" if refund else "交易",
        f'"{trade.subject}"',
        trade.created_at,
        refund.at if refund else trade.paid_at,
        *("", "", "", ""),
        f"{trade.buyer_id}\t",
        amount,
        amount,
        *("0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00", "0.00"),
        f"{refund.out_request_no}\t" if refund else "",
        "-0.00",
        "0.00",
        "",
    ]
    return ",".join(fields)
