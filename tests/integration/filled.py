"""A group with at least one row in every tenant table, each made by the product's own operations."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from backend.alerts.operations import open_case
from backend.charges import credit
from backend.charges.rules import Ruling
from backend.control import commands as control
from backend.control.command_rules import CommandState
from backend.control.command_steps import End, end_commands
from backend.control.queries import next_vend
from backend.control.rules import Wallet
from backend.control.supply_requests import RequestKind
from backend.journeys import supply, supply_look
from backend.journeys import vend as vends
from backend.journeys.charge_grants import set_class
from backend.journeys.charge_rulings import rule_on_hold
from backend.journeys.price_download import download_prices
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.money import Money
from backend.ledger.operations import open_lot, post, spend, unspend
from backend.ledger.rules import AccountKey, AccountKind, LotKind, topup_paid
from backend.metering.dial_in import DialIn
from backend.metering.episodes import look_at_meters, note_gateway_clock
from backend.metering.readings import store_readings
from backend.metering.rollups import roll_up
from backend.outbox.operations import receive
from backend.tenancy import operations as tenancy
from backend.topups.operations import create_link
from workers.models import meter_models

from .charged import make_home
from .dialled import allow, make_dialling
from .filled_alarms import fill_alarms
from .filled_batches import fill_batches
from .filled_books import fill_books
from .filled_desk import fill_desk
from .filled_dormitory import fill_dormitory
from .filled_forecast import fill_forecast
from .filled_messages import fill_messages
from .filled_occupancy import fill_occupancy
from .priced import priced, propose
from .sealed import claimed, desk_at, enrolled, make_sealed
from .world import (
    START,
    World,
    ask_command,
    bind_customer,
    make_credential,
    make_order,
    new_id,
    pay,
    reading_of,
)


async def fill(world: World) -> None:
    """Put something of `world` into every tenant table."""
    customer = await bind_customer(world)
    credential_id = await make_credential(world)
    order = await make_order(world, credential_id=credential_id)
    assert (await pay(world, order)).paid
    await _credit_the_meter(world)
    await fill_desk(world)
    await fill_occupancy(world)
    await ask_command(world)
    await _want_supply(world)
    await fill_dormitory(world)
    tariff = await priced(world)
    await propose(world, tariff, started_at=START + timedelta(days=1))
    await download_prices(group_id=world.group_id, models=meter_models(), at=START)
    await enrolled(world, desk_at(""), await make_sealed(world))
    await claimed(world, await make_sealed(world, serial="SEALED-2"))
    await allow(world, await make_dialling(world), DialIn(f"fill-{world.code}".encode()))
    async with unit_of_work(world.group_id) as work:
        await _sign_in(work, world)
        await store_readings(work, readings=[reading_of(world.meter.id, at=START)])
        await roll_up(work, until=START + timedelta(days=1))
        closed = reading_of(world.meter.id, at=START - timedelta(days=4000))
        await store_readings(work, readings=[closed])
        await note_gateway_clock(
            work, gateway_id=world.gateway.id, drift=timedelta(minutes=9), at=START
        )
        await look_at_meters(work, at=START)
        await receive(work, channel="WECHAT_PAY", key=secrets.token_hex(8), body={}, at=START)
        await open_case(
            work, project_id=world.project.id, kind="TEST", subject="x", detail={}, at=START
        )
        await create_link(
            work,
            token_digest=secrets.token_bytes(32),
            account_id=world.account.id,
            customer_id=customer.id,
            amount_fen=None,
            at=START,
        )
    await fill_books(world)
    await fill_alarms(world)
    await fill_messages(world)
    await fill_batches(world)
    await fill_forecast(world)
    await _charge_in_the_cloud(world)
    await put_money(world, yuan="30")
    async with unit_of_work(world.group_id) as work:
        await spend(
            work,
            project_id=world.project.id,
            account_id=world.account.id,
            business_key="use:1",
            amount=Money.parse("1"),
            at=START,
        )
        await unspend(
            work, project_id=world.project.id, business_key="use:1", reason="test", at=START
        )


async def _sign_in(work: UnitOfWork, world: World) -> None:
    operator = await tenancy.add_operator(
        work, scope=world.scope, login="ling", name="Ling", password_hash="none", at=START
    )
    await tenancy.grant(
        work,
        scope=world.scope,
        operator_id=operator.id,
        role="manager",
        project_id=world.project.id,
        at=START,
    )
    await tenancy.count_login_try(work, login="nobody", at=START)
    await tenancy.open_session(
        work,
        operator_id=operator.id,
        login=operator.login,
        token_digest=secrets.token_bytes(32),
        at=START,
    )


async def _charge_in_the_cloud(world: World) -> None:
    home = await make_home(world, no="390001")
    await home.read(home.reading(1, 1_000))
    await home.read(home.reading(2, 10))
    await rule_on_hold(
        scope=world.scope, meter_id=home.meter.id, ruling=Ruling.IGNORE, note="a test", at=START
    )
    async with unit_of_work(world.group_id) as work:
        credit_class = await credit.save_class(
            work,
            scope=world.scope,
            project_id=world.project.id,
            name="fill",
            overdraft=Money.parse("1"),
            emergency=Money(0),
            monthly_grant=Money(0),
            at=START,
        )
    await set_class(
        scope=world.scope, account_id=home.account.id, class_id=credit_class.id, at=START
    )


async def put_money(world: World, *, yuan: str) -> Money:
    """Money in the purse of the world's account as one paid lot; returns the amount."""
    source, amount = new_id(), Money.parse(yuan)
    async with unit_of_work(world.group_id) as work:
        await post(
            work,
            project_id=world.project.id,
            transfer=topup_paid(
                topup_id=source,
                into=AccountKey(AccountKind.CHANNEL, world.project.id),
                account=world.account.id,
                amount=amount,
            ),
            at=START,
        )
        await open_lot(
            work,
            project_id=world.project.id,
            account_id=world.account.id,
            kind=LotKind.PAID,
            source=f"topup:{source}",
            amount=amount,
            at=START,
        )
    return amount


async def _credit_the_meter(world: World) -> None:
    async with unit_of_work(world.group_id) as work:
        vend = await next_vend(work, meter_id=world.meter.id)
    assert vend is not None
    before = Wallet(vend.purchase_no - 1, Money(0))
    after = Wallet(vend.purchase_no, vend.amount)
    await vends.about_to_write(group_id=world.group_id, vend=vend, before=before, at=START)
    await vends.verified(
        group_id=world.group_id,
        vend=vend,
        after=after,
        relay_closed=True,
        at=START + timedelta(seconds=3),
    )


async def _want_supply(world: World) -> None:
    """A protected meter, a request to end that, and a decision."""
    at = world.clock.now()
    asked: dict[str, Any] = {
        "scope": world.scope,
        "meter_id": world.meter.id,
        "reason": "the fire pump",
        "at": at,
    }
    await supply.protect_meter(review_at=at + timedelta(days=30), **asked)
    await supply.ask_second(kind=RequestKind.END_PROTECTION, **asked)
    async with unit_of_work(world.group_id) as work:
        ends = [
            End(each.id, CommandState.EXPIRED, "nobody came", None, at)
            for each in await control.unfinished(work)
        ]
        await end_commands(work, ends=ends)
    looked = await supply_look.tend_supplies(group_id=world.group_id, models=meter_models(), at=at)
    assert looked.decided
