"""Tenants who pay, through the doors that tenants use; and somebody who forges notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backend.kernel.errors import Unavailable
from backend.kernel.money import Money
from backend.sandbox.answers import NO_ANSWER

from .plan import TENANTS, Tenant
from .schedule import Payment, Telling
from .tills import TILLS, WECHAT, Till
from .town import Town

_ANSWER_WITHIN_S = 60.0
_AGAIN_S = 0.2
_LATE_S = 3
_COPIES = {Telling.TWICE: 1, Telling.OFTEN: 5}
START = (
    "mutation($token: String!, $amount: Money!, $key: String!, $channel: Channel!, $method: PayMethod!) {"
    " startTopUpByLink(token: $token, amount: $amount, method: $method, channel: $channel,"
    " idempotencyKey: $key) {"
    " __typename ... on TopUpStarted { topUp { orderNo } page { key value } }"
    " ... on Problem { message } } }"
)
# What is done to a genuine notice to forge one.
FORGERIES = ("signature", "unsigned", "probe", "stale", "body", "foreign")


async def order(
    town: Town, tenant: Tenant, *, amount_fen: int, key: str, till: Till = WECHAT
) -> str:
    """Ask for an order on the pay page until there is one, as a payer who taps again, and open the
    channel's page; its number.

    Raises Unavailable after a minute, with what the page said.
    """
    said = "nothing"
    for _ in range(int(_ANSWER_WITHIN_S / _AGAIN_S)):
        told = await town.graphql(
            START,
            {
                "token": town.links[tenant.home.no],
                "amount": str(Money.of_fen(amount_fen)),
                "key": key,
                "channel": till.channel,
                "method": till.method,
            },
        )
        if told is not None:
            started = told["startTopUpByLink"]
            if "topUp" in started:
                page = {each["key"]: each["value"] for each in started["page"]}
                await till.open(town.http, page)
                return str(started["topUp"]["orderNo"])
            said = str(started.get("message"))
        await asyncio.sleep(_AGAIN_S)
    raise Unavailable(f"no order for {tenant.home.no} within a minute; the page says: {said}")


async def pay(town: Town, payment: Payment) -> None:
    """Make one payment: order, then pay at the channel, which tells of it in its own way.

    Raises Unavailable when no order could be had, or when one key gave two orders.
    """
    tenant, till = TENANTS[payment.tenant], TILLS[payment.channel]
    key = f"payment-{payment.number:06d}"
    asked = [
        order(town, tenant, amount_fen=payment.amount_fen, key=key, till=till)
        for _ in range(payment.asks)
    ]
    numbers = set(await asyncio.gather(*asked))
    if len(numbers) != 1:
        raise Unavailable(f"one key gave the orders {sorted(numbers)}")
    faults: dict[str, object] = {}
    if payment.telling is Telling.NEVER:
        faults = {"lost_notice": 1}
    elif payment.telling is Telling.LATE:
        faults = {"delay_notice": _LATE_S}
    elif copies := _COPIES.get(payment.telling):
        faults = {"duplicate_notice": copies}
    control = f"{town.sandbox}/{till.path}/control"
    if faults:
        await town.tell(f"{control}/faults", faults)
    await town.tell(f"{control}/pay", till.said(tenant, numbers.pop()))


class Forger:
    """Sends notices of payments that were never made. The orders are real, the money is not."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._doors: dict[str, str] = {}
        self.orders: list[str] = []
        self.sent = 0
        self.believed = 0

    async def forge(self) -> None:
        """Order as a tenant, then say in the channel's name that it is paid."""
        tenant = TENANTS[len(self.orders) % len(TENANTS)]
        number = await order(
            self._town,
            tenant,
            amount_fen=9_100 + len(self.orders) // len(TENANTS),
            key=f"forgery-{len(self.orders):05d}",
        )
        self.orders.append(number)
        channel = f"{self._town.sandbox}/wechat-pay/control"
        said = {"out_trade_no": number, "mchid": tenant.site.mchid}
        notice = await self._town.tell(f"{channel}/notice", said)
        await self._learn_doors()
        kind = FORGERIES[self.sent % len(FORGERIES)]
        headers, body = forged(kind, notice["headers"], notice["body"].encode())
        door = self._doors[tenant.site.mchid]
        if kind == "foreign":
            door = next(url for mchid, url in self._doors.items() if mchid != tenant.site.mchid)
        status = await self._post(door, headers, body)
        self.sent += 1
        self.believed += status < 300

    async def _learn_doors(self) -> None:
        """Where notices of each merchant account go: what every caller of the channel's API knows."""
        if len(self._doors) < 2 or len(self._doors) < len({t.site.mchid for t in TENANTS}):
            self._doors = {o["mchid"]: o["notify_url"] for o in await self._town.orders()}

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        for _ in range(int(_ANSWER_WITHIN_S / _AGAIN_S)):
            try:
                answer = await self._town.http.post(url, content=body, headers=dict(headers))
            except NO_ANSWER:
                await asyncio.sleep(_AGAIN_S)
                continue
            if answer.status_code < 500:
                return answer.status_code
            await asyncio.sleep(_AGAIN_S)
        raise Unavailable("the notice door did not answer within a minute")


def forged(kind: str, headers: Mapping[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
    """A genuine notice made false in one way (trust.md section 11, O3)."""
    changed = dict(headers)
    signature = changed["Wechatpay-Signature"]
    if kind == "signature":
        changed["Wechatpay-Signature"] = signature[::-1]
    elif kind == "unsigned":
        del changed["Wechatpay-Signature"]
    elif kind == "probe":
        changed["Wechatpay-Signature"] = "WECHATPAY/SIGNTEST/" + signature
    elif kind == "stale":
        changed["Wechatpay-Timestamp"] = str(int(changed["Wechatpay-Timestamp"]) - 7200)
    elif kind == "body":
        body = body.replace(b"transaction", b"transactiom", 1)
    return changed, body


class Crowd:
    """All payments, a number of payers at a time, held back so that blows fall among them."""

    def __init__(self, town: Town, planned: Sequence[Payment], *, payers: int) -> None:
        self._town = town
        self._planned = planned
        self._payers = payers
        self._next = 0
        self._moved = asyncio.Condition()
        self._may = 0.0
        self.refused: list[str] = []

    @property
    def progress(self) -> float:
        """The share of the payments that were begun."""
        return self._next / len(self._planned)

    async def allow(self, share: float) -> None:
        """Let payments begin up to this share."""
        async with self._moved:
            self._may = share
            self._moved.notify_all()

    async def reached(self, share: float) -> None:
        """Wait until this share of the payments was begun."""
        await self._when(lambda: self.progress >= share)

    async def run(self) -> None:
        """Make every payment."""
        await asyncio.gather(*(self._payer() for _ in range(self._payers)))

    async def _payer(self) -> None:
        while True:
            await self._when(lambda: self._done() or self.progress <= self._may)
            if self._done():
                return
            payment = self._planned[self._next]
            self._next += 1
            async with self._moved:
                self._moved.notify_all()
            try:
                await pay(self._town, payment)
            except (Unavailable, *NO_ANSWER) as error:
                self.refused.append(f"payment {payment.number}: {error}")

    def _done(self) -> bool:
        return self._next >= len(self._planned)

    async def _when(self, so: Callable[[], Any]) -> None:
        async with self._moved:
            await self._moved.wait_for(so)
