"""Asking the channel actively (C5): the real WeChat Pay adapter against the stand-in that signs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID

import httpx
import pytest

from backend.integrations.wechat_pay import WechatPayChannel
from backend.integrations.wechat_pay_config import WechatPayConfig
from backend.journeys.ask_channel import ask_channel
from backend.journeys.ports import Ports
from backend.journeys.topup import Payer, start
from backend.kernel.clock import SystemClock
from backend.kernel.db import unit_of_work
from backend.sandbox.embedded.child import free_port
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from backend.sandbox.wechat_pay import wechat_pay_app
from backend.tenancy.operations import save_credential
from backend.tenancy.queries import Credential
from backend.topups.ports import ChannelUnavailable
from backend.topups.queries import Order, order_by_id
from backend.topups.rules import QUERY_AFTER, Channel, PayMethod, Way
from tests.flows.town import serving

from .world import BOX, World

MCHID = "1900000777"


@dataclass(frozen=True, slots=True)
class Shop:
    """A group whose project sells through the stand-in, and the stand-in's address."""

    world: World
    ports: Ports
    sandbox: str

    async def order(self, fen: int = 5000) -> Order:
        """A started H5 order."""
        return await start(
            self.ports,
            group_id=self.world.group_id,
            account_id=self.world.account.id,
            customer_id=None,
            amount_fen=fen,
            payer=Payer(Way(Channel.WECHAT_PAY, PayMethod.H5), None, "127.0.0.1"),
            idempotency_key="ask-channel-key",
        )

    async def ask(self, order_id: UUID) -> datetime | None:
        """One active query."""
        return await ask_channel(self.ports, group_id=self.world.group_id, order_id=order_id)

    async def age_at_next(self, order: Order) -> timedelta | None:
        """One active query; how old the order is when the next is due."""
        following = await self.ask(order.id)
        return None if following is None else following - order.created_at

    async def state(self, order_id: UUID) -> str:
        """The order's state in the database."""
        async with unit_of_work(self.world.group_id) as work:
            found = await order_by_id(work, order_id=order_id)
        assert found is not None
        return found.state.value

    async def control(self, path: str, body: dict[str, object]) -> None:
        """Turn a switch of the stand-in."""
        async with httpx.AsyncClient(base_url=f"{self.sandbox}/control") as client:
            (await client.post(path, json=body)).raise_for_status()


@cache
def _merchant_pem() -> str:
    """The merchant's key of this run: making one takes a quarter of a second."""
    return new_private_pem()


@pytest.fixture
async def shop(worlds: tuple[World, World]) -> AsyncIterator[Shop]:
    """Our group's."""
    async with shop_of(worlds[0]) as opened:
        yield opened


@asynccontextmanager
async def shop_of(world: World) -> AsyncIterator[Shop]:
    """A group's. The wire lives in real time (its signatures are fresh); only our journeys' clock moves."""
    world.clock.instant = SystemClock().now()
    private, apiv3 = _merchant_pem(), "k" * 32
    async with serving(wechat_pay_app(clock=SystemClock()), free_port()) as url:
        merchant = {
            "mchid": MCHID,
            "appid": "wxask0001",
            "cert_serial_no": "ABCDEF0123456789",
            "merchant_public_key": public_pem_of(private),
            "apiv3_key": apiv3,
        }
        async with httpx.AsyncClient() as client:
            told = (await client.post(f"{url}/control/merchants", json=merchant)).json()

        def channel(group_id: int, credential: Credential) -> WechatPayChannel:
            return WechatPayChannel(
                WechatPayConfig(
                    mchid=credential.key,
                    appid=credential.public["app_id"],
                    cert_serial_no="ABCDEF0123456789",
                    public_key_id=told["public_key_id"],
                    public_key_pem=told["public_key"],
                    notify_url=f"http://127.0.0.1/{group_id}",
                    private_key_pem=private,
                    apiv3_key=apiv3,
                    base_url=url,
                    allow_http=True,
                ),
                clock=SystemClock(),
            )

        async with unit_of_work(world.group_id) as work:
            await save_credential(
                work,
                scope=world.scope,
                box=BOX,
                kind="WECHAT_PAY",
                key=MCHID,
                project_id=world.project.id,
                public={"app_id": "wxask0001"},
                secret={},
                at=world.clock.now() + timedelta(seconds=1),
            )
        yield Shop(world, replace(world.ports, payment_channel=channel), url)


async def test_an_unpaid_order_is_asked_for_again_and_closed_when_its_time_is_over(
    shop: Shop,
) -> None:
    order = await shop.order()
    assert await shop.ask(order.id) is not None, "unpaid: ask again later"
    assert await shop.state(order.id) == "CREATED"
    shop.world.clock.advance(timedelta(minutes=16))
    await shop.ask(order.id)
    assert await shop.state(order.id) == "CLOSED"


async def test_a_payment_that_wins_the_race_against_closing_is_booked(shop: Shop) -> None:
    order = await shop.order()
    await shop.control("/pay", {"out_trade_no": order.order_no})
    shop.world.clock.advance(timedelta(minutes=16))
    assert await shop.ask(order.id) is None
    assert await shop.state(order.id) == "PAID"


async def test_a_payment_after_closing_is_booked_by_the_last_look(shop: Shop) -> None:
    order = await shop.order()
    shop.world.clock.advance(timedelta(minutes=16))
    await shop.ask(order.id)
    await shop.control("/pay", {"out_trade_no": order.order_no, "force": True})
    assert await shop.ask(order.id) is None
    assert await shop.state(order.id) == "PAID"


async def test_a_channel_that_does_not_answer_leaves_the_order_as_it_is(shop: Shop) -> None:
    order = await shop.order()
    await shop.control("/faults", {"http_500": 1})
    with pytest.raises(ChannelUnavailable):
        await shop.ask(order.id)
    assert await shop.state(order.id) == "CREATED"


async def test_questions_that_reached_nobody_do_not_count_and_the_order_is_asked_for_to_its_end(
    shop: Shop,
) -> None:
    order = await shop.order()
    await shop.control("/faults", {"http_500": 9})
    for _ in range(9):
        shop.world.clock.advance(timedelta(seconds=20))
        with pytest.raises(ChannelUnavailable):
            await shop.ask(order.id)
    ages = [await shop.age_at_next(order)]
    while ages[-1] is not None:
        shop.world.clock.instant = order.created_at + ages[-1]
        ages.append(await shop.age_at_next(order))
    assert ages == [each for each in QUERY_AFTER if each > timedelta(minutes=3)] + [None]
    assert await shop.state(order.id) == "CLOSED"


async def test_an_answer_nobody_signed_is_not_believed(shop: Shop) -> None:
    order = await shop.order()
    await shop.control("/pay", {"out_trade_no": order.order_no})
    await shop.control("/faults", {"unsigned_answer": 1})
    with pytest.raises(ChannelUnavailable):
        await shop.ask(order.id)
    assert await shop.state(order.id) == "CREATED"


async def test_the_payer_is_not_told_the_channels_own_words(shop: Shop) -> None:
    await shop.control("/faults", {"http_500": 1})
    with pytest.raises(ChannelUnavailable, match="does not take this order now"):
        await shop.order()
    again = await shop.order()
    assert again.page, "the same request goes on with the same order"
