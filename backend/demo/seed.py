"""Fill the demo's world once, through the same operations an operator's console uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.accounts import operations as accounts
from backend.alerts.message_rules import MessageTerms, QuietHours
from backend.alerts.terms import message_terms, set_message_terms
from backend.journeys.bank_accounts import UnionpayMerchant, set_unionpay
from backend.journeys.ports import Ports
from backend.journeys.provider_accounts import (
    AlipayMerchant,
    OfficialAccount,
    SmsAccount,
    WechatMerchant,
    set_alipay,
    set_official_account,
    set_sms_account,
    set_wechat_pay,
)
from backend.journeys.sign_in import hash_password
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.scope import Actor, Scope
from backend.metering import operations as metering
from backend.metering.models import Gateway
from backend.metering.queries import meters_of_gateway
from backend.metering.readings import store_readings
from backend.metering.rules import CreditMode
from backend.metering.tags import tag_meters
from backend.tenancy import operations as tenancy
from backend.tenancy import queries
from backend.tenancy.models import Project
from backend.tenancy.provision import add_group
from backend.tenancy.rules import Permission
from workers.drivers.factory import driver_of
from workers.drivers.ports import MeterSnapshot
from workers.links.tcp import TcpLink
from workers.models import meter_models
from workers.profiles.loader import profile_of
from workers.recording import reading_of

from .dormitory import house_rules
from .messages import SIGN_NAME, sms_templates
from .plan import DemoGroup, Home, Site
from .prices import BY_HOURS, FLAT, price_accounts
from .providers import PlatformKey
from .secrets_file import DemoSecrets

PROFILE = "DDSY1352-NK"


@dataclass(frozen=True, slots=True)
class Seeder:
    """What seeding needs: the owner's address for new groups, addresses of gateways, keys."""

    groups: Sequence[DemoGroup]
    owner_dsn: str
    ports: Ports
    secrets: DemoSecrets
    gateways: Mapping[str, str]
    platform_keys: Mapping[str, PlatformKey]

    async def seed(self) -> None:
        """Make what is missing, refresh keys and addresses; doing it again changes nothing else."""
        for group in self.groups:
            group_id = await queries.group_of_code(group.code)
            if group_id is None:
                group_id = await add_group(
                    self.owner_dsn,
                    code=group.code,
                    name=group.name,
                    login="admin",
                    password_hash=hash_password(self.secrets.passwords[f"admin@{group.code}"]),
                    at=self.ports.clock.now(),
                )
            scope = Scope(
                group_id=group_id,
                actor=Actor("system", "demo", "demo seed"),
                group_permissions=frozenset(Permission),
            )
            await self._no_quiet_hours(scope)
            for site in group.sites:
                await self._site(scope, group, site)
            await self._group_accounts(scope, group)

    async def _no_quiet_hours(self, scope: Scope) -> None:
        """Who tries the demo in the evening sees his messages too; an operator may set other hours."""
        async with unit_of_work(scope.group_id) as work:
            if await message_terms(work) == MessageTerms():
                terms = MessageTerms(QuietHours(0, 0))
                await set_message_terms(work, scope=scope, terms=terms, at=self.ports.clock.now())

    async def _site(self, scope: Scope, group: DemoGroup, site: Site) -> None:
        at = self.ports.clock.now()
        async with unit_of_work(scope.group_id) as work:
            known = {project.code: project for project in await queries.projects(work, scope=scope)}
        if site.code not in known:
            # The meters are asked before the transaction begins: no network inside one.
            openings = await _read_all(self.gateways[site.gateway], len(site.homes))
            async with unit_of_work(scope.group_id) as work:
                known[site.code] = await self._new_site(work, scope, group, site, openings)
            if site.kind == "DORMITORY":
                trial = site.homes[-1].meter
                await house_rules(scope=scope, project_id=known[site.code].id, trial=trial, at=at)
        project = known[site.code]
        await self._merchant(scope, group, site, project.id)
        async with unit_of_work(scope.group_id) as work:
            await metering.move_gateway(
                work,
                scope=scope,
                serial=site.gateway,
                address=self.gateways[site.gateway],
                at=at,
            )

    async def _new_site(
        self,
        work: UnitOfWork,
        scope: Scope,
        group: DemoGroup,
        site: Site,
        openings: list[MeterSnapshot],
    ) -> Project:
        at = self.ports.clock.now()
        project = await tenancy.add_project(
            work, scope=scope, code=site.code, name=site.name, kind=site.kind, at=at
        )
        operator = await tenancy.add_operator(
            work,
            scope=scope,
            login=site.code,
            name=f"{site.name}管理员",
            password_hash=hash_password(self.secrets.passwords[f"{site.code}@{group.code}"]),
            at=at,
        )
        await tenancy.grant(
            work,
            scope=scope,
            operator_id=operator.id,
            role="manager",
            project_id=project.id,
            at=at,
        )
        gateway = await metering.add_gateway(
            work,
            scope=scope,
            project_id=project.id,
            serial=site.gateway,
            name=f"{site.name}网关",
            address=self.gateways[site.gateway],
            at=at,
        )
        building = await accounts.add_area(
            work,
            scope=scope,
            project_id=project.id,
            parent_id=None,
            name=site.homes[0].place[0],
            at=at,
        )
        opened = [
            await self._home(work, scope, gateway, building.id, home, unit, opening, at)
            for unit, (home, opening) in enumerate(zip(site.homes, openings, strict=True), start=1)
        ]
        # A price holds from the moment at which an account was opened: nothing is used without one.
        terms = BY_HOURS if site.by_hours else FLAT
        await price_accounts(
            work, scope=scope, project_id=project.id, terms=terms, account_ids=opened, at=at
        )
        meters = await meters_of_gateway(work, gateway_id=gateway.id)
        ids, tag = [meter.id for meter in meters], site.homes[0].place[0]
        await tag_meters(work, scope=scope, meter_ids=ids, tag=tag, on=True, at=at)
        return project

    async def _home(
        self,
        work: UnitOfWork,
        scope: Scope,
        gateway: Gateway,
        area: UUID,
        home: Home,
        unit: int,
        snapshot: MeterSnapshot,
        at: datetime,
    ) -> UUID:
        room = await accounts.add_area(
            work,
            scope=scope,
            project_id=gateway.project_id,
            parent_id=area,
            name=home.place[-1],
            at=at,
        )
        account = await accounts.open_account(
            work,
            scope=scope,
            project_id=gateway.project_id,
            area_id=room.id,
            no=home.no,
            name=home.name,
            phone=home.phone,
            at=at,
        )
        meter = await metering.add_meter(
            work,
            scope=scope,
            gateway=gateway,
            serial=home.meter,
            model=meter_models()[PROFILE],
            bus_address=str(unit),
            at=at,
            credit_mode=CreditMode.CLOUD if home.cloud else None,
        )
        opening = reading_of(meter.id, snapshot, at)
        await store_readings(work, readings=[opening])
        await metering.assign(
            work, scope=scope, meter=meter, account_id=account.id, opening=opening, at=at
        )
        return account.id

    async def _merchant(self, scope: Scope, group: DemoGroup, site: Site, project_id: UUID) -> None:
        keys = self.secrets.merchants[site.mchid]
        platform = self.platform_keys[site.mchid]
        merchant = WechatMerchant(
            mchid=site.mchid,
            app_id=group.app_id,
            cert_serial_no=keys.cert_serial_no,
            public_key_id=platform.public_key_id,
            public_key_pem=platform.public_key,
            private_key_pem=keys.private_key_pem,
            apiv3_key=keys.apiv3_key,
        )
        await set_wechat_pay(self.ports, scope=scope, project_id=project_id, merchant=merchant)
        if site.alipay is not None:
            seller = AlipayMerchant(
                seller_id=site.alipay.seller_id,
                app_id=site.alipay.app_id,
                private_key=keys.private_key_pem,
                alipay_public_key=self.platform_keys[site.alipay.seller_id].public_key,
            )
            await set_alipay(self.ports, scope=scope, project_id=project_id, merchant=seller)
        if site.unionpay in self.secrets.banks:
            bank, signer = self.secrets.banks[site.unionpay], self.platform_keys[site.unionpay]
            account = UnionpayMerchant(
                mer_id=site.unionpay,
                root_pem=signer.public_key,
                middle_pem=signer.middle,
                pfx=bank.pfx,
                password=bank.password,
            )
            await set_unionpay(self.ports, scope=scope, project_id=project_id, merchant=account)

    async def _group_accounts(self, scope: Scope, group: DemoGroup) -> None:
        app = OfficialAccount(app_id=group.app_id, **self.secrets.app_secrets[group.app_id])
        await set_official_account(self.ports, scope=scope, account=app)
        sms = SmsAccount(
            access_key_id=self.secrets.sms["access_key_id"],
            access_key_secret=self.secrets.sms["secret"],
            sign_name=SIGN_NAME,
            bind_template="SMS_DEMO_BIND",
        )
        await set_sms_account(self.ports, scope=scope, account=sms)
        async with unit_of_work(scope.group_id) as work:
            await sms_templates(work, scope=scope, at=self.ports.clock.now())


async def _read_all(address: str, count: int) -> list[MeterSnapshot]:
    """The opening readings of units 1 to `count` on one bus, asked from the meters themselves."""
    host, _, port = address.rpartition(":")
    link = TcpLink(host, int(port))
    try:
        profile = profile_of(PROFILE)
        return [
            await driver_of(profile, str(unit), link.exchange).read()
            for unit in range(1, count + 1)
        ]
    finally:
        await link.close()
