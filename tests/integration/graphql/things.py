"""One object of every type that a document can name, in one project."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from backend.alerts.operations import open_case
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.ids import token
from backend.kernel.secrets import digest
from backend.metering import operations as metering
from backend.metering.readings import store_readings
from backend.tenancy import operations as tenancy
from backend.topups.operations import create_link
from schema.scalars import ref
from workers.models import meter_models

from ..dialled import make_dialling
from ..priced import in_force, make_draft, make_tariff, propose, submit
from ..sealed import desk_at, enrolled, make_sealed
from ..world import (
    World,
    ask_command,
    make_account,
    make_credential,
    make_customer,
    make_order,
    new_id,
    reading_of,
)
from .alarm_things import make_alarm_things
from .batch_things import no_batch_things
from .charge_things import make_charge_things
from .money_things import make_money_things
from .occupancy_things import make_occupancy_things, no_occupancy_things
from .reconcile_things import make_reconcile_things
from .supply_things import make_supply_things

# A well-formed id of a type that no door takes.
WRONG_TYPE = ref("Nothing", new_id())
_GATEWAYS = ("SealedGateway", "KeyedGateway", "DialInGateway")


@dataclass(frozen=True)
class Things:
    """Opaque ids of one project's objects, and a pay link of its account."""

    Project: str
    Area: str
    Account: str
    Gateway: str
    SealedGateway: str
    KeyedGateway: str
    DialInGateway: str
    Meter: str
    FreeMeter: str
    TopUp: str
    Case: str
    Alarm: str
    Command: str
    Operator: str
    Tariff: str
    TariffVersion: str
    SubmittedVersion: str
    TariffChange: str
    PaidTopUp: str
    Refund: str
    Shift: str
    RightAccount: str
    BillDay: str
    BillItem: str
    MeterProof: str
    ChargedAccount: str
    JoiningAccount: str
    SharingAccount: str
    Charge: str
    CreditClass: str
    HeldMeter: str
    SilentMeter: str
    HousedAccount: str
    ServingMeter: str
    NextMeter: str
    Takedown: str
    TypedTakedown: str
    Closing: str
    ProtectedMeter: str
    EmergencyMeter: str
    SupplyRequest: str
    Timetable: str
    Timing: str
    LoadGuard: str
    LockedMeter: str
    Batch: str
    WaitingBatch: str
    PausedBatch: str
    FailedBatch: str
    link: str
    order_id: UUID


async def make_things(world: World, *, prefix: str = "1") -> Things:
    """An order, a case, a command, an operator, a pay link, a meter that serves nobody yet, a gateway
    that dials in, and two with a sealed uplink: one without keys, one that has enrolled."""
    order = await make_order(world, credential_id=await make_credential(world))
    customer = await make_customer(world, external_id=f"o-{prefix}-{world.code}")
    sealed = await make_sealed(world, serial=f"SEALED-{prefix}")
    keyed = await enrolled(world, desk_at(""), await make_sealed(world, serial=f"KEYED-{prefix}"))
    dialling = await make_dialling(world, serial=f"DTU-{prefix}")
    command = await ask_command(world)
    tariff = await make_tariff(world, name=f"Shops {prefix}")
    await in_force(world, tariff)
    tomorrow = world.clock.now() + timedelta(days=1)
    draft = await make_draft(world, tariff, effective_at=tomorrow)
    submitted = await submit(world, await make_draft(world, tariff, effective_at=tomorrow))
    change = await propose(world, tariff, started_at=tomorrow)
    at, link = world.clock.now(), f"{world.code}.{token()}"
    async with unit_of_work(world.group_id) as work:
        case_id = await open_case(
            work,
            project_id=world.project.id,
            kind="PAYMENT_MISMATCH",
            subject=f"order-{prefix}",
            detail={"reason": "a test"},
            at=at,
        )
        assert case_id is not None
        operator = await tenancy.add_operator(
            work, scope=world.scope, login=f"li{prefix}", name="Li", password_hash="-", at=at
        )
        free = await metering.add_meter(
            work,
            scope=world.scope,
            gateway=world.gateway,
            serial=f"FREE-{prefix}",
            model=meter_models()["DDSY1352-NK"],
            bus_address="200",
            at=at,
        )
        for meter in (free, world.meter):
            reading = reading_of(meter.id, at=at, total=1_234_567, remaining_hao=200_000)
            await store_readings(work, readings=[reading])
        await _pay_link(work, world, link, customer.id)
    return Things(
        Project=ref("Project", world.project.id),
        Area=ref("Area", world.area.id),
        Account=ref("Account", world.account.id),
        Gateway=ref("Gateway", world.gateway.id),
        SealedGateway=ref("Gateway", sealed.id),
        KeyedGateway=ref("Gateway", keyed.gateway.id),
        DialInGateway=ref("Gateway", dialling.id),
        Meter=ref("Meter", world.meter.id),
        FreeMeter=ref("Meter", free.id),
        TopUp=ref("TopUp", order.id),
        Case=ref("Case", case_id),
        Command=ref("Command", command.id),
        Operator=ref("Operator", operator.id),
        Tariff=ref("Tariff", tariff.id),
        TariffVersion=ref("TariffVersion", draft.id),
        SubmittedVersion=ref("TariffVersion", submitted.id),
        TariffChange=ref("TariffChange", change.id),
        **await make_alarm_things(world),
        **await make_money_things(world, prefix=prefix),
        **await make_reconcile_things(world, prefix=prefix),
        **await make_charge_things(world, prefix=prefix),
        **await make_occupancy_things(world, prefix=prefix),
        **await make_supply_things(world, prefix=prefix),
        link=link,
        order_id=order.id,
    )


async def _pay_link(work: UnitOfWork, world: World, link: str, customer_id: UUID) -> None:
    await create_link(
        work,
        token_digest=digest(link),
        account_id=world.account.id,
        customer_id=customer_id,
        amount_fen=5000,
        at=world.clock.now(),
    )


def nothing() -> Things:
    """Ids that no object has."""
    kinds = (
        "Project",
        "Area",
        "Account",
        "Gateway",
        "Meter",
        "TopUp",
        "Case",
        "Alarm",
        "Command",
        "Operator",
        "Tariff",
        "TariffVersion",
        "TariffChange",
        "Refund",
        "Shift",
        "BillDay",
        "BillItem",
        "MeterProof",
        "Charge",
        "CreditClass",
        "SupplyRequest",
        "Timetable",
        "Timing",
        "LoadGuard",
    )
    made = {kind: ref(kind, new_id()) for kind in kinds}
    made |= {kind: ref("Gateway", new_id()) for kind in _GATEWAYS}
    made |= no_occupancy_things()
    made |= no_batch_things()
    made["SubmittedVersion"] = ref("TariffVersion", new_id())
    made |= {"ChargedAccount": ref("Account", new_id()), "HeldMeter": ref("Meter", new_id())}
    meters = ("SilentMeter", "ProtectedMeter", "EmergencyMeter", "LockedMeter")
    made |= {kind: ref("Meter", new_id()) for kind in meters}
    made |= {kind: ref("Account", new_id()) for kind in ("JoiningAccount", "SharingAccount")}
    made |= {"PaidTopUp": ref("TopUp", new_id()), "RightAccount": ref("Account", new_id())}
    return Things(**made, FreeMeter=ref("Meter", new_id()), link="none.none", order_id=new_id())


def malformed(things: Things, text: str) -> Things:
    """The same ids all replaced by `text`."""
    names = [name for name in Things.__annotations__ if name not in ("link", "order_id")]
    return replace(things, **dict.fromkeys(names, text))  # type: ignore[arg-type] # all are str


async def order_of_another_account(world: World) -> str:
    """A top-up of the same project, but of another account than the link's."""
    account = await make_account(world, no="100077")
    order = await make_order(world, credential_id=await make_credential(world), account=account)
    return ref("TopUp", order.id)
