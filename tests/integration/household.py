"""A street of virtual meters for each of two groups, households that live there, and a worker that does
all that is due; and where all their money is."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from backend.accounts.models import Account
from backend.journeys.closing import close_account
from backend.journeys.occupancy import assign_meter
from backend.journeys.takedown import Ask, replace_meter
from backend.kernel.clock import SetClock
from backend.kernel.db import unit_of_work
from backend.kernel.money import ZERO, Money
from backend.kernel.scope import Scope
from backend.ledger.rules import AccountKind
from backend.metering import operations as metering
from backend.metering.models import Meter
from backend.metering.queries import assignment_of_meter
from backend.metering.takedowns import Takedown, takedown
from backend.outbox.operations import claim, finish
from backend.sandbox.embedded.services import EmbeddedServices
from backend.topups.ports import RefundState as Word
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.context import WorkerContext
from workers.drivers.access import Access
from workers.main import handle_event
from workers.models import meter_models
from workers.sweep import meter_refresh
from workers.virtual.gateway import VirtualGateway
from workers.virtual.prepaid import PrepaidMeter
from workers.virtual.site import VirtualSite, parse_site

from .refunding import channel_says
from .world import START, World, make_account, make_credential, make_order, pay

WHY = "the display is dark"
_KINDS = (
    AccountKind.CHANNEL,
    AccountKind.PURSE,
    AccountKind.IN_TRANSIT,
    AccountKind.METER_WALLET,
    AccountKind.REFUND_DUE,
    AccountKind.ENERGY_ARREARS,
    AccountKind.REVENUE,
    AccountKind.GRANT_FUND,
    AccountKind.ROUNDING,
)


@dataclass
class Street:
    """One group's meters, by unit from 1: unit 1 holds 20 yuan, the others nothing; all draw `watts`."""

    world: World
    context: WorkerContext
    gateway: VirtualGateway
    credential_id: UUID
    meters: dict[int, Meter] = field(default_factory=dict)

    @property
    def clock(self) -> SetClock:
        """The one clock of cloud and meters."""
        return self.world.clock

    def box(self, unit: int) -> PrepaidMeter:
        """The virtual meter at a unit."""
        found = self.gateway.meters[str(unit)]
        assert isinstance(found, PrepaidMeter)
        return found

    def wallet(self, unit: int) -> tuple[int, int]:
        """(fen, purchase count) by the meter's own memory."""
        state = self.box(unit).state()
        return state.remaining_fen, state.purchase_count

    async def register(self, unit: int, *, mode: str | None = None) -> Meter:
        """Make the meter at a unit known, and read it."""
        async with unit_of_work(self.world.group_id) as work:
            meter = await metering.add_meter(
                work,
                scope=self.world.scope,
                gateway=self.world.gateway,
                serial=f"{self.world.code}-{unit}-{secrets.token_hex(2)}",
                model=meter_models()["DDSY1352-NK"],
                bus_address=str(unit),
                at=self.clock.now(),
            )
            if mode is not None:
                await work.execute(
                    "UPDATE metering_meter SET credit_mode = $1 WHERE id = $2", mode, meter.id
                )
        self.meters[unit] = meter
        await self.read(unit)
        return meter

    async def read(self, unit: int) -> None:
        """A live reading, a second after the last one."""
        self.clock.advance(timedelta(seconds=1))
        payload = {"meter_id": str(self.meters[unit].id)}
        await meter_refresh(self.context, self.world.group_id, payload)

    async def household(self, no: str, *units: int, mode: str | None = None) -> Account:
        """An account served by the meters at `units` from now on."""
        account = await make_account(self.world, no=no)
        for unit in units:
            await self.register(unit, mode=mode)
            await self.hang(account, unit)
        return account

    async def hang(self, account: Account, unit: int) -> None:
        """Let a meter serve an account."""
        await self.read(unit)
        await assign_meter(
            scope=self.world.scope,
            meter_id=self.meters[unit].id,
            account_id=account.id,
            at=self.clock.now(),
        )

    async def buy(self, account: Account, fen: int, *, unit: int) -> None:
        """The money arrives; the worker has not come yet."""
        async with unit_of_work(self.world.group_id) as work:
            served = await assignment_of_meter(work, meter_id=self.meters[unit].id)
        assert served is not None
        order = await make_order(
            self.world,
            credential_id=self.credential_id,
            amount_fen=fen,
            assignment=served,
            account=account,
        )
        assert (await pay(self.world, order)).paid

    async def replace(self, unit: int, to: int | None, *, key: str = "", **given: Any) -> Takedown:
        """An operator begins to replace the meter at a unit."""
        return await replace_meter(
            scope=given.get("scope", self.world.scope),
            meter_id=self.meters[unit].id,
            to_meter_id=None if to is None else self.meters[to].id,
            ask=self.ask(key=key),
        )

    async def close(self, account: Account, *, cut: bool = True, key: str = "") -> UUID:
        """An operator begins to close an account."""
        closing = await close_account(
            scope=self.world.scope, account_id=account.id, cut=cut, ask=self.ask(key=key)
        )
        return closing.id

    def ask(self, *, key: str = "", scope: Scope | None = None) -> Ask:
        """Who asks, why, and when."""
        return Ask(
            (scope or self.world.scope).actor,
            WHY,
            key or secrets.token_hex(8),
            meter_models(),
            self.clock.now(),
        )

    async def now(self, asked: Takedown) -> Takedown:
        """A takedown as it is now."""
        async with unit_of_work(self.world.group_id) as work:
            return await takedown(work, scope=self.world.scope, takedown_id=asked.id)

    async def work(self, *, most: int = 60) -> int:
        """Do all events that are due, as a worker process does them; how many there were."""
        done = 0
        while done < most:
            async with unit_of_work(self.world.group_id) as work:
                events = await claim(
                    work, at=self.clock.now(), lease=timedelta(seconds=30), limit=5
                )
            if not events:
                return done
            for event in events:
                if event.topic in ("message.send", "topup.query"):
                    await _finish(self.world.group_id, event.id)
                    continue
                job = {
                    "topic": event.topic,
                    "group_id": self.world.group_id,
                    "event_id": str(event.id),
                    "payload": event.payload,
                    "attempts": event.attempts,
                }
                self.clock.advance(timedelta(seconds=1))
                await handle_event({"context": self.context}, job)
                done += 1
        raise AssertionError("events go round and round")

    async def pass_time(self, *, minutes: int, steps: int = 1) -> None:
        """Let time pass and the worker do what comes due."""
        for _ in range(steps):
            self.clock.advance(timedelta(minutes=minutes) / steps)
            await self.work()

    async def book(self) -> Mapping[AccountKind, Money]:
        """Each kind of account of the project's book, what is owed positive, all refs together."""
        async with unit_of_work(self.world.group_id) as work:
            rows = await work.fetch(
                "SELECT a.kind, sum(p.amount_hao)::bigint AS hao FROM ledger_account a"
                " JOIN ledger_posting p ON p.group_id = a.group_id AND p.account_id = a.id"
                " WHERE a.group_id = $1 AND a.project_id = $2 GROUP BY a.kind",
                work.group_id,
                self.world.project.id,
            )
        owed = {AccountKind(row["kind"]): Money(-row["hao"]) for row in rows}
        return dict.fromkeys(_KINDS, ZERO) | owed

    async def value(self, sql: str, *given: object) -> Any:
        """One value as the group sees it."""
        async with unit_of_work(self.world.group_id) as work:
            return await work.fetchval(sql, *given)

    async def cases(self) -> list[str]:
        """The kinds of open cases."""
        async with unit_of_work(self.world.group_id) as work:
            rows = await work.fetch("SELECT kind FROM alerts_case WHERE resolved_at IS NULL")
        return sorted(row["kind"] for row in rows)


async def _finish(group_id: int, event_id: UUID) -> None:
    async with unit_of_work(group_id) as work:
        await finish(work, event_id=event_id, at=START)


async def expect_sound(street: Street) -> None:
    """Money in = purse + in transit + at meters + on its way back + given back + used; and what lots have
    left is what stands in purses, on its way and at meters."""
    book = await street.book()
    assert sum(amount.hao for amount in book.values()) == 0
    standing = sum(
        book[kind].hao
        for kind in (AccountKind.PURSE, AccountKind.IN_TRANSIT, AccountKind.METER_WALLET)
    )
    left = await street.value(
        "SELECT coalesce(sum(amount_hao - used_hao), 0)::bigint FROM ledger_lot"
    )
    assert left == standing
    assert book[AccountKind.REVENUE] >= ZERO


async def expect_meters_agree(street: Street, served: Mapping[int, Account]) -> None:
    """What the book says a serving meter was sold is what it holds and has used, to the fen; meters that
    serve nobody hold nothing by the book."""
    async with unit_of_work(street.world.group_id) as work:
        rows = await work.fetch(
            "SELECT a.ref, sum(-b.balance_hao)::bigint AS held FROM ledger_account a"
            " JOIN ledger_balance b ON b.account_id = a.id WHERE a.kind = 'METER_WALLET'"
            " GROUP BY a.ref"
        )
    held = {row["ref"]: row["held"] for row in rows}
    for unit, meter in street.meters.items():
        if unit in served:
            assert held.get(meter.id, 0) >= street.wallet(unit)[0] * 100, unit
        else:
            assert held.get(meter.id, 0) == 0, unit


@asynccontextmanager
async def streets(
    worlds: tuple[World, World],
    services: EmbeddedServices,
    folder: Path,
    *,
    watts: int = 0,
    units: int = 8,
) -> AsyncIterator[tuple[Street, Street]]:
    """A street for each group, on one clock; refunds are done at once by the channel."""
    clock = worlds[0].clock
    worlds[1].clock = clock
    plan = {"gateways": [_plan(world.code, watts, units) for world in worlds]}
    buses = Buses(BusLease(services.app_dsn()), access=Access(clock=clock))
    made: list[Street] = []
    async with VirtualSite(parse_site(plan), data_dir=folder, clock=clock) as site:
        for world in worlds:
            gateway = site.gateways[world.code]
            async with unit_of_work(world.group_id) as work:
                # The world's own meter is no part of the street.
                await work.execute(
                    "UPDATE metering_meter SET bus_address = '99' WHERE id = $1", world.meter.id
                )
                world.gateway = await metering.move_gateway(
                    work,
                    scope=world.scope,
                    serial=world.gateway.serial,
                    address=f"127.0.0.1:{gateway.port}",
                    at=START,
                )
            ports, _ = channel_says(world, Word.DONE)
            context = WorkerContext(replace(ports, clock=clock), buses)
            made.append(Street(world, context, gateway, await make_credential(world)))
        try:
            yield made[0], made[1]
        finally:
            await buses.close()


def _plan(serial: str, watts: int, units: int) -> dict[str, Any]:
    return {
        "serial": serial,
        "meters": [
            {
                "serial": f"{serial}-{unit}",
                "unit": unit,
                "remaining": "20.00" if unit == 1 else "0",
                "average_w": watts,
            }
            for unit in range(1, units + 1)
        ],
    }
