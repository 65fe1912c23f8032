"""Merchants at the UnionPay and ChinaPay stand-ins, with the shops that hear their notices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import httpx

from backend.integrations.chinapay import ChinapayChannel
from backend.integrations.chinapay_config import ChinapayConfig
from backend.integrations.unionpay import UnionpayChannel
from backend.integrations.unionpay_config import UnionpayConfig
from backend.kernel.clock import SystemClock
from backend.kernel.ids import order_no
from backend.sandbox.pay_keys import public_pem_of
from backend.sandbox.unionpay_keys import Issued
from backend.topups.ports import Payment, PayMethod, Prepaid, PrepayRequest

from .serving import Shop, control

CLOCK = SystemClock()
BACK = "https://shop.example/paid"


@dataclass(frozen=True)
class _Counter:
    """What the tills of both channels do."""

    url: str
    shop: Shop

    def control(self, name: str, body: dict[str, Any], /) -> Any:
        """POST to a control endpoint of the stand-in."""
        return control(f"{self.url}/control/{name}", body)

    def fault(self, name: str, /) -> None:
        """Switch a fault on for one event."""
        self.control("faults", {name: 1})

    def pay(self, number: str, /, **more: Any) -> Any:
        """The payer pays."""
        return self.control("pay", {"order_no": number, **more})

    def given_back(self) -> list[int]:
        """The refunds at the stand-in, in fen."""
        return [trade["fen"] for trade in self.trades() if trade["kind"] == "BACK"]

    def trades(self) -> list[dict[str, Any]]:
        """All payments and refunds at the stand-in, oldest first."""
        answer = httpx.get(f"{self.url}/control/orders", trust_env=False)
        found: list[dict[str, Any]] = answer.json()["orders"]
        return found


@dataclass(frozen=True)
class UnionpayTill(_Counter):
    """A merchant at UnionPay."""

    config: UnionpayConfig
    channel: UnionpayChannel

    def read(self, body: bytes, /) -> Payment:
        """The payment in a notice that comes now."""
        told = self.channel.read_notice({}, body, CLOCK.now())
        assert isinstance(told, Payment)
        return told

    def another(self, **changes: Any) -> UnionpayChannel:
        """A channel with a changed configuration."""
        return UnionpayChannel(replace(self.config, **changes), clock=CLOCK)


@dataclass(frozen=True)
class ChinapayTill(_Counter):
    """A merchant at ChinaPay."""

    config: ChinapayConfig
    channel: ChinapayChannel

    def read(self, body: bytes, /) -> Payment:
        """The payment in a notice that comes now."""
        told = self.channel.read_notice({}, body, CLOCK.now())
        assert isinstance(told, Payment)
        return told

    def another(self, **changes: Any) -> ChinapayChannel:
        """A channel with a changed configuration."""
        return ChinapayChannel(replace(self.config, **changes), clock=CLOCK)


def unionpay_till(*, url: str, merchant: Issued, shop: Shop, shop_url: str) -> UnionpayTill:
    """Register merchant 777290058110048 at the stand-in."""
    mer_id = "777290058110048"
    told = control(f"{url}/control/merchants", {"mer_id": mer_id, "certificate": merchant.pem})
    config = UnionpayConfig(
        mer_id=mer_id,
        certificate_pem=merchant.pem,
        private_key_pem=merchant.key_pem,
        root_pem=told["root"],
        middle_pem=told["middle"],
        notify_url=f"{shop_url}/notice",
        base_url=url,
        file_url=f"{url}/filedownload",
        allow_http=True,
    )
    return UnionpayTill(url, shop, config, UnionpayChannel(config, clock=CLOCK))


def chinapay_till(*, url: str, pem: str, shop: Shop, shop_url: str) -> ChinapayTill:
    """Register merchant 000001609120969 at the stand-in."""
    mer_id = "000001609120969"
    told = control(f"{url}/control/merchants", {"mer_id": mer_id, "public_key": public_pem_of(pem)})
    config = ChinapayConfig(
        mer_id=mer_id,
        public_key_pem=told["public_key"],
        private_key_pem=pem,
        notify_url=f"{shop_url}/notice",
        base_url=url,
        allow_http=True,
    )
    return ChinapayTill(url, shop, config, ChinapayChannel(config, clock=CLOCK))


def a_bank_order(method: PayMethod = PayMethod.PAGE, *, fen: int = 5000) -> PrepayRequest:
    """A fresh order of 50 yuan."""
    now = CLOCK.now()
    return PrepayRequest(
        order_no=order_no(now),
        amount_fen=fen,
        description="预付费电费, 1号楼",
        expires_at=now + timedelta(minutes=15),
        method=method,
        return_url=BACK,
    )


def a_number() -> str:
    """A fresh refund number."""
    return order_no(CLOCK.now())


async def post_page(prepaid: Prepaid) -> httpx.Response:
    """What the payer's browser does with the form."""
    form = dict(prepaid.page)
    action = form.pop("action")
    async with httpx.AsyncClient(trust_env=False) as browser:
        return await browser.post(action, data=form)


class _Form(HTMLParser):
    """The first form of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the action and the hidden fields."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given["action"]
        elif tag == "input":
            self.fields[given["name"]] = given["value"]


def form_on(page: httpx.Response) -> tuple[str, dict[str, str]]:
    """Where the button of a page posts, and its fields."""
    found = _Form()
    found.feed(page.text)
    return str(page.url.join(found.action)), found.fields


async def click(page: httpx.Response) -> httpx.Response:
    """Press the page's button."""
    action, fields = form_on(page)
    async with httpx.AsyncClient(trust_env=False) as browser:
        return await browser.post(action, data=fields)
