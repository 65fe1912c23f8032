"""DataLoaders for the odd edges that a page does not prefetch. Of one request, of one scope (C29)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from strawberry.dataloader import DataLoader

from backend.charges.rules import Figures
from backend.control.batch_items import count_items
from backend.control.batch_rules import ItemState
from backend.control.circuits import Circuit, circuits_of_meters
from backend.control.commands import Command, commands_of_meters
from backend.control.decisions import KeptDecision, decisions_of_meters
from backend.control.state_rules import MeterState
from backend.control.supplies import MeterSupply, supplies_of_meters
from backend.enrolment.queries import Standing, standings
from backend.journeys.alarm_shown import Subject, subjects_of_alarms
from backend.journeys.charge_figures import figures
from backend.journeys.forecast_shown import Shown, forecasts_of_accounts
from backend.journeys.meter_choice import Served, served_by_meters
from backend.journeys.meter_states import meter_states
from backend.journeys.views import TopUpView, topup_views
from backend.kernel.clock import Period
from backend.metering.episodes import lost_since
from backend.metering.queries import meters_by_ids, readings_of_pairs
from backend.metering.readings import Reading
from backend.metering.tags import tags_of_meters
from backend.tariffs.queries import Version, versions_of_tariffs
from backend.topups.queries import orders_of_accounts

from .context import Context

Pair = tuple[UUID, UUID]
_Page = tuple[UUID | None, int]
_Span = tuple[Period, int]
First = TypeVar("First")
Second = TypeVar("Second", bound=Hashable)


async def topups_of(
    context: Context, account_id: UUID, before: UUID | None, limit: int
) -> list[TopUpView]:
    """An account's newest top-ups; the same page of several accounts is two statements in all."""
    loader = context.loaders.get("topups")
    if loader is None:

        async def load(
            keys: Sequence[tuple[UUID, _Page]],
        ) -> list[list[TopUpView]]:
            found: dict[Hashable, list[TopUpView]] = {}
            for (older, most), accounts in _by_second(keys).items():
                async with context.work() as work:
                    orders = await orders_of_accounts(
                        work, account_ids=accounts, before=older, limit=most
                    )
                    flat = [order for held in orders.values() for order in held]
                    views = {v.order.id: v for v in await topup_views(work, orders=flat)}
                for account, held in orders.items():
                    found[account, (older, most)] = [views[order.id] for order in held]
            return [found[key] for key in keys]

        loader = context.loaders["topups"] = DataLoader(load_fn=load)
    views: list[TopUpView] = await loader.load((account_id, (before, limit)))
    return views


async def readings_of(
    context: Context, pair: Pair, period: Period, limit: int
) -> list[Reading] | None:
    """Readings of an (account, meter) pair; None when that meter does not serve that account."""
    loader = context.loaders.get("readings")
    if loader is None:

        async def load(keys: Sequence[tuple[Pair, _Span]]) -> list[list[Reading] | None]:
            found: dict[Hashable, list[Reading]] = {}
            for (span, most), pairs in _by_second(keys).items():
                async with context.work() as work:
                    read = await readings_of_pairs(work, pairs=pairs, period=span, limit=most)
                found |= {(one, (span, most)): held for one, held in read.items()}
            return [found.get(key) for key in keys]

        loader = context.loaders["readings"] = DataLoader(load_fn=load)
    readings: list[Reading] | None = await loader.load((pair, (period, limit)))
    return readings


async def commands_of(context: Context, meter_id: UUID, limit: int) -> list[Command]:
    """A meter's newest commands; the same page of several meters is one statement in all."""
    loader = context.loaders.get("commands")
    if loader is None:

        async def load(keys: Sequence[tuple[UUID, int]]) -> list[list[Command]]:
            found: dict[Hashable, list[Command]] = {}
            for most, meters in _by_second(keys).items():
                async with context.work() as work:
                    read = await commands_of_meters(work, meter_ids=meters, limit=most)
                found |= {(meter, most): held for meter, held in read.items()}
            return [found[key] for key in keys]

        loader = context.loaders["commands"] = DataLoader(load_fn=load)
    commands: list[Command] = await loader.load((meter_id, limit))
    return commands


async def supply_row_of(context: Context, meter_id: UUID) -> MeterSupply | None:
    """What is wanted of a meter's supply; any number of meters is one statement in all."""
    loader = context.loaders.get("supplies")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[MeterSupply | None]:
            async with context.work() as work:
                found = await supplies_of_meters(work, meter_ids=keys)
            return [found.get(key) for key in keys]

        loader = context.loaders["supplies"] = DataLoader(load_fn=load)
    row: MeterSupply | None = await loader.load(meter_id)
    return row


async def circuit_of(context: Context, meter_id: UUID) -> Circuit | None:
    """What is of a meter's circuit; any number of meters is a few statements in all."""
    loader = context.loaders.get("circuits")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[Circuit | None]:
            async with context.work() as work:
                found = await circuits_of_meters(work, meter_ids=keys, at=context.now)
            return [found.get(key) for key in keys]

        loader = context.loaders["circuits"] = DataLoader(load_fn=load)
    row: Circuit | None = await loader.load(meter_id)
    return row


async def decisions_of(context: Context, meter_id: UUID, limit: int) -> list[KeptDecision]:
    """A meter's newest decisions; the same page of several meters is one statement in all."""
    loader = context.loaders.get("decisions")
    if loader is None:

        async def load(keys: Sequence[tuple[UUID, int]]) -> list[list[KeptDecision]]:
            found: dict[Hashable, list[KeptDecision]] = {}
            for most, meters in _by_second(keys).items():
                async with context.work() as work:
                    read = await decisions_of_meters(work, meter_ids=meters, limit=most)
                found |= {(meter, most): held for meter, held in read.items()}
            return [found[key] for key in keys]

        loader = context.loaders["decisions"] = DataLoader(load_fn=load)
    decisions: list[KeptDecision] = await loader.load((meter_id, limit))
    return decisions


async def lost_since_of(context: Context, meter_id: UUID) -> datetime | None:
    """Since when a meter is lost; any number of meters is one statement in all."""
    loader = context.loaders.get("lost")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[datetime | None]:
            async with context.work() as work:
                found = await lost_since(work, meter_ids=keys)
            return [found.get(key) for key in keys]

        loader = context.loaders["lost"] = DataLoader(load_fn=load)
    since: datetime | None = await loader.load(meter_id)
    return since


async def uplink_of(context: Context, gateway_id: UUID) -> Standing:
    """Where a gateway's sealed line stands; any number of gateways is one statement in all."""
    loader = context.loaders.get("uplinks")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[Standing]:
            async with context.work() as work:
                found = await standings(work, gateway_ids=keys, at=context.now)
            return [found[key] for key in keys]

        loader = context.loaders["uplinks"] = DataLoader(load_fn=load)
    standing: Standing = await loader.load(gateway_id)
    return standing


async def versions_of(context: Context, tariff_id: UUID, limit: int) -> list[Version]:
    """A tariff's newest versions; those of any number of tariffs are one statement in all."""
    loader = context.loaders.get("versions")
    if loader is None:

        async def load(keys: Sequence[tuple[UUID, int]]) -> list[list[Version]]:
            found: dict[Hashable, list[Version]] = {}
            for most, tariffs in _by_second(keys).items():
                async with context.work() as work:
                    read = await versions_of_tariffs(work, tariff_ids=tariffs, limit=most)
                found |= {(tariff, most): held for tariff, held in read.items()}
            return [found[key] for key in keys]

        loader = context.loaders["versions"] = DataLoader(load_fn=load)
    versions: list[Version] = await loader.load((tariff_id, limit))
    return versions


async def figures_for(context: Context, account_id: UUID) -> Figures:
    """The three figures of an account; those of any number of accounts are one statement in all."""
    loader = context.loaders.get("figures")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[Figures]:
            async with context.work() as work:
                found = await figures(work, account_ids=keys)
            return [found[key] for key in keys]

        loader = context.loaders["figures"] = DataLoader(load_fn=load)
    told: Figures = await loader.load(account_id)
    return told


async def forecast_for(context: Context, account_id: UUID) -> Shown:
    """How long an account's money lasts; any number of accounts is the same few statements."""
    loader = context.loaders.get("forecasts")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[Shown]:
            async with context.work() as work:
                found = await forecasts_of_accounts(work, account_ids=keys, at=context.now)
            return [found[key] for key in keys]

        loader = context.loaders["forecasts"] = DataLoader(load_fn=load)
    shown: Shown = await loader.load(account_id)
    return shown


async def state_of_meter(context: Context, meter_id: UUID) -> MeterState:
    """In which of the six states a meter is; any number of meters is one statement in all."""
    loader = context.loaders.get("states")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[MeterState]:
            async with context.work() as work:
                found = await meter_states(work, meter_ids=keys)
            return [found[key] for key in keys]

        loader = context.loaders["states"] = DataLoader(load_fn=load)
    state: MeterState = await loader.load(meter_id)
    return state


async def tags_of(context: Context, meter_id: UUID) -> list[str]:
    """A meter's labels; those of any number of meters are one statement in all."""
    loader = context.loaders.get("tags")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[list[str]]:
            async with context.work() as work:
                found = await tags_of_meters(work, meter_ids=keys)
            return [found[key] for key in keys]

        loader = context.loaders["tags"] = DataLoader(load_fn=load)
    tags: list[str] = await loader.load(meter_id)
    return tags


async def served_of(context: Context, meter_id: UUID) -> Served | None:
    """Whom a meter serves; of any number of meters it is two statements in all."""
    loader = context.loaders.get("served")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[Served | None]:
            async with context.work() as work:
                found = await served_by_meters(work, meter_ids=keys)
            return [found.get(key) for key in keys]

        loader = context.loaders["served"] = DataLoader(load_fn=load)
    served: Served | None = await loader.load(meter_id)
    return served


async def serial_of(context: Context, meter_id: UUID) -> str:
    """A meter's number; those of any number of meters are one statement in all."""
    loader = context.loaders.get("serials")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[str]:
            async with context.work() as work:
                rows = await meters_by_ids(work, meter_ids=keys)
            found = {row.id: row.serial for row in rows}
            return [found[key] for key in keys]

        loader = context.loaders["serials"] = DataLoader(load_fn=load)
    serial: str = await loader.load(meter_id)
    return serial


async def subject_of_alarm(context: Context, alarm_id: UUID) -> Subject:
    """What an alarm is about; of any number of alarms it is one statement in all."""
    loader = context.loaders.get("alarms")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[Subject]:
            async with context.work() as work:
                found = await subjects_of_alarms(work, alarm_ids=keys)
            return [found[key] for key in keys]

        loader = context.loaders["alarms"] = DataLoader(load_fn=load)
    subject: Subject = await loader.load(alarm_id)
    return subject


async def batch_counts(context: Context, batch_id: UUID) -> dict[ItemState, int]:
    """How many meters of a batch are in each state; any number of batches is one statement in all."""
    loader = context.loaders.get("batches")
    if loader is None:

        async def load(keys: Sequence[UUID]) -> list[dict[ItemState, int]]:
            async with context.work() as work:
                found = await count_items(work, batch_ids=keys)
            return [found[key] for key in keys]

        loader = context.loaders["batches"] = DataLoader(load_fn=load)
    counts: dict[ItemState, int] = await loader.load(batch_id)
    return counts


def _by_second(keys: Sequence[tuple[First, Second]]) -> dict[Second, list[First]]:
    grouped: dict[Second, list[First]] = defaultdict(list)
    for first, second in keys:
        grouped[second].append(first)
    return grouped
