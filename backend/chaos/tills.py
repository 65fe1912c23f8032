"""The three channels of a chaos run as a payer's browser and an auditor know them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.sandbox.answers import NO_ANSWER

from .plan import Tenant


@dataclass(frozen=True, slots=True)
class Till:
    """A channel: how it is asked for, under which `path` its stand-in is, and what its own book says:
    `paid` gives (order, fen) of what it took, `back` the fen that it gave back."""

    channel: str
    method: str
    path: str
    book: str
    paid: str
    back: str

    async def open(self, browser: httpx.AsyncClient, page: Mapping[str, str]) -> None:
        """Open the channel's own page, where that is what makes the order there."""
        form = dict(page)
        try:
            if self.channel == "ALIPAY":
                await browser.get(form["url"])
            elif self.channel == "UNIONPAY":
                await browser.post(form.pop("action"), data=form)
        except NO_ANSWER:
            return  # the stand-ins are never killed; who pays will see

    def said(self, tenant: Tenant, number: str) -> dict[str, str]:
        """What is said to the stand-in to pay an order."""
        if self.channel == "UNIONPAY":
            return {"order_no": number}
        if self.channel == "ALIPAY":
            return {"out_trade_no": number}
        site, home = tenant.site, tenant.home
        return {"out_trade_no": number, "mchid": site.mchid, "openid": home.openid}

    def read(self, data: Path) -> tuple[dict[str, int], int]:
        """Its own book in the folder `data`: fen by order that were paid, and fen that went back."""
        file = sqlite3.connect(f"{(data / self.book).as_uri()}?mode=ro", uri=True)
        try:
            paid = dict(file.execute(self.paid).fetchall())
            (back,) = file.execute(self.back).fetchone()
        finally:
            file.close()
        return paid, back


WECHAT = Till(
    channel="WECHAT_PAY",
    method="H5",
    path="wechat-pay",
    book="wechat-pay.sqlite",
    paid="SELECT out_trade_no, total FROM orders WHERE paid_at <> ''",
    back="SELECT coalesce(sum(refund), 0) FROM refunds WHERE status = 'SUCCESS'",
)
ALIPAY = Till(
    channel="ALIPAY",
    method="WAP",
    path="alipay",
    book="alipay.sqlite",
    paid="SELECT out_trade_no, total FROM trades WHERE paid_at <> ''",
    back="SELECT coalesce(sum(amount), 0) FROM refunds WHERE done",
)
UNIONPAY = Till(
    channel="UNIONPAY",
    method="PAGE",
    path="unionpay",
    book="unionpay.sqlite",
    paid="SELECT number, fen FROM trades WHERE kind = 'PAY' AND state = 'DONE'",
    back="SELECT coalesce(sum(fen), 0) FROM trades WHERE kind = 'BACK' AND state = 'DONE'",
)
TILLS = {till.channel: till for till in (WECHAT, ALIPAY, UNIONPAY)}
