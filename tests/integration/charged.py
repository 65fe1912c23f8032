"""Accounts whose money is in the cloud: a meter, a tariff, money in the purse, readings that are charged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from backend.accounts.models import Account
from backend.charges import credit
from backend.charges.credit import CreditClass
from backend.charges.queries import charges_of_account
from backend.charges.rules import Charge
from backend.journeys.charge import charge_meters
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.ledger.operations import open_lot, post
from backend.ledger.rules import AccountKey, AccountKind, LotKind, topup_paid
from backend.metering import operations as metering
from backend.metering.models import Meter, MeterAssignment
from backend.metering.readings import Reading, store_readings
from backend.metering.rules import CreditMode
from backend.tariffs.rules import Terms
from workers.models import meter_models

from .priced import FLAT, assign, in_force, make_tariff
from .world import START, World, make_account, new_id, reading_of

HALF_HOUR = timedelta(minutes=30)


@dataclass
class Home:
    """An account of a world with one CLOUD meter that serves it from START, register 1,000 kWh."""

    world: World
    account: Account
    meter: Meter
    assignment: MeterAssignment

    def at(self, half_hours: float) -> datetime:
        """An instant after START."""
        return START + half_hours * HALF_HOUR

    def reading(self, half_hours: float, wh: int, **bands: int) -> Reading:
        """What the meter showed: `wh` more than at its opening, and so much more of each band."""
        found = reading_of(self.meter.id, at=self.at(half_hours), total=1_000_000 + wh)
        return found._replace(bands=bands) if bands else found

    async def read(self, *readings: Reading, charge: bool = True) -> int:
        """Store readings as one batch and charge what the outbox says of it."""
        async with unit_of_work(self.world.group_id) as work:
            await store_readings(work, readings=readings)
        return await charge_due(self.world) if charge else 0

    async def enter_class(
        self, name: str, *, overdraft: str = "0", emergency: str = "0", monthly_grant: str = "0"
    ) -> CreditClass:
        """A credit class of the project by that name, in yuan, and the account in it."""
        world, at = self.world, self.world.clock.now()
        async with unit_of_work(world.group_id) as work:
            made = await credit.save_class(
                work,
                scope=world.scope,
                project_id=world.project.id,
                name=name,
                overdraft=Money.parse(overdraft),
                emergency=Money.parse(emergency),
                monthly_grant=Money.parse(monthly_grant),
                at=at,
            )
            await credit.put_in_class(
                work,
                scope=world.scope,
                project_id=world.project.id,
                account_id=self.account.id,
                class_id=made.id,
                at=at,
            )
        return made

    async def charges(self) -> list[Charge]:
        """The account's charges, oldest first."""
        async with unit_of_work(self.world.group_id) as work:
            found = await charges_of_account(
                work, account_id=self.account.id, before=None, limit=10_000
            )
        return sorted(found, key=lambda each: (each.charged_at, each.assignment_id.int, each.seq))

    async def charged(self) -> Money:
        """All that the account was charged."""
        return Money(sum(charge.amounts.total for charge in await self.charges()))

    async def owed(self, kind: AccountKind = AccountKind.PURSE) -> Money:
        """What a ledger account of the account holds: a purse what is owed to it, arrears what it owes."""
        async with unit_of_work(self.world.group_id) as work:
            found = await work.fetchval(
                "SELECT sum(b.balance_hao)::bigint FROM ledger_account a JOIN ledger_balance b"
                " ON b.account_id = a.id WHERE a.kind = $1 AND a.ref = $2",
                kind,
                self.account.id,
            )
        return Money(abs(found or 0))

    async def pay(self, yuan: str, *, at: datetime = START) -> None:
        """Money in the purse, as one paid lot."""
        source, amount = new_id(), Money.parse(yuan)
        paid = topup_paid(
            topup_id=source,
            into=AccountKey(AccountKind.CHANNEL, self.world.project.id),
            account=self.account.id,
            amount=amount,
        )
        async with unit_of_work(self.world.group_id) as work:
            await post(work, project_id=self.world.project.id, transfer=paid, at=at)
            await open_lot(
                work,
                project_id=self.world.project.id,
                account_id=self.account.id,
                kind=LotKind.PAID,
                source=f"topup:{source}",
                amount=amount,
                at=at,
            )


async def charge_due(world: World) -> int:
    """Do every `charge.due` event of the group, as a worker would; how many charges that made."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "UPDATE outbox_event SET done_at = now() WHERE topic = 'charge.due' AND done_at IS NULL"
            " RETURNING payload, created_at"
        )
    made = 0
    for row in sorted(rows, key=lambda row: row["created_at"]):
        since = {UUID(k): datetime.fromisoformat(v) for k, v in row["payload"].items()}
        at = max(row["created_at"], world.clock.now())
        made += await charge_meters(group_id=world.group_id, since=since, at=at)
    return made


async def make_home(
    world: World, *, no: str = "300001", terms: Terms | None = FLAT, started_at: datetime = START
) -> Home:
    """An account with a CLOUD meter, and a tariff of its own (None: none)."""
    account = await make_account(world, no=no)
    async with unit_of_work(world.group_id) as work:
        await work.execute(
            "UPDATE accounts_account SET opened_at = least(opened_at, $2) WHERE id = $1",
            account.id,
            started_at,
        )
    home = await add_meter(
        world, account, serial=f"C-{no}", bus_address=int(no) % 200 + 20, at=started_at
    )
    if terms is not None:
        tariff = await make_tariff(world, name=f"T {no}", kind=terms.kind)
        now, world.clock.instant = world.clock.instant, min(world.clock.instant, started_at)
        await in_force(world, tariff, terms=terms, effective_at=started_at)
        await assign(world, tariff, account.id, started_at=started_at)
        world.clock.instant = now
    return home


async def add_meter(
    world: World,
    account: Account,
    *,
    serial: str,
    bus_address: int,
    at: datetime = START,
    opening: int = 1_000_000,
) -> Home:
    """One more CLOUD meter that serves an account from `at`."""
    async with unit_of_work(world.group_id) as work:
        meter = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial=serial,
            model=meter_models()["DDSY1352-NK"],
            bus_address=str(bus_address),
            at=at,
            credit_mode=CreditMode.CLOUD,
        )
        assignment = await metering.assign(
            work,
            scope=world.scope,
            meter=meter,
            account_id=account.id,
            opening=reading_of(meter.id, at=at, total=opening),
            at=at,
        )
    return Home(world, account, meter, assignment)


def totals(charges: Sequence[Charge]) -> list[int]:
    """Hao of each charge."""
    return [charge.amounts.total for charge in charges]
