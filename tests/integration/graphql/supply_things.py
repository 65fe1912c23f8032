"""What doors of supply name, in one project: a protected meter, one in an emergency, a request that waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from backend.control.supply_requests import RequestKind
from backend.journeys import supply
from backend.kernel.scope import Actor
from schema.scalars import ref
from workers.models import meter_models

from ..world import World, make_account, make_meter
from .batch_things import make_batch_things
from .dormitory_things import make_dormitory_things

_ANOTHER = Actor("operator", "op-other", "wen", "203.0.113.9")
_WHY = "smoke in the shaft"


async def make_supply_things(world: World, *, prefix: str) -> dict[str, str]:
    """Opaque ids: ProtectedMeter, EmergencyMeter, a SupplyRequest that another asked for, and batches."""
    at, models = world.clock.now(), meter_models()
    account, meters = await make_account(world, no=f"4{prefix}0001"), []
    for number in (191, 192):
        meter, _ = await make_meter(
            world, serial=f"SUPPLY-{prefix}-{number}", bus_address=number, account=account
        )
        meters.append(meter.id)
    protected, emergency = meters
    another = replace(world.scope, actor=_ANOTHER)
    await supply.protect_meter(
        scope=another, meter_id=protected, reason="a lift", review_at=at + timedelta(days=9), at=at
    )
    kind = RequestKind.EMERGENCY_TRIP
    asked = [
        await supply.ask_second(scope=another, meter_id=meter_id, kind=kind, reason=_WHY, at=at)
        for meter_id in (emergency, protected)
    ]
    await supply.rule_second(
        scope=world.scope, request_id=asked[0].id, approved=True, models=models, at=at
    )
    return {
        "ProtectedMeter": ref("Meter", protected),
        "EmergencyMeter": ref("Meter", emergency),
        "SupplyRequest": ref("SupplyRequest", asked[1].id),
        **await make_dormitory_things(world, prefix=prefix),
        **await make_batch_things(world, prefix=prefix),
    }
