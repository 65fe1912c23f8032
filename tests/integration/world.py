"""Two groups with everything a test needs in them: made by the product's own operations."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Protocol
from uuid import UUID

import asyncpg

from backend.accounts import operations as accounts
from backend.accounts.models import Account, Area, Customer
from backend.alerts.ports import MessageChannel, Notifier, WebhookSender
from backend.control.command_rules import CommandKind
from backend.control.commands import Command
from backend.journeys.command import command_meter
from backend.journeys.ports import MenuPublisher, Ports, VisitorLogin
from backend.journeys.settle import Settled, settle
from backend.kernel.clock import SetClock
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Unavailable
from backend.kernel.ids import uuid7
from backend.kernel.scope import Actor, Scope
from backend.kernel.secrets import SecretBox
from backend.metering import operations as metering
from backend.metering.models import Gateway, Meter, MeterAssignment
from backend.metering.readings import Reading
from backend.sandbox.pay_keys import new_private_pem, public_pem_of
from backend.tenancy import operations as tenancy
from backend.tenancy.models import Project
from backend.tenancy.queries import Credential
from backend.tenancy.rules import Permission
from backend.topups import operations as topups
from backend.topups.ports import Payment, PaymentChannel, PaymentState
from backend.topups.queries import Order
from backend.topups.rules import Channel, PayMethod, Way
from workers.models import meter_models

# A Sunday noon in China. The month has a partition because `make_group` asks for it.
START = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
APP_ID = "wx00000000000000a1"
SEAL = secrets.token_bytes(32)
BOX = SecretBox({1: SEAL})


@dataclass
class World:
    """A group: one project with an area, an account and the meter that serves it."""

    group_id: int
    code: str
    scope: Scope
    project: Project
    area: Area
    account: Account
    gateway: Gateway
    meter: Meter
    assignment: MeterAssignment
    clock: SetClock = field(default_factory=lambda: SetClock(START))

    @property
    def ports(self) -> Ports:
        """Ports without a provider behind them: a test that calls one is told so."""
        return ports_at(self.clock)


class HasOwner(Protocol):
    """Where a database's owner role connects."""

    def owner_dsn(self) -> str:
        """Its address."""
        ...


async def make_group(services: HasOwner, code: str) -> World:
    """A new group `code` (2-32 of a-z and 0-9) with one project and its first account and meter."""
    group_id = await _make_group_rows(services, code)
    scope = admin_scope(group_id)
    async with unit_of_work(group_id) as work:
        await work.execute("SELECT metering_prepare($1)", START.date())
        project = await tenancy.add_project(
            work, scope=scope, code="main", name=f"Main {code}", kind="SHOPS", at=START
        )
    return await _fill(group_id, code, scope, project, no="100001")


async def make_project(world: World, *, code: str = "second", no: str = "200001") -> World:
    """A second project of the same group, with an account and meter of its own."""
    async with unit_of_work(world.group_id) as work:
        project = await tenancy.add_project(
            work, scope=world.scope, code=code, name=f"Project {code}", kind="SHOPS", at=START
        )
    return await _fill(world.group_id, world.code, world.scope, project, no=no)


async def make_account(world: World, *, no: str, phone: str = "13900139000") -> Account:
    """One more account in the world's area; no meter serves it."""
    async with unit_of_work(world.group_id) as work:
        return await accounts.open_account(
            work,
            scope=world.scope,
            project_id=world.project.id,
            area_id=world.area.id,
            no=no,
            name=f"Shop {no}",
            phone=phone,
            at=START,
        )


async def make_meter(
    world: World, *, serial: str, bus_address: int, account: Account
) -> tuple[Meter, MeterAssignment]:
    """One more meter on the world's gateway, serving `account` from purchase count 0."""
    async with unit_of_work(world.group_id) as work:
        meter = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial=serial,
            model=meter_models()["DDSY1352-NK"],
            bus_address=str(bus_address),
            at=START,
        )
        assignment = await metering.assign(
            work,
            scope=world.scope,
            meter=meter,
            account_id=account.id,
            opening=reading_of(meter.id, at=START),
            at=START,
        )
    return meter, assignment


async def make_credential(
    world: World, *, merchant_id: str | None = None, provider: Mapping[str, str] | None = None
) -> UUID:
    """The project's WeChat Pay merchant account, with RSA keys made for this run; `provider` is the
    service provider that collects for it (`sp_mchid`, `sp_app_id`)."""
    private_pem, public_pem = _keys()
    async with unit_of_work(world.group_id) as work:
        return await tenancy.save_credential(
            work,
            scope=world.scope,
            box=BOX,
            kind="WECHAT_PAY",
            key=merchant_id or merchant_of(world),
            project_id=world.project.id,
            public={
                "app_id": APP_ID,
                "cert_serial_no": "5157F09EFDC096DE",
                "public_key_id": "PUB_KEY_ID_0114232134912410000000000000",
                "public_key_pem": public_pem,
                **(provider or {}),
            },
            secret={"private_key_pem": private_pem, "apiv3_key": secrets.token_hex(16)},
            at=START,
        )


async def make_customer(world: World, *, external_id: str = "o-zhang") -> Customer:
    """A WeChat customer of the group, bound to nothing."""
    async with unit_of_work(world.group_id) as work:
        return await accounts.ensure_customer(
            work, channel="WECHAT", app_id=APP_ID, external_id=external_id, at=START
        )


async def bind_customer(world: World, *, external_id: str = "o-zhang") -> Customer:
    """A WeChat customer bound to the world's account, as if the right code had been given."""
    customer = await make_customer(world, external_id=external_id)
    async with unit_of_work(world.group_id) as work:
        challenge = await accounts.start_challenge(
            work,
            customer_id=customer.id,
            account_no=world.account.no,
            account_id=world.account.id,
            code_digest=secrets.token_bytes(32),
            at=START,
        )
        await accounts.bind(
            work,
            actor=Actor("customer", str(customer.id), "customer"),
            customer_id=customer.id,
            account=world.account,
            challenge_id=challenge.id,
            at=START,
        )
    return customer


async def make_order(
    world: World,
    *,
    credential_id: UUID,
    amount_fen: int = 5000,
    assignment: MeterAssignment | None = None,
    account: Account | None = None,
) -> Order:
    """An order waiting for money, as `journeys.topup.start` leaves it before the channel is called."""
    async with unit_of_work(world.group_id) as work:
        order, _new = await topups.create_order(
            work,
            project_id=world.project.id,
            account_id=(account or world.account).id,
            assignment_id=(assignment or world.assignment).id,
            customer_id=None,
            credential_id=credential_id,
            way=Way(Channel.WECHAT_PAY, PayMethod.NATIVE),
            payer_id=None,
            amount_fen=amount_fen,
            idempotency_key=secrets.token_hex(12),
            at=world.clock.now(),
        )
    return order


def payment_of(world: World, order: Order, /, **changes: object) -> Payment:
    """The channel's true statement that `order` was paid, with `changes` to make it untrue."""
    true: dict[str, object] = {
        "order_no": order.order_no,
        "state": PaymentState.PAID,
        "merchant_id": merchant_of(world),
        "app_id": APP_ID,
        "amount_fen": order.amount_fen,
        "currency": "CNY",
        "transaction_id": f"4200{order.id.hex[:24]}",
        "paid_at": world.clock.now(),
    }
    return Payment(**(true | changes))  # type: ignore[arg-type] # names are Payment's own fields


async def ask_command(world: World, *, kind: CommandKind = CommandKind.SYNC_CLOCK) -> Command:
    """A command to the world's meter that waits to be served."""
    return await command_meter(
        scope=world.scope,
        meter_id=world.meter.id,
        kind=kind,
        reason="a test of it",
        models=meter_models(),
        at=world.clock.now(),
    )


async def pay(
    world: World, order: Order, /, *, source: str = "notice", **changes: object
) -> Settled:
    """Settle the payment of `order` (see `payment_of`)."""
    assert order.credential_id is not None, "paid by a channel"
    return await settle(
        world.ports,
        group_id=world.group_id,
        credential_id=order.credential_id,
        payment=payment_of(world, order, **changes),
        source=source,
    )


def merchant_of(world: World) -> str:
    """The merchant id of the world's project at WeChat Pay."""
    return f"19{world.group_id:08d}"


def reading_of(
    meter_id: UUID, *, at: datetime, total: int = 0, late_s: int = 2, **registers: int
) -> Reading:
    """A reading of a meter at `at`, received `late_s` seconds later."""
    return Reading(
        meter_id=meter_id,
        at=at,
        received_at=at + timedelta(seconds=late_s),
        meter_clock=at,
        total=total,
        remaining_hao=registers.get("remaining_hao", 0),
        purchase_no=registers.get("purchase_no", 0),
        relay_closed=True,
        voltage_mv=220_000,
        current_ma=0,
        power_w=0,
    )


def admin_scope(group_id: int, *, permissions: frozenset[str] | None = None) -> Scope:
    """An operator with every permission in the whole group (or just `permissions`)."""
    held = frozenset(str(p) for p in Permission) if permissions is None else permissions
    return Scope(group_id, Actor("operator", "op-1", "ling", "203.0.113.7"), held)


class _NoWebhook(WebhookSender):
    async def post(self, url: str, /, *, body: bytes, headers: Mapping[str, str]) -> None:
        raise Unavailable(f"no webhook at {url} in this test")


def ports_at(clock: SetClock) -> Ports:
    """Ports whose providers never answer."""

    def no_channel(group_id: int, credential: Credential) -> PaymentChannel:
        raise Unavailable(f"no payment channel for group {group_id} in this test")

    def no_notifier(channel: MessageChannel, credential: Credential) -> Notifier:
        raise Unavailable(f"no notifier for {channel} in this test")

    def no_login(credential: Credential) -> VisitorLogin:
        raise Unavailable(f"no login by {credential.key} in this test")

    def no_menu(credential: Credential) -> MenuPublisher:
        raise Unavailable(f"no menu of {credential.key} in this test")

    return Ports(
        clock=clock,
        box=BOX,
        public_url="https://pay.example.com",
        payment_channel=no_channel,
        notifier=no_notifier,
        visitor_login=no_login,
        menu_publisher=no_menu,
        webhook_sender=_NoWebhook(),
        meter_models=meter_models(),
    )


@cache
def _keys() -> tuple[str, str]:
    """One merchant's private key and one platform's public key, made once per run."""
    return new_private_pem(), public_pem_of(new_private_pem())


async def _make_group_rows(services: HasOwner, code: str) -> int:
    owner = await asyncpg.connect(services.owner_dsn())
    try:
        async with owner.transaction():
            group_id: int = await owner.fetchval(
                "INSERT INTO tenancy_directory (code) VALUES ($1) RETURNING group_id", code
            )
            await owner.execute("SELECT set_config('app.group_id', $1, true)", str(group_id))
            await owner.execute(
                "INSERT INTO tenancy_group (group_id, code, name, created_at)"
                " VALUES ($1, $2, $3, $4)",
                group_id,
                code,
                f"Group {code}",
                START,
            )
    finally:
        await owner.close()
    return group_id


async def _fill(group_id: int, code: str, scope: Scope, project: Project, *, no: str) -> World:
    async with unit_of_work(group_id) as work:
        area = await accounts.add_area(
            work, scope=scope, project_id=project.id, parent_id=None, name="Building 1", at=START
        )
        account = await accounts.open_account(
            work,
            scope=scope,
            project_id=project.id,
            area_id=area.id,
            no=no,
            name=f"Shop {no}",
            phone="13800138000",
            at=START,
        )
        gateway = await metering.add_gateway(
            work,
            scope=scope,
            project_id=project.id,
            serial=f"GW-{no}",
            name="Gateway 1",
            address="127.0.0.1:502",
            at=START,
        )
        meter = await metering.add_meter(
            work,
            scope=scope,
            gateway=gateway,
            serial=f"M-{no}",
            model=meter_models()["DDSY1352-NK"],
            bus_address="1",
            at=START,
        )
        assignment = await metering.assign(
            work,
            scope=scope,
            meter=meter,
            account_id=account.id,
            opening=reading_of(meter.id, at=START),
            at=START,
        )
    return World(group_id, code, scope, project, area, account, gateway, meter, assignment)


def new_id() -> UUID:
    """An id no row has."""
    return uuid7(START)
