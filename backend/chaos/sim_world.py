"""What a seed of the simulation plays with: two groups made by the product's own operations."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from backend.accounts import operations as accounts
from backend.accounts.models import Account
from backend.alerts.ports import MessageChannel, Notifier
from backend.journeys.ports import MenuPublisher, Ports, VisitorLogin
from backend.kernel.clock import SetClock
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Unavailable
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.kernel.secrets import SecretBox
from backend.metering import operations as metering
from backend.metering.models import Gateway
from backend.metering.readings import Reading
from backend.tenancy import operations as tenancy
from backend.tenancy.provision import add_group
from backend.tenancy.queries import Credential
from backend.tenancy.rules import Permission
from backend.topups.ports import PaymentChannel
from workers.models import meter_models

from .plan import OPENING_FEN
from .sim_outside import MODEL, Merchants, SimChannel, SimNotifier

START = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
METERS_A_GROUP = 2


@dataclass(frozen=True, slots=True)
class Shared:
    """What all seeds of a run use: the addresses of the owner and of the application, keys, the box that
    seals credentials."""

    owner_dsn: str
    app_dsn: str
    merchants: Merchants
    box: SecretBox

    @staticmethod
    def fresh(*, owner_dsn: str, app_dsn: str) -> Shared:
        """Keys of this run alone."""
        return Shared(owner_dsn, app_dsn, Merchants(), SecretBox({1: secrets.token_bytes(32)}))


@dataclass(frozen=True, slots=True)
class SimGroup:
    """One group: `address` of its gateway, its `accounts` each with a meter of `serials`."""

    id: int
    code: str
    credential_id: UUID
    address: str
    accounts: tuple[UUID, ...]
    serials: tuple[str, ...]
    channel: SimChannel


async def make_group(shared: Shared, channel: SimChannel, *, code: str) -> SimGroup:
    """A new group `code`: a project, a gateway, two accounts with a meter each, a customer of both."""
    group_id = await add_group(
        shared.owner_dsn,
        code=code,
        name=f"集团 {code}",
        login="admin",
        password_hash="nobody logs in here",
        at=START,
    )
    scope = Scope(group_id, Actor("system", "simulation", "simulate"), frozenset(Permission))
    address = f"{code}:1"
    async with unit_of_work(group_id) as work:
        project = await tenancy.add_project(
            work, scope=scope, code="main", name="商铺街", kind="SHOPS", at=START
        )
        credential_id = await tenancy.save_credential(
            work,
            scope=scope,
            box=shared.box,
            kind="WECHAT_PAY",
            key=shared.merchants.mchid,
            project_id=project.id,
            public={"app_id": shared.merchants.appid},
            secret={},
            at=START,
        )
        await tenancy.save_credential(
            work,
            scope=scope,
            box=shared.box,
            kind="WECHAT_OFFICIAL",
            key=shared.merchants.appid,
            project_id=None,
            public={},
            secret={"secret": "none"},
            at=START,
        )
        gateway = await metering.add_gateway(
            work,
            scope=scope,
            project_id=project.id,
            serial=f"GW-{code}",
            name="网关",
            address=address,
            at=START,
        )
        made = [
            await _account(work, scope, gateway, code, number)
            for number in range(1, METERS_A_GROUP + 1)
        ]
        for account in made:
            await _customer(work, shared, account)
    return SimGroup(
        id=group_id,
        code=code,
        credential_id=credential_id,
        address=address,
        accounts=tuple(account.id for account in made),
        serials=tuple(_serial(code, number) for number in range(1, METERS_A_GROUP + 1)),
        channel=channel,
    )


def _serial(code: str, number: int) -> str:
    return f"M-{code}-{number}"


async def _account(
    work: UnitOfWork, scope: Scope, gateway: Gateway, code: str, number: int
) -> Account:
    area = await accounts.add_area(
        work,
        scope=scope,
        project_id=gateway.project_id,
        parent_id=None,
        name=f"{number} 号",
        at=START,
    )
    account = await accounts.open_account(
        work,
        scope=scope,
        project_id=gateway.project_id,
        area_id=area.id,
        no=f"10000{number}",
        name=f"店 {number}",
        phone="13800138000",
        at=START,
    )
    meter = await metering.add_meter(
        work,
        scope=scope,
        gateway=gateway,
        serial=_serial(code, number),
        model=meter_models()[MODEL],
        bus_address=str(number),
        at=START,
    )
    opening = Reading(
        meter_id=meter.id,
        at=START,
        received_at=START,
        meter_clock=START,
        total=100_000,
        remaining_hao=Money.of_fen(OPENING_FEN).hao,
        purchase_no=0,
        relay_closed=True,
        voltage_mv=220_000,
        current_ma=0,
        power_w=0,
    )
    await metering.assign(
        work, scope=scope, meter=meter, account_id=account.id, opening=opening, at=START
    )
    return account


async def _customer(work: UnitOfWork, shared: Shared, account: Account) -> None:
    customer = await accounts.ensure_customer(
        work, channel="WECHAT", app_id=shared.merchants.appid, external_id="o-sim", at=START
    )
    challenge = await accounts.start_challenge(
        work,
        customer_id=customer.id,
        account_no=account.no,
        account_id=account.id,
        code_digest=bytes(32),
        at=START,
    )
    await accounts.bind(
        work,
        actor=Actor("customer", str(customer.id), "customer"),
        customer_id=customer.id,
        account=account,
        challenge_id=challenge.id,
        at=START,
    )


def ports_of(
    shared: Shared, channels: dict[int, SimChannel], notifier: SimNotifier, clock: SetClock
) -> Ports:
    """Ports to the simulated outside; `channels` by group id, filled as groups are made."""

    def channel(group_id: int, credential: Credential) -> PaymentChannel:
        return channels[group_id]

    def messages(channel: MessageChannel, credential: Credential) -> Notifier:
        return notifier

    def no_login(credential: Credential) -> VisitorLogin:
        raise Unavailable("nobody logs in here")

    def no_menu(credential: Credential) -> MenuPublisher:
        raise Unavailable("no menus here")

    return Ports(
        clock=clock,
        box=shared.box,
        public_url="http://127.0.0.1:1",
        payment_channel=channel,
        notifier=messages,
        visitor_login=no_login,
        menu_publisher=no_menu,
        meter_models=meter_models(),
    )


class Queue:
    """Redis and arq as the relay knows them: jobs that are there until somebody flushes them."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []

    async def enqueue_job(self, name: str, job: dict[str, Any], **how: object) -> None:
        """Keep the job."""
        self.jobs.append(job)
        self.jobs.sort(key=lambda each: str(each["event_id"]))
