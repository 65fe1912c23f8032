"""What a seed of the simulation plays with: two groups made by the product's own operations."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

import asyncpg

from backend.accounts import operations as accounts
from backend.accounts.models import Account
from backend.alerts.ports import MessageChannel, Notifier, WebhookSender
from backend.enrolment.queries import RingRow
from backend.journeys.ports import MenuPublisher, Ports, VisitorLogin
from backend.kernel.clock import SetClock
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Unavailable
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.kernel.secrets import SecretBox
from backend.metering import operations as metering
from backend.metering.models import Gateway, Meter
from backend.metering.readings import Reading
from backend.metering.rules import CreditMode
from backend.tariffs import changes
from backend.tariffs import operations as tariffs
from backend.tariffs.rules import Season, TariffKind, Terms
from backend.tenancy import operations as tenancy
from backend.tenancy.provision import add_group
from backend.tenancy.queries import Credential
from backend.tenancy.rules import Permission
from backend.topups.ports import PaymentChannel
from backend.topups.rules import Channel
from backend.uplink.rotation import KeyRing
from workers.models import meter_models

from .book import read_only
from .fate import Fate
from .plan import OPENING_FEN
from .sim_alipay import AlipayTill
from .sim_channel import Reader, SimChannel
from .sim_chinapay import ChinapayTill
from .sim_outside import MODEL, SimNotifier, of_cloud
from .sim_tills import APPID, NOWHERE, Keys, Till
from .sim_unionpay import UnionpayTill
from .sim_wechat import WechatTill

START = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
METERS_A_GROUP, CLOUDS_A_GROUP = 2, 3
_ACCOUNTS = METERS_A_GROUP + CLOUDS_A_GROUP
_SPARES = (
    _ACCOUNTS + 1,
    _ACCOUNTS + 2,
)  # for who gets another meter: of the first kind, of the second
OPENING_WH, PRICE_HAO = 100_000, 6_000
ALONE_FEN = 300  # up to this one operator refunds alone


@dataclass(frozen=True, slots=True)
class Shared:
    """What all seeds of a run use: the addresses of the owner and of the application, keys, the product's
    adapters that verify by them, the box that seals credentials, two sessions that watch."""

    owner_dsn: str
    app_dsn: str
    keys: Keys
    readers: Mapping[Channel, Reader]
    box: SecretBox
    watchers: Sequence[asyncpg.Connection[Any]]

    @staticmethod
    @asynccontextmanager
    async def fresh(*, owner_dsn: str, app_dsn: str) -> AsyncIterator[Shared]:
        """With keys of this process and sessions of this run alone."""
        keys, readers = _keys()
        box = SecretBox({1: secrets.token_bytes(32)})
        async with read_only(app_dsn, 1) as one, read_only(app_dsn, 1) as other:
            yield Shared(owner_dsn, app_dsn, keys, readers, box, (one, other))


@cache
def _keys() -> tuple[Keys, Mapping[Channel, Reader]]:
    """Keys of this process, and the adapters that verify by them: making them takes a second."""
    keys, clock = Keys(), SetClock(START)  # whoever reads is told the instant
    return keys, {
        Channel.WECHAT_PAY: keys.wechat_adapter(clock),
        Channel.ALIPAY: keys.alipay_adapter(clock),
        Channel.UNIONPAY: keys.unionpay_adapter(clock),
        Channel.CHINAPAY: keys.chinapay_adapter(clock),
    }


@dataclass(frozen=True, slots=True)
class SimGroup:
    """One group: its gateway, its `accounts` each with a meter of `serials` (first those with money at the
    meter; after them two that serve nobody yet), its tills by channel with their credentials, an empty
    room. `asks` and `agrees`: two operators, who both sit at the desk."""

    id: int
    code: str
    project_id: UUID
    address: str
    gateway: RingRow
    accounts: tuple[UUID, ...]
    serials: tuple[str, ...]
    channels: Mapping[Channel, SimChannel]
    credentials: Mapping[Channel, UUID]
    meters: tuple[UUID, ...]
    room: UUID
    operators: Mapping[str, UUID]

    @property
    def clouds(self) -> tuple[UUID, ...]:
        """The accounts whose money the cloud holds."""
        return self.accounts[METERS_A_GROUP:]

    @property
    def asks(self) -> Scope:
        """Who asks for refunds and opens the desk."""
        return self._operator("zhang")

    @property
    def agrees(self) -> Scope:
        """A second operator."""
        return self._operator("wang")

    def _operator(self, name: str) -> Scope:
        actor = Actor("operator", str(self.operators[name]), name, "::1")
        return Scope(self.id, actor, frozenset(Permission))


async def make_group(shared: Shared, fate: Fate, clock: SetClock, *, code: str) -> SimGroup:
    """A new group `code`: a project, three merchant accounts, a gateway, five accounts with a meter each,
    a customer of all; three accounts have their money in the cloud and a price. Two meters are spare."""
    group_id = await add_group(
        shared.owner_dsn,
        code=code,
        name=f"集团 {code}",
        login="admin",
        password_hash="nobody logs in here",
        at=START,
    )
    scope = Scope(group_id, Actor("system", "simulation", "simulate"), frozenset(Permission))
    tills: list[Till] = [
        WechatTill(shared.keys),
        AlipayTill(shared.keys, clock),
        UnionpayTill(shared.keys),
        ChinapayTill(shared.keys),
    ]
    async with unit_of_work(group_id) as work:
        project = await tenancy.add_project(
            work, scope=scope, code="main", name="商铺街", kind="SHOPS", at=START
        )
        await work.execute("UPDATE tenancy_project SET refund_alone_fen = $1", ALONE_FEN)
        credentials = {
            till.way.channel: await _credential(work, shared, scope, project.id, till)
            for till in tills
        }
        await _official(work, shared, scope)
        gateway = await metering.add_gateway(
            work,
            scope=scope,
            project_id=project.id,
            serial=f"GW-{code}",
            name="网关",
            address=f"{code}:1",
            at=START,
        )
        numbers = range(1, _ACCOUNTS + 1)
        made = [await _account(work, scope, gateway, code, number) for number in numbers]
        served = [await _hung(work, scope, gateway, code, n, made[n - 1]) for n in numbers]
        spare = [await _meter(work, scope, gateway, code, number) for number in _SPARES]
        room = await _room(work, scope, project.id, "空房")
        operators = {
            name: await _operator(work, scope, project.id, name) for name in ("zhang", "wang")
        }
        for account in made:
            await _customer(work, account)
        await _price(work, scope, project.id, [account.id for account in made[METERS_A_GROUP:]])
    return SimGroup(
        id=group_id,
        code=code,
        project_id=project.id,
        address=f"{code}:1",
        gateway=RingRow(
            group_id, project.id, gateway.id, gateway.serial, KeyRing(bytes(16)), False, 1
        ),
        accounts=tuple(account.id for account in made),
        serials=tuple(_serial(code, number) for number in (*numbers, *_SPARES)),
        channels={
            till.way.channel: SimChannel(till, shared.readers[till.way.channel], fate, clock)
            for till in tills
        },
        credentials=credentials,
        meters=tuple(meter.id for meter in (*served, *spare)),
        room=room,
        operators=operators,
    )


async def _operator(work: UnitOfWork, scope: Scope, project_id: UUID, name: str) -> UUID:
    made = await tenancy.add_operator(
        work, scope=scope, login=name, name=name, password_hash="nobody logs in here", at=START
    )
    await tenancy.grant(
        work, scope=scope, operator_id=made.id, role="cashier", project_id=project_id, at=START
    )
    return made.id


async def _room(work: UnitOfWork, scope: Scope, project_id: UUID, name: str) -> UUID:
    area = await accounts.add_area(
        work, scope=scope, project_id=project_id, parent_id=None, name=name, at=START
    )
    return area.id


async def _official(work: UnitOfWork, shared: Shared, scope: Scope) -> None:
    """The account that messages leave by."""
    await tenancy.save_credential(
        work,
        scope=scope,
        box=shared.box,
        kind="WECHAT_OFFICIAL",
        key=APPID,
        project_id=None,
        public={},
        secret={"secret": "none"},
        at=START,
    )


async def _credential(
    work: UnitOfWork, shared: Shared, scope: Scope, project_id: UUID, till: Till
) -> UUID:
    return await tenancy.save_credential(
        work,
        scope=scope,
        box=shared.box,
        kind=till.way.channel,
        key=till.key,
        project_id=project_id,
        public=dict(till.public),
        secret={},
        at=START,
    )


async def _price(
    work: UnitOfWork, scope: Scope, project_id: UUID, account_ids: Sequence[UUID]
) -> None:
    """A flat price, drafted by one and approved by another."""
    second = replace(scope, actor=Actor("system", "second", "second"))
    kind = TariffKind.ELECTRICITY
    tariff = await tariffs.add_tariff(
        work, scope=scope, project_id=project_id, kind=kind, name="一口价", at=START
    )
    terms = Terms(kind, (Season(1, 1, {"flat": PRICE_HAO}),))
    draft = await tariffs.draft_version(
        work, scope=scope, tariff_id=tariff.id, terms=terms, effective_at=START, at=START
    )
    await tariffs.submit_version(
        work, scope=scope, version_id=draft.id, confirm_jumps=True, at=START
    )
    await tariffs.approve_version(work, scope=second, version_id=draft.id, at=START)
    await changes.assign_first(
        work,
        scope=scope,
        tariff_id=tariff.id,
        account_ids=account_ids,
        started_at=START,
        at=START,
    )


def _serial(code: str, number: int) -> str:
    # Not the whole code: what a virtual meter uses depends on its serial, and a seed is the same by any name.
    holds = number <= METERS_A_GROUP or number == _SPARES[0]
    return f"{'M' if holds else 'C'}-{code[-1]}-{number}"


async def _account(
    work: UnitOfWork, scope: Scope, gateway: Gateway, code: str, number: int
) -> Account:
    return await accounts.open_account(
        work,
        scope=scope,
        project_id=gateway.project_id,
        area_id=await _room(work, scope, gateway.project_id, f"{number} 号"),
        no=f"10000{number}",
        name=f"店 {number}",
        phone="13800138000",
        at=START,
    )


async def _meter(work: UnitOfWork, scope: Scope, gateway: Gateway, code: str, number: int) -> Meter:
    return await metering.add_meter(
        work,
        scope=scope,
        gateway=gateway,
        serial=_serial(code, number),
        model=meter_models()[MODEL],
        bus_address=str(number),
        at=START,
        credit_mode=CreditMode.CLOUD if of_cloud(_serial(code, number)) else None,
    )


async def _hung(
    work: UnitOfWork, scope: Scope, gateway: Gateway, code: str, number: int, account: Account
) -> Meter:
    """The meter of an account."""
    meter = await _meter(work, scope, gateway, code, number)
    opening = Reading(
        meter_id=meter.id,
        at=START,
        received_at=START,
        meter_clock=START,
        total=OPENING_WH,
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
    return meter


async def _customer(work: UnitOfWork, account: Account) -> None:
    customer = await accounts.ensure_customer(
        work, channel="WECHAT", app_id=APPID, external_id="o-sim", at=START
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


class _NoWebhook(WebhookSender):
    async def post(self, url: str, /, *, body: bytes, headers: Mapping[str, str]) -> None:
        raise Unavailable("no webhooks here")


def ports_of(
    shared: Shared, groups: Sequence[SimGroup], notifier: SimNotifier, clock: SetClock
) -> Ports:
    """Ports to the simulated outside."""
    by_id = {group.id: group for group in groups}

    def channel(group_id: int, credential: Credential) -> PaymentChannel:
        return by_id[group_id].channels[Channel(credential.kind)]

    def messages(channel: MessageChannel, credential: Credential) -> Notifier:
        return notifier

    def no_login(credential: Credential) -> VisitorLogin:
        raise Unavailable("nobody logs in here")

    def no_menu(credential: Credential) -> MenuPublisher:
        raise Unavailable("no menus here")

    return Ports(
        clock=clock,
        box=shared.box,
        public_url=NOWHERE,
        payment_channel=channel,
        notifier=messages,
        visitor_login=no_login,
        menu_publisher=no_menu,
        webhook_sender=_NoWebhook(),
        meter_models=meter_models(),
    )
