"""A household, meters being taken down, and an account being closed, in one project."""

from __future__ import annotations

from strawberry import ID

from backend.accounts import operations as accounts
from backend.accounts.models import Account
from backend.journeys.closing import close_account
from backend.journeys.takedown import Ask, replace_meter
from backend.journeys.takedown_steps import type_final
from backend.kernel.db import unit_of_work
from backend.kernel.money import Money
from backend.kernel.scope import Actor, Scope
from backend.metering import operations as metering
from backend.metering.models import Meter
from backend.metering.readings import store_readings
from backend.metering.takedown_rules import FinalWord
from backend.tenancy.rules import Permission
from schema.scalars import ref
from workers.models import meter_models

from ..world import World, new_id, reading_of

_TYPIST = Actor("operator", "op-typist", "zhao", "::1")
_KINDS = {
    "HousedAccount": "Account",
    "ServingMeter": "Meter",
    "NextMeter": "Meter",
    "Takedown": "Takedown",
    "TypedTakedown": "Takedown",
    "Closing": "Closing",
}


async def make_occupancy_things(world: World, *, prefix: str) -> dict[str, str]:
    """A household with its meter, a meter that could take over, a takedown that waits, one that was typed
    by another operator above the limit, and a closing."""
    scope = Scope(world.group_id, _TYPIST, frozenset(map(str, Permission)))
    at = world.clock.now()
    household, serving = await _home(world, prefix, 1)
    _, waiting = await _home(world, prefix, 2)
    _, typed = await _home(world, prefix, 3, held=90_000_000)
    leaving, _ = await _home(world, prefix, 4)
    spare = await _meter(world, prefix, 5)
    taken = []
    for meter in (waiting, typed):
        ask = Ask(_TYPIST, "the display is dark", f"key-{meter.serial}", meter_models(), at)
        taken.append(await replace_meter(scope=scope, meter_id=meter.id, to_meter_id=None, ask=ask))
    word = FinalWord(at, 0, Money(90_000_000), 0)
    await type_final(scope=scope, takedown_id=taken[1].id, word=word, note="by the book", at=at)
    ask = Ask(_TYPIST, "they move out", f"closing-{prefix}", meter_models(), at)
    closing = await close_account(scope=scope, account_id=leaving.id, cut=False, ask=ask)
    return {
        "HousedAccount": ref("Account", household.id),
        "ServingMeter": ref("Meter", serving.id),
        "NextMeter": ref("Meter", spare.id),
        "Takedown": ref("Takedown", taken[0].id),
        "TypedTakedown": ref("Takedown", taken[1].id),
        "Closing": ref("Closing", closing.id),
    }


def no_occupancy_things() -> dict[str, ID]:
    """Ids that no object has."""
    return {name: ref(kind, new_id()) for name, kind in _KINDS.items()}


async def _meter(world: World, prefix: str, number: int, *, held: int = 0) -> Meter:
    async with unit_of_work(world.group_id) as work:
        meter = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial=f"LIFE-{prefix}-{number}",
            model=meter_models()["DDSY1352-NK"],
            bus_address=str(230 + number),
            at=world.clock.now(),
        )
        reading = reading_of(meter.id, at=world.clock.now(), remaining_hao=held)
        await store_readings(work, readings=[reading])
    return meter


async def _home(world: World, prefix: str, number: int, *, held: int = 0) -> tuple[Account, Meter]:
    meter = await _meter(world, prefix, number, held=held)
    async with unit_of_work(world.group_id) as work:
        account = await accounts.open_account(
            work,
            scope=world.scope,
            project_id=world.project.id,
            area_id=world.area.id,
            no=f"70{prefix}00{number}",
            name=f"Home {number}",
            phone="13900139000",
            at=world.clock.now(),
        )
        await metering.assign(
            work,
            scope=world.scope,
            meter=meter,
            account_id=account.id,
            opening=reading_of(meter.id, at=world.clock.now(), remaining_hao=held),
            at=world.clock.now(),
        )
    return account, meter
