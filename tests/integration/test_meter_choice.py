"""A payer may say which of an account's meters gets the money; who says nothing pays for the first (A13)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from backend.accounts import operations as accounts
from backend.journeys.cashier import take_money
from backend.journeys.pay_link import Visitor, new_link, open_link, start_by_link
from backend.journeys.topup import Payer, start
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, NotFound
from backend.kernel.money import Money
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.ports import Prepaid, PrepayRequest
from backend.topups.queries import order_by_id
from backend.topups.rules import Channel, PayMethod, Way

from .desk import opened
from .household import Street, expect_sound, streets
from .refunding import channel_says
from .world import World, bind_customer, pay

WAY = Way(Channel.WECHAT_PAY, PayMethod.NATIVE)
TEN = Money.parse("10")


@pytest.fixture
async def both(
    worlds: tuple[World, World], database: EmbeddedServices, tmp_path: Path
) -> AsyncIterator[tuple[Street, Street]]:
    """Our street and theirs; the channel shows a page for every order."""
    async with streets(worlds, database, tmp_path) as made:
        for street in made:
            ports, channel = channel_says(street.world)

            async def prepay(request: PrepayRequest, /) -> Prepaid:
                return Prepaid(method=request.method, page={"code_url": request.order_no})

            channel.prepay = prepay  # type: ignore[method-assign] # the outside, not what is tested
            street.context = replace(street.context, ports=ports)
        yield made


async def test_the_money_goes_to_the_meter_that_was_named(both: tuple[Street, Street]) -> None:
    street, theirs = both
    account = await street.household("300001", 2, 3)
    await theirs.household("300001", 2)
    payer = Payer(WAY, None, "::1")
    named: dict[str, int | None] = {"none-is-named": None, "the-second": 3, "the-first-": 2}
    for key, unit in named.items():
        order = await start(
            street.context.ports,
            group_id=street.world.group_id,
            account_id=account.id,
            customer_id=None,
            amount_fen=1000,
            payer=payer,
            idempotency_key=key,
            meter_id=None if unit is None else street.meters[unit].id,
        )
        assert (await pay(street.world, order)).paid
    await street.work()
    assert street.wallet(2) == (2000, 2)
    assert street.wallet(3) == (1000, 1)
    await expect_sound(street)
    with pytest.raises(Conflict):  # not a meter of this account, whoever else's it is
        await start(
            street.context.ports,
            group_id=street.world.group_id,
            account_id=account.id,
            customer_id=None,
            amount_fen=1000,
            payer=payer,
            idempotency_key="not-of-ours",
            meter_id=theirs.meters[2].id,
        )


async def test_a_link_that_the_bot_makes_for_one_meter_pays_for_that_meter(
    both: tuple[Street, Street],
) -> None:
    street, theirs = both
    account = await street.household("300001", 2, 3)
    await theirs.household("300001", 2)
    customer = await bind_customer(street.world)
    async with unit_of_work(street.world.group_id) as work:
        challenge = await accounts.start_challenge(
            work,
            customer_id=customer.id,
            account_no=account.no,
            account_id=account.id,
            code_digest=bytes(32),
            at=street.clock.now(),
        )
        await accounts.bind(
            work,
            actor=street.world.scope.actor,
            customer_id=customer.id,
            account=account,
            challenge_id=challenge.id,
            at=street.clock.now(),
        )
    url = await new_link(
        street.context.ports,
        group_id=street.world.group_id,
        customer_id=customer.id,
        account_id=account.id,
        amount=TEN,
        meter_id=street.meters[3].id,
    )
    view = await start_by_link(
        street.context.ports,
        token=url.rsplit("/", 1)[1],
        amount=TEN,
        way=WAY,
        visitor=Visitor(None, "::1"),
        idempotency_key="by-the-link",
    )
    async with unit_of_work(street.world.group_id) as work:
        order = await order_by_id(work, order_id=view.order.id)
    assert order is not None
    assert (await pay(street.world, order)).paid
    await street.work()
    assert (street.wallet(2), street.wallet(3)) == ((0, 0), (1000, 1))
    with pytest.raises(NotFound):
        await new_link(
            street.context.ports,
            group_id=street.world.group_id,
            customer_id=customer.id,
            account_id=account.id,
            amount=TEN,
            meter_id=theirs.meters[2].id,
        )


async def test_a_general_link_pays_for_the_meter_that_the_payer_chooses_and_a_named_one_for_its_own(
    both: tuple[Street, Street],
) -> None:
    street, theirs = both
    account = await street.household("300001", 2, 3)
    await theirs.household("300001", 2)
    customer = await bind_customer(replace(street.world, account=account))

    async def token_for(meter_id: UUID | None) -> str:
        url = await new_link(
            street.context.ports,
            group_id=street.world.group_id,
            customer_id=customer.id,
            account_id=account.id,
            amount=TEN,
            meter_id=meter_id,
        )
        return url.rsplit("/", 1)[1]

    async def buy(token: str, meter_id: UUID | None, key: str) -> None:
        view = await start_by_link(
            street.context.ports,
            token=token,
            amount=TEN,
            way=WAY,
            visitor=Visitor(None, "::1"),
            idempotency_key=key,
            meter_id=meter_id,
        )
        async with unit_of_work(street.world.group_id) as work:
            order = await order_by_id(work, order_id=view.order.id)
        assert order is not None
        assert (await pay(street.world, order)).paid

    first, second = street.meters[2].id, street.meters[3].id
    general, named = await token_for(None), await token_for(second)
    shown = [
        await open_link(street.context.ports, token=token, visitor=Visitor(None, "::1"))
        for token in (general, named)
    ]
    assert [[meter.id for meter in link.meters] for link in shown] == [[first, second], [second]]
    await buy(general, second, "the-second-one")
    await buy(named, second, "the-second-again")
    await street.work()
    assert (street.wallet(2), street.wallet(3)) == ((0, 0), (2000, 2))
    with pytest.raises(Conflict, match="another meter"):
        await buy(named, first, "not-this-links")
    with pytest.raises(Conflict, match="no such meter"):
        await buy(general, theirs.meters[2].id, "not-of-ours")


async def test_a_desk_takes_money_for_the_meter_that_is_named(both: tuple[Street, Street]) -> None:
    street, _theirs = both
    account = await street.household("300001", 2, 3)
    await opened(street.world)
    order = await take_money(
        scope=street.world.scope,
        account_id=account.id,
        amount=TEN,
        channel=Channel.CASH,
        slip_no=None,
        idempotency_key="at-the-desk",
        at=street.clock.now(),
        meter_id=street.meters[3].id,
    )
    assert order.amount_fen == 1000
    await street.work()
    assert (street.wallet(2), street.wallet(3)) == ((0, 0), (1000, 1))
