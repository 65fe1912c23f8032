"""The daily bill the stand-in gives out, in the shape of the real file."""

from __future__ import annotations

import gzip
import hashlib

from backend.kernel.money import Money
from backend.sandbox.pay_book import Order, PayBook, Refund

_HEADINGS = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
_SUMMARY = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)


def bill_of(*, book: PayBook, mchid: str, day: str) -> tuple[bytes, str] | None:
    """(gzipped bill, SHA-1 of the plain bytes) of a China day `yyyy-mm-dd`; None when it is empty."""
    orders = {o.out_trade_no: o for o in book.orders() if o.mchid == mchid and o.paid_at}
    paid = [order for order in orders.values() if order.paid_at.startswith(day)]
    refunds = [
        refund
        for refund in book.refunds(mchid=mchid)
        if refund.at.startswith(day) and refund.status == "SUCCESS"
    ]
    if not paid and not refunds:
        return None
    rows = [_row(order, None) for order in paid]
    rows += [_row(orders[refund.out_trade_no], refund) for refund in refunds]
    total = _yuan(sum(order.total for order in paid))
    back = _yuan(sum(refund.refund for refund in refunds))
    summary = f"`{len(rows)},`{total},`{back},`0.00,`0.00000,`{total},`{back}"
    plain = "\r\n".join([_HEADINGS, *rows, _SUMMARY, summary, ""]).encode("utf-8-sig")
    return gzip.compress(plain), hashlib.sha1(plain, usedforsecurity=False).hexdigest()


def _row(order: Order, refund: Refund | None) -> str:
    """A line for a payment, or for a refund of it."""
    at = refund.at if refund else order.paid_at
    amount = "0.00" if refund else _yuan(order.total)
    back = _yuan(refund.refund) if refund else "0.00"
    fields = [
        at[:19].replace("T", " "),
        order.sp_appid or order.appid,
        order.sp_mchid or order.mchid,
        order.mchid if order.sp_mchid else "0",
        "",
        order.transaction_id,
        order.out_trade_no,
        order.openid,
        order.kind,
        "REFUND" if refund else "SUCCESS",
        "OTHERS",
        "CNY",
        amount,
        "0.00",
        refund.refund_id if refund else "0",
        refund.out_refund_no if refund else "0",
        back,
        "0.00",
        "ORIGINAL" if refund else "",
        refund.status if refund else "",
        order.description,
        "",
        "0.00000",
        "0.60%",
        amount,
        back,
        "",
    ]
    return ",".join("`" + field for field in fields)


def _yuan(fen: int) -> str:
    """Yuan with two decimals."""
    return str(Money.of_fen(fen))
