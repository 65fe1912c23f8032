"""The cashier page of the stand-ins: what a payer sees instead of the channel's own app or site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from backend.kernel.money import Money

_PAGE = """<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}（模拟）</title><style>
body{{font:17px/1.5 system-ui,sans-serif;margin:0;background:#f2f2f2;color:#191919}}
main{{max-width:26rem;margin:0 auto;padding:2.5rem 1.25rem;text-align:center}}
.amount{{font-size:2.75rem;font-weight:600;margin:.25rem 0 1.5rem}}
dl{{background:#fff;border-radius:.5rem;padding:.5rem 1rem;margin:0 0 2rem;text-align:left}}
dl div{{display:flex;justify-content:space-between;gap:1rem;padding:.4rem 0}}
dt{{color:#6b6b6b}}dd{{margin:0;overflow-wrap:anywhere;text-align:right}}
button,a.button{{display:block;width:100%;box-sizing:border-box;min-height:3rem;border:0;padding:.7rem;
border-radius:.5rem;background:{colour};color:#fff;font:inherit;font-weight:600;text-decoration:none}}
small{{display:block;margin-top:1.5rem;color:#5c5c5c}}</style></head><body><main>{content}
<small>这是模拟收银台，不会发生真实扣款。</small></main></body></html>"""


@dataclass(frozen=True, slots=True)
class Brand:
    """Whose page it plays: name and colour (white letters on it are legible)."""

    title: str
    colour: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What is shown of an order. `stopped` says why it cannot be paid; `action` is where the button posts,
    `back` the merchant's page, to which `back_form` is posted when there is one (else it is a link)."""

    subject: str
    fen: int
    particulars: dict[str, str]
    action: str
    back: str = ""
    paid: bool = False
    stopped: str = ""
    back_form: Mapping[str, str] = field(default_factory=dict)


def cashier_page(brand: Brand, bill: Bill, /) -> HTMLResponse:
    """Amount, particulars, and the button that fits the state."""
    head = f'<p>{escape(bill.subject)}</p><p class="amount">¥{Money.of_fen(bill.fen)}</p>'
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in bill.particulars.items()
    )
    if not bill.paid and not bill.stopped:
        button = (
            f'<form method="post" action="{escape(bill.action)}"><button>立即支付</button></form>'
        )
        return _page(brand, f"{head}<dl>{rows}</dl>{button}")
    state = "支付成功" if bill.paid else bill.stopped
    return _page(brand, f"<h1>{escape(state)}</h1>{head}<dl>{rows}</dl>{_way_back(bill)}")


def _way_back(bill: Bill) -> str:
    if not bill.back:
        return ""
    if not bill.back_form:
        return f'<a class="button" href="{escape(bill.back)}">返回商家</a>'
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in bill.back_form.items()
    )
    action = escape(bill.back)
    return f'<form method="post" action="{action}">{fields}<button>返回商家</button></form>'


def refusal_page(brand: Brand, words: str, /, *, status: int = 404) -> HTMLResponse:
    """A page that only says why there is nothing to pay."""
    return _page(brand, f"<h1>{escape(words)}</h1>", status)


def safe_back(url: str, /) -> str:
    """`url` when it is a web address, else nothing (no `javascript:` link)."""
    parts = urlsplit(url)
    return url if parts.scheme in ("http", "https") and parts.netloc else ""


def _page(brand: Brand, content: str, status: int = 200) -> HTMLResponse:
    page = _PAGE.format(title=brand.title, colour=brand.colour, content=content)
    return HTMLResponse(page, status)
