"""The demo's further gateways: a DTU with water meters that dials in, and one of our own boxes.

They show the links that are not dialled: `shuidian links` holds their lines, and the box on site is the
real agent, enrolled by a real claim over the demo's own broker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.accounts import queries as accounts
from backend.journeys.gateway_keys import make_claim
from backend.journeys.ports import Ports
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Unavailable
from backend.kernel.scope import Actor, Scope
from backend.metering import operations as metering
from backend.metering.dial_in import DialIn, set_dial_in
from backend.metering.models import Gateway
from backend.metering.readings import store_readings
from backend.metering.rules import GatewayLink
from backend.tenancy import queries as tenancy
from backend.tenancy.rules import Permission
from workers.drivers.factory import driver_of
from workers.drivers.ports import MeterSnapshot
from workers.links.tcp import TcpLink
from workers.models import meter_models
from workers.profiles.loader import profile_of
from workers.recording import reading_of

_TRIES = 2


@dataclass(frozen=True, slots=True)
class FieldMeter:
    """A meter of the account `no`; `virtual` are the further keys of its table in the site file."""

    serial: str
    model: str
    address: str
    no: str
    virtual: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FieldGateway:
    """A gateway of the project `site` in `group`; a DTU registers by its serial."""

    group: str
    site: str
    serial: str
    name: str
    link: GatewayLink
    meters: tuple[FieldMeter, ...]


WATER = FieldGateway(
    group="hq",
    site="garden",
    serial="860000000000021",
    name="和园水表 DTU",
    link=GatewayLink.DTU,
    meters=tuple(
        FieldMeter(
            serial=f"{33150000000001 + index}",
            model=model,
            address=f"{33150000000001 + index}",
            no=str(300001 + index),
            virtual={"volume": f"{40 + 11 * index}.200", "litres_an_hour": 20 + 15 * index},
        )
        for index, model in enumerate(
            ("JICHENG-188-VALVE", "AIMEIKE-188-VALVE", "LIANLI-188-VALVE", "GENERIC-188-WATER")
        )
    ),
)
BOX = FieldGateway(
    group="lake",
    site="market",
    serial="GW-LAKE-02",
    name="市集边缘网关",
    link=GatewayLink.UPLINK,
    meters=(
        FieldMeter(
            serial="200000000101",
            model="GENERIC-645-2007",
            address="200000000101",
            no="100002",
            virtual={"energy": "310.000", "power_w": 650, "remaining": "30.00"},
        ),
    ),
)
FIELD = (WATER, BOX)


def site_gateways(ports: Mapping[str, int], *, dtu: str) -> list[dict[str, Any]]:
    """The gateways' tables in the virtual site's file; `dtu` is where a DTU dials."""
    return [
        {
            "serial": gateway.serial,
            "port": ports[gateway.serial],
            "meters": [
                {"serial": m.serial, "model": m.model, "address": m.address, **m.virtual}
                for m in gateway.meters
            ],
            **(
                {"dial": {"server": dtu, "registration": gateway.serial, "every_s": 20}}
                if gateway.link is GatewayLink.DTU
                else {}
            ),
        }
        for gateway in FIELD
    ]


def agent_site(ports: Mapping[str, int]) -> str:
    """The site file of our own box, TOML."""
    lines = ["period_minutes = 5", "", "[[buses]]", "number = 1"]
    lines += [f'tcp = "127.0.0.1:{ports[BOX.serial]}"']
    for meter in BOX.meters:
        lines += ["", "[[meters]]", f'serial = "{meter.serial}"', f'model = "{meter.model}"']
        lines += ["bus = 1", f'address = "{meter.address}"']
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class FieldSeeder:
    """Registers the further gateways and their meters, and enrols the box."""

    ports: Ports
    at_ports: Mapping[str, int]

    async def seed(self, gateways: Sequence[FieldGateway] = FIELD) -> None:
        """Make what is missing; doing it again changes nothing."""
        for gateway in gateways:
            scope = await _scope(gateway.group)
            async with unit_of_work(scope.group_id) as work:
                if await Gateway.exists(group_id=work.group_id, serial=gateway.serial):
                    continue
            # The meters are asked before the transaction begins: no network inside one.
            openings = await self._openings(gateway)
            async with unit_of_work(scope.group_id) as work:
                await self._register(work, scope, gateway, openings)

    async def claim(self) -> str:
        """A claim code for the box. Raises Conflict when its keys are in use."""
        scope = await _scope(BOX.group)
        async with unit_of_work(scope.group_id) as work:
            row = await Gateway.get(group_id=work.group_id, serial=BOX.serial)
        return (await make_claim(self.ports, scope=scope, gateway_id=row.id)).code

    async def _register(
        self,
        work: UnitOfWork,
        scope: Scope,
        gateway: FieldGateway,
        openings: Sequence[MeterSnapshot],
    ) -> None:
        at = self.ports.clock.now()
        projects = await tenancy.projects(work, scope=scope)
        project = next(each for each in projects if each.code == gateway.site)
        row = await metering.add_gateway(
            work,
            scope=scope,
            project_id=project.id,
            serial=gateway.serial,
            name=gateway.name,
            link=gateway.link,
            at=at,
        )
        if gateway.link is GatewayLink.DTU:
            dial_in = DialIn(registration=gateway.serial.encode(), heartbeat=b"ping")
            await set_dial_in(
                work, scope=scope, box=self.ports.box, gateway_id=row.id, dial_in=dial_in, at=at
            )
        for meter, snapshot in zip(gateway.meters, openings, strict=True):
            await self._meter(work, scope, row, meter, snapshot)

    async def _meter(
        self,
        work: UnitOfWork,
        scope: Scope,
        gateway: Gateway,
        meter: FieldMeter,
        snapshot: MeterSnapshot,
    ) -> None:
        at = self.ports.clock.now()
        row = await metering.add_meter(
            work,
            scope=scope,
            gateway=gateway,
            serial=meter.serial,
            model=meter_models()[meter.model],
            bus_address=meter.address,
            at=at,
        )
        opening = reading_of(row.id, snapshot, at)
        await store_readings(work, readings=[opening])
        account = await accounts.account_by_no(work, scope=scope, no=meter.no)
        await metering.assign(
            work, scope=scope, meter=row, account_id=account.id, opening=opening, at=at
        )

    async def _openings(self, gateway: FieldGateway) -> list[MeterSnapshot]:
        link = TcpLink("127.0.0.1", self.at_ports[gateway.serial])
        try:
            return [
                await driver_of(profile_of(m.model), m.address, link.exchange).read()
                for m in gateway.meters
            ]
        finally:
            await link.close()


async def _scope(group: str) -> Scope:
    group_id = await tenancy.group_of_code(group)
    assert group_id is not None, "groups are seeded first"
    return Scope(
        group_id=group_id,
        actor=Actor("system", "demo", "demo seed"),
        group_permissions=frozenset(Permission),
    )


async def enrol_box(*, cloud: str, code: str, data: Path) -> None:
    """Run `shuidian gateway enrol` as an installer would: again when nobody answered.

    Raises Unavailable with what it said.
    """
    for _ in range(_TRIES):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "backend.cli", "gateway", "enrol"),
            *("--cloud", cloud, "--code", code, "--serial", BOX.serial, "--data", str(data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode == 0:
            return
    raise Unavailable(f"the box cannot be enrolled: {said.decode(errors='replace').strip()}")
