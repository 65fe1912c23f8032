"""An app at the Alipay stand-in, in key mode, with certificates, or of a service provider."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest

from backend.integrations.alipay import AlipayChannel
from backend.integrations.alipay_config import AlipayConfig, Certificates
from backend.kernel.clock import SystemClock
from backend.sandbox.pay_keys import public_pem_of
from backend.topups.ports import PrepayRequest

from .serving import Shop, control

CLOCK = SystemClock()
MODES = pytest.mark.parametrize("alipay", ["key", "certificates", "provider"], indirect=True)
CERTIFICATES = pytest.mark.parametrize("alipay", ["certificates"], indirect=True)
APP, SELLER = "2021000000000001", "2088000000000101"


@dataclass(frozen=True)
class AlipayTill:
    """An app with its channel at the stand-in and the shop that hears the notices."""

    url: str
    config: AlipayConfig
    channel: AlipayChannel
    shop: Shop

    def control(self, name: str, body: dict[str, Any], /) -> Any:
        """POST to a control endpoint of the Alipay stand-in."""
        return control(f"{self.url}/control/{name}", body)

    def pay(self, order: str, /, **more: Any) -> Any:
        """The payer pays."""
        return self.control("pay", {"out_trade_no": order, **more})

    async def opened(self, request: PrepayRequest, /) -> str:
        """The payer opens the cashier; gives its address."""
        prepaid = await self.channel.prepay(request)
        async with httpx.AsyncClient(trust_env=False) as browser:
            answer = await browser.get(prepaid.page["url"])
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    async def paid(self, request: PrepayRequest, /, **more: Any) -> str:
        """The payer opens the cashier and pays; gives the order's number."""
        await self.opened(request)
        self.pay(request.order_no, **more)
        return request.order_no

    def notice(self, order: str, /, **more: Any) -> bytes:
        """The body of a notice, not sent."""
        body: str = self.control("notice", {"out_trade_no": order, **more})["body"]
        return body.encode()

    def another(self, **changes: Any) -> AlipayChannel:
        """A channel with a changed configuration."""
        return AlipayChannel(replace(self.config, **changes), clock=CLOCK)


def changed(body: bytes, **fields: str) -> bytes:
    """A form with other values under the same signature."""
    return urlencode(dict(parse_qsl(body.decode())) | fields).encode()


def register_app(
    *, url: str, pem: str, shop: Shop, shop_url: str, certificates: bool = False, token: str = ""
) -> AlipayTill:
    """Register the app at the stand-in."""
    told = control(
        f"{url}/control/merchants",
        {
            "app_id": APP,
            "seller_id": SELLER,
            "app_public_key": public_pem_of(pem),
            "certificates": certificates,
            "app_auth_token": token,
        },
    )
    config = AlipayConfig(
        app_id=APP,
        seller_id=SELLER,
        notify_url=f"{shop_url}/notice",
        private_key=pem,
        alipay_public_key="" if certificates else told["alipay_public_key"],
        certificates=Certificates(told["app_cert"], told["alipay_cert"], told["root_cert"])
        if certificates
        else None,
        app_auth_token=token,
        base_url=url,
        oauth_base_url=url,
        allow_http=True,
    )
    return AlipayTill(url, config, AlipayChannel(config, clock=CLOCK), shop)
