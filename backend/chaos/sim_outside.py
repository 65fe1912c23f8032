"""The outside of the simulation, in this process: a channel with its book, a message provider, meters.

The channel's book, bill and notices are the stand-in's; notices are verified and bills are read by the
product's own adapter. The meters are the virtual site's, byte for byte, behind the product's own drivers.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from backend.alerts.ports import Outgoing
from backend.integrations import wechat_pay_bill
from backend.integrations.wechat_pay import WechatPayChannel
from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.integrations.wechat_pay_reading import payment_of
from backend.kernel.clock import CHINA, SetClock
from backend.kernel.errors import Unavailable
from backend.sandbox.pay_bill import bill_of
from backend.sandbox.pay_book import Order, PayBook
from backend.sandbox.pay_keys import Merchant, Platform, new_private_pem, public_pem_of, seal
from backend.sandbox.pay_notices import order_json
from backend.topups.ports import (
    BillLine,
    ChannelRefused,
    ChannelUnavailable,
    Payment,
    PaymentState,
    Prepaid,
    PrepayRequest,
    RefundNotice,
    RefundRequest,
    RefundState,
)
from workers.bus_lease import BusLease, Hold
from workers.buses import Bus, Buses, OfGateway
from workers.drivers.access import Access
from workers.links.errors import LinkDown, NoAnswer
from workers.protocols.framing import Framing
from workers.virtual import rtu
from workers.virtual.bus import BusLine, VirtualBus
from workers.virtual.models import PLANNERS
from workers.virtual.store import MeterStore

from .fate import Fate, Send, Way

MODEL = "DDSY1352-NK"
_ANSWER = timedelta(seconds=2)
_FRAME = timedelta(milliseconds=60)
METER_FAULTS = (
    "lose_requests",
    "drop_answers",
    "drop_write_answers",
    "corrupt_answers",
    "double_answers",
)


@dataclass(frozen=True, slots=True)
class Merchants:
    """Keys made once a run: the platform's, and one merchant's account that every group has."""

    platform: Platform = field(default_factory=lambda: Platform(new_private_pem()))
    private_pem: str = field(default_factory=new_private_pem, repr=False)
    apiv3_key: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    mchid: str = "1900009999"
    appid: str = "wx0000000000000sim"
    serial: str = "5157F09EFDC096DE"

    def adapter(self, clock: SetClock) -> WechatPayChannel:
        """The product's own adapter: it verifies notices here, it never calls anybody."""
        return WechatPayChannel(
            WechatPayConfig(
                mchid=self.mchid,
                appid=self.appid,
                cert_serial_no=self.serial,
                public_key_id=self.platform.public_key_id,
                public_key_pem=self.platform.public_pem,
                notify_url="http://127.0.0.1:1/notice",
                private_key_pem=self.private_pem,
                apiv3_key=self.apiv3_key,
                base_url="http://127.0.0.1:1",
                allow_http=True,
            ),
            clock=clock,
        )


class SimChannel:
    """A PaymentChannel with its book in this process; some calls fail before or after it acted."""

    def __init__(
        self, merchants: Merchants, adapter: WechatPayChannel, fate: Fate, clock: SetClock
    ) -> None:
        self._merchants = merchants
        self._adapter = adapter
        self._fate = fate
        self._clock = clock
        self.book = PayBook()
        self.book.put_merchant(
            Merchant(
                mchid=merchants.mchid,
                appid=merchants.appid,
                cert_serial_no=merchants.serial,
                public_key_pem=public_pem_of(merchants.private_pem),
                apiv3_key=merchants.apiv3_key,
            )
        )

    def _order(self, number: str) -> Order | None:
        return self.book.order(mchid=self._merchants.mchid, out_trade_no=number)

    def _leave(self, send: Send) -> None:
        self._fate.at_send(send, Way.LEAVING)
        if self._fate.chance(0.05):
            raise ChannelUnavailable("the channel did not hear us")

    def _return(self, send: Send) -> None:
        self._fate.at_send(send, Way.DONE)
        if self._fate.chance(0.05):
            raise ChannelUnavailable("the channel's answer was lost")

    async def prepay(self, request: PrepayRequest, /) -> Prepaid:
        """See PaymentChannel."""
        self._leave(Send.PREPAY)
        known = self._order(request.order_no)
        if known is None:
            self.book.put_order(
                Order(
                    mchid=self._merchants.mchid,
                    out_trade_no=request.order_no,
                    appid=self._merchants.appid,
                    kind="NATIVE",
                    total=request.amount_fen,
                    description=request.description,
                    notify_url="",
                    openid="",
                    expires_at=request.expires_at.astimezone(CHINA).isoformat(timespec="seconds"),
                    asked="",
                    prepay_id=f"wx{request.order_no}",
                )
            )
        elif known.paid_at or known.state == "CLOSED":
            raise ChannelRefused("paid or closed", code_at_channel="ORDERPAID")
        self._return(Send.PREPAY)
        return Prepaid(request.method, {"url": f"weixin://{request.order_no}"})

    async def query(self, order_no: str, /) -> Payment:
        """See PaymentChannel."""
        self._leave(Send.QUERY)
        order = self._order(order_no)
        self._return(Send.QUERY)
        if order is None:
            merchants = self._merchants
            return Payment(
                order_no, PaymentState.UNPAID, merchants.mchid, merchants.appid, 0, "CNY"
            )
        return payment_of(order_json(order))

    async def close(self, order_no: str, /) -> None:
        """See PaymentChannel."""
        self._leave(Send.CLOSE)
        order = self._order(order_no)
        if order is not None and order.paid_at:
            raise ChannelRefused("the order is paid", code_at_channel="ORDERPAID")
        if order is not None:
            self.book.put_order(replace(order, state="CLOSED"))
        self._return(Send.CLOSE)

    async def refund(self, request: RefundRequest, /) -> RefundState:
        """No journey of the simulation gives money back yet."""
        raise ChannelUnavailable(f"no refunds here: {request.refund_no}")

    def read_notice(
        self, headers: Mapping[str, str], body: bytes, received_at: Any, /
    ) -> Payment | RefundNotice:
        """The product's own verification."""
        return self._adapter.read_notice(headers, body, received_at)

    async def bill(self, day: date, /) -> list[BillLine]:
        """The stand-in's bill, read by the product's own reader."""
        made = bill_of(book=self.book, mchid=self._merchants.mchid, day=day.isoformat())
        if made is None:
            return []
        packed, sha1 = made
        return wechat_pay_bill.lines_of(wechat_pay_bill.unpack(packed=packed, sha1=sha1))

    def notice(self, order: Order, /) -> tuple[dict[str, str], bytes]:
        """Headers and body of the genuine notice that `order` is paid, paid or not."""
        now = self._clock.now()
        if not order.paid_at:
            at = now.astimezone(CHINA).isoformat(timespec="seconds")
            order = replace(order, state="SUCCESS", paid_at=at, transaction_id=f"42{'7' * 26}")
        told = {
            "id": str(uuid.uuid4()),
            "create_time": now.astimezone(CHINA).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "resource": seal(
                resource=order_json(order),
                apiv3_key=self._merchants.apiv3_key,
                kind="transaction",
            ),
        }
        body = json.dumps(told, ensure_ascii=False).encode()
        return self._merchants.platform.headers(body=body, at=now), body


class SimNotifier:
    """A message provider that counts."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self.taken = 0

    async def send(self, message: Outgoing, /) -> str:
        """See Notifier."""
        self._fate.at_send(Send.MESSAGE, Way.LEAVING)
        if self._fate.chance(0.05):
            raise Unavailable("the provider did not hear us")
        self.taken += 1
        self._fate.at_send(Send.MESSAGE, Way.DONE)
        return f"{message.key}:{self.taken}"


class _OwnLease(BusLease):
    """The only process there is has every bus."""

    def use(self, key: int) -> bool:
        """Ours."""
        return True

    def done(self, key: int) -> bool:
        """Nobody waits."""
        return False

    def hold(self, gateway_id: UUID) -> Hold:
        """A hold that costs nothing."""
        return Hold(self, 0)


class SimBuses(Buses):
    """The product's buses with virtual meters behind them instead of sockets."""

    def __init__(self, field: SimField, fate: Fate, clock: SetClock) -> None:
        super().__init__(_OwnLease(""), access=Access(clock=clock))
        self._field = field
        self._fate = fate
        self._clock = clock

    def _made(self, gateway: OfGateway) -> Bus:
        assert gateway.address is not None, "every gateway of the simulation is dialled"
        exchange = partial(self._exchange, gateway.address)
        return Bus(gateway, self._lease, partial(self._near, exchange), None)

    async def _exchange(self, address: str, request: bytes, expected: Framing, /) -> bytes:
        """One question, one answer, on the virtual clock. Raises what a link raises."""
        send = Send.WRITE if rtu.RTU.writes(request) else Send.READ
        self._fate.at_send(send, Way.LEAVING)
        if address in self._field.offline:
            raise LinkDown("the gateway is offline")
        heard: list[bytes] = []

        async def say(frame: bytes) -> None:
            heard.append(frame)

        await BusLine(self._field.buses[address]).hear(request, say)
        self._fate.at_send(send, Way.DONE)
        self._clock.advance(_FRAME if heard else _ANSWER)
        frame, _ = expected.take(b"".join(heard)) if heard else (None, b"")
        if frame is None:
            raise NoAnswer("no answer in time")
        return frame


class SimField:
    """Virtual gateways by address, with their meters' memory in this process."""

    def __init__(self, addresses: Mapping[str, Iterable[str]], clock: SetClock) -> None:
        """`addresses`: the serials of the meters at units 1, 2, .. of each gateway."""
        self.store = MeterStore(Path(":memory:"))
        self.offline: set[str] = set()
        self.buses = {
            address: VirtualBus(
                [
                    PLANNERS[MODEL](
                        {
                            "serial": serial,
                            "unit": unit,
                            "average_w": 0,
                            "remaining": "20.00",
                            "energy": "100",
                        }
                    ).build(self.store, clock)
                    for unit, serial in enumerate(serials, start=1)
                ],
                clock=clock,
            )
            for address, serials in addresses.items()
        }

    def meters(self) -> list[Any]:
        """Every meter."""
        return [meter for bus in self.buses.values() for meter in bus.meters.values()]

    def close(self) -> None:
        """Forget everything."""
        self.store.close()
