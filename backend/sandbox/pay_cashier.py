"""The cashier page of the WeChat Pay stand-in: what a payer sees on the phone instead of WeChat."""

from __future__ import annotations

from html import escape
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from backend.kernel.clock import CHINA, Clock
from backend.kernel.money import Money
from backend.sandbox.pay_book import Order, PayBook
from backend.sandbox.pay_notices import Notices

VISITOR = "o-sandbox-visitor"
_PAGE = """<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>微信支付（模拟）</title><style>
body{{font:17px/1.5 system-ui,sans-serif;margin:0;background:#f2f2f2;color:#191919}}
main{{max-width:26rem;margin:0 auto;padding:2.5rem 1.25rem;text-align:center}}
.amount{{font-size:2.75rem;font-weight:600;margin:.25rem 0 1.5rem}}
dl{{background:#fff;border-radius:.5rem;padding:.5rem 1rem;margin:0 0 2rem;text-align:left}}
dl div{{display:flex;justify-content:space-between;gap:1rem;padding:.4rem 0}}
dt{{color:#6b6b6b}}dd{{margin:0;overflow-wrap:anywhere;text-align:right}}
button,a.button{{display:block;width:100%;box-sizing:border-box;min-height:3rem;border:0;padding:.7rem;
border-radius:.5rem;background:#067a3b;color:#fff;font:inherit;font-weight:600;text-decoration:none}}
small{{display:block;margin-top:1.5rem;color:#5c5c5c}}</style></head><body><main>{content}
<small>这是模拟收银台，不会发生真实扣款。</small></main></body></html>"""


class Cashier:
    """GET shows the order, POST pays it, tells the merchant and sends the payer back."""

    def __init__(self, *, book: PayBook, notices: Notices, clock: Clock) -> None:
        self._book = book
        self._notices = notices
        self._clock = clock

    def routes(self) -> list[Route]:
        """Routes under the root of the stand-in."""
        return [
            Route("/cashier/{reference}", self._show),
            Route("/cashier/{reference}/pay", self._pay, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        order = self._book.find(request.path_params["reference"])
        if order is None:
            return _page("<h1>订单不存在</h1>", 404)
        back = _safe_back(request.query_params.get("redirect_url", ""))
        return _page(self._content(order, back))

    async def _pay(self, request: Request) -> Response:
        order = self._book.find(request.path_params["reference"])
        if order is None:
            return _page("<h1>订单不存在</h1>", 404)
        back = _safe_back(request.query_params.get("redirect_url", ""))
        if order.state == "NOTPAY" and not order.expired(self._clock.now()):
            at = self._clock.now().astimezone(CHINA)
            order = self._book.pay(order, openid=VISITOR, at=at)
            await self._notices.tell(order)
        if back and order.paid_at:
            return RedirectResponse(back, 303)
        return _page(self._content(order, back))

    def _content(self, order: Order, back: str) -> str:
        """The page's inside: amount, particulars, and the button that fits the state."""
        head = (
            f'<p>{escape(order.description)}</p><p class="amount">¥{Money.of_fen(order.total)}</p>'
        )
        rows = f"<div><dt>商户号</dt><dd>{escape(order.mchid)}</dd></div>"
        rows += f"<div><dt>订单号</dt><dd>{escape(order.out_trade_no)}</dd></div>"
        if order.paid_at:
            state = "<h1>支付成功</h1>"
        elif order.state == "CLOSED":
            state = "<h1>订单已关闭</h1>"
        elif order.expired(self._clock.now()):
            state = "<h1>订单已过期</h1>"
        else:
            query = f"?redirect_url={escape(_quoted(back))}" if back else ""
            action = f"{escape(order.prepay_id)}/pay{query}"
            button = f'<form method="post" action="{action}"><button>立即支付</button></form>'
            return f"{head}<dl>{rows}</dl>{button}"
        link = f'<a class="button" href="{escape(back)}">返回商家</a>' if back else ""
        return f"{state}{head}<dl>{rows}</dl>{link}"


def _page(content: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(content=content), status)


def _quoted(url: str) -> str:
    return quote(url, safe="")


def _safe_back(url: str) -> str:
    """`url` when it is a web address, else nothing (no `javascript:` link)."""
    parts = urlsplit(url)
    return url if parts.scheme in ("http", "https") and parts.netloc else ""
