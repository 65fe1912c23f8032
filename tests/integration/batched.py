"""A site for batches: real operators, a row of meters at two gateways, and what a worker and meters do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.accounts.models import Account
from backend.control import batch_items, batches
from backend.control.batch_items import BatchItem
from backend.control.batch_rules import ItemState
from backend.control.batches import Batch
from backend.control.command_rules import CommandKind, CommandState
from backend.control.command_steps import End, Writing
from backend.journeys import batch as journey
from backend.journeys import serve_command, supply
from backend.journeys.batch import Wish
from backend.journeys.batch_run import run_batch
from backend.journeys.batch_selection import Selection
from backend.kernel.clock import SetClock
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Scope
from backend.metering import operations as metering
from backend.metering.models import Meter, MeterAssignment
from backend.metering.readings import store_readings
from backend.tenancy import operations as tenancy
from backend.tenancy.project_settings import set_batch_limit
from backend.tenancy.queries import scope_of
from workers.models import meter_models

from .world import START, World, make_account, reading_of

TRIP = CommandKind.TRIP
WHY = "the riser is worked on"
WINDOW = timedelta(seconds=60)
SECOND = timedelta(seconds=1)


@dataclass
class Site:
    """A group's meters `M-000`.. of one account, some at each gateway, and two operators with every right."""

    world: World
    ling: Scope
    wen: Scope
    meters: list[Meter]
    account: Account

    @property
    def clock(self) -> SetClock:
        """The one clock."""
        return self.world.clock

    @property
    def at(self) -> datetime:
        """Now."""
        return self.clock.now()

    def numbers(self, *indices: int) -> Selection:
        """These meters, by a list of their numbers; all without any."""
        wanted = [self.meters[index] for index in indices] or self.meters
        return Selection(numbers="\n".join(meter.serial for meter in wanted))

    async def prepare(
        self, selection: Selection, wish: Wish | None = None, *, scope: Scope | None = None
    ) -> Batch:
        """An operator makes a preview."""
        return await journey.prepare_batch(
            scope=scope or self.ling,
            project_id=self.world.project.id,
            wish=wish or Wish(TRIP, WHY),
            selection=selection,
            models=meter_models(),
            at=self.at,
        )

    async def confirmed(self, selection: Selection, wish: Wish | None = None) -> Batch:
        """Preview and confirmation; a second operator's word where it takes one; the window is over."""
        made = await self.prepare(selection, wish)
        found = await journey.confirm_batch(scope=self.ling, batch_id=made.id, at=self.at)
        if found.second:
            found = await journey.rule_batch(
                scope=self.wen, batch_id=made.id, approved=True, at=self.at
            )
        self.clock.advance(WINDOW)
        return found

    async def round(self, batch: Batch) -> datetime | None:
        """A worker's round."""
        return await run_batch(
            group_id=self.world.group_id, batch_id=batch.id, models=meter_models(), at=self.at
        )

    async def now(self, batch: Batch) -> Batch:
        """The batch as it stands."""
        async with unit_of_work(self.world.group_id) as work:
            return await batches.batch(work, scope=self.ling, batch_id=batch.id)

    async def items(self, batch: Batch) -> list[BatchItem]:
        """All of its items."""
        async with unit_of_work(self.world.group_id) as work:
            return await batch_items.items_page(
                work, batch_id=batch.id, states=None, after=None, limit=10_000
            )

    async def states(self, batch: Batch) -> dict[ItemState, int]:
        """How many items are in each state, without the empty ones."""
        async with unit_of_work(self.world.group_id) as work:
            found = await batch_items.count_items(work, batch_ids=[batch.id])
        return {state: number for state, number in found[batch.id].items() if number}

    async def commands(self) -> list[UUID]:
        """All commands of the group that were ever asked for."""
        async with unit_of_work(self.world.group_id) as work:
            rows = await work.fetch(
                "SELECT id FROM control_command WHERE group_id = $1 ORDER BY id", work.group_id
            )
        return [row["id"] for row in rows]

    async def obey(self, state: CommandState = CommandState.VERIFIED, *, most: int = 10_000) -> int:
        """The meters' answers to what is on its way; to how many commands."""
        async with unit_of_work(self.world.group_id) as work:
            rows = await work.fetch(
                "SELECT id, writes FROM control_command WHERE group_id = $1 AND state IN ('QUEUED', 'SENT')"
                " ORDER BY id LIMIT $2",
                work.group_id,
                most,
            )
        for row in rows:
            write = Writing(row["id"], row["writes"], relay_closed=True, at=self.at)
            await serve_command.about_to_write(group_id=self.world.group_id, writes=[write])
            end = End(row["id"], state, "as the meter shows", False, self.at)
            await serve_command.ended(group_id=self.world.group_id, ends=[(end, None)])
        return len(rows)

    async def read(self, *, relay_closed: bool = True) -> None:
        """Every meter is read."""
        async with unit_of_work(self.world.group_id) as work:
            readings = [reading_of(meter.id, at=self.at) for meter in self.meters]
            await store_readings(work, readings=readings)
            if not relay_closed:
                await work.execute(
                    "UPDATE metering_latest SET relay = 0 WHERE group_id = $1", work.group_id
                )


async def make_operator(world: World, login: str, *, role: str = "administrator") -> Scope:
    """A real operator of the world's project, as it is signed in."""
    async with unit_of_work(world.group_id) as work:
        at = world.clock.now()
        operator = await tenancy.add_operator(
            work,
            scope=world.scope,
            login=f"{login}-{secrets.token_hex(3)}",
            name=login,
            password_hash="-",
            at=at,
        )
        await tenancy.grant(
            work,
            scope=world.scope,
            operator_id=operator.id,
            role=role,
            project_id=world.project.id,
            at=at,
        )
        scope = await scope_of(work, operator_id=operator.id, address="203.0.113.20")
    assert scope is not None
    return scope


async def make_site(world: World, *, meters: int = 20, at_each: int = 10) -> Site:
    """The site, whose operators may give batches to five meters an hour alone."""
    account = await make_account(world, no="300001")
    made: list[Meter] = []
    async with unit_of_work(world.group_id) as work:
        for number in range(meters):
            if number % at_each == 0:
                gateway = await metering.add_gateway(
                    work,
                    scope=world.scope,
                    project_id=world.project.id,
                    serial=f"BATCH-{number // at_each}",
                    name="Batch",
                    address="127.0.0.1:502",
                    at=START,
                )
            made.append(
                await metering.add_meter(
                    work,
                    scope=world.scope,
                    gateway=gateway,
                    serial=f"BATCH-M-{number:03d}",
                    model=meter_models()["DDSY1352-NK"],
                    bus_address=str(number % at_each + 1),
                    at=START,
                )
            )
        await set_batch_limit(
            work, scope=world.scope, project_id=world.project.id, alone=5, at=START
        )
    await assign_all(world, made, account)
    ling, wen = [await make_operator(world, login) for login in ("ling", "wen")]
    return Site(world, ling, wen, made, account)


async def assign_all(world: World, meters: list[Meter], account: Account) -> list[MeterAssignment]:
    """The meters serve the account from the start on."""
    found = []
    async with unit_of_work(world.group_id) as work:
        for meter in meters:
            found.append(
                await metering.assign(
                    work,
                    scope=world.scope,
                    meter=meter,
                    account_id=account.id,
                    opening=reading_of(meter.id, at=START),
                    at=START,
                )
            )
    return found


async def protect(site: Site, index: int) -> None:
    """A meter is put on the protected list."""
    await supply.protect_meter(
        scope=site.world.scope,
        meter_id=site.meters[index].id,
        reason="the fire pump",
        review_at=site.at + timedelta(days=90),
        at=site.at,
    )
