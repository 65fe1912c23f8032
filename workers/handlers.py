"""What is done about each outbox topic. A handler may say when it wants the event back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

from backend.journeys.ask_channel import ask_channel
from backend.journeys.deliver import deliver
from backend.journeys.notice import settle_notice
from backend.journeys.refund_sending import pursue
from backend.journeys.supply_look import restore_paid
from backend.journeys.switched import tell_of
from backend.journeys.webhook import send_webhook
from workers.batch import batch_due
from workers.charge import charge_due
from workers.command import command_due
from workers.context import WorkerContext
from workers.control import vend_due
from workers.occupancy import closing_due, takedown_due
from workers.reconcile import bill_due, late_due, proof_due, statement_due
from workers.sweep import meter_refresh, sweep_due

Handler = Callable[[WorkerContext, int, Mapping[str, str]], Awaitable[datetime | None]]


async def _payment_noticed(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    await settle_notice(context.ports, group_id=group_id, inbox_id=UUID(payload["inbox_id"]))
    return None


async def _topup_query(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    return await ask_channel(context.ports, group_id=group_id, order_id=UUID(payload["order_id"]))


async def _refund_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    refund_id = UUID(payload["refund_id"])
    return await pursue(context.ports, group_id=group_id, refund_id=refund_id)


async def _message_send(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    return await deliver(context.ports, group_id=group_id, payload=payload)


async def _webhook_send(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    await send_webhook(context.ports, group_id=group_id, payload=payload)
    return None


async def _vend_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    await vend_due(context, group_id, payload)
    return None


async def _command_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    return await command_due(context, group_id, payload)


async def _supply_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    ports, purse = context.ports, UUID(payload["purse"])
    await restore_paid(
        group_id=group_id, purse=purse, models=ports.meter_models, at=ports.clock.now()
    )
    return None


async def _supply_switched(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    # Before 0028 an event was of one command.
    told = payload.get("command_ids") or payload["command_id"]
    await tell_of(group_id=group_id, command_ids=[UUID(each) for each in told.split(",")])
    return None


async def _sweep_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    await sweep_due(context, group_id, payload)
    return None


async def _meter_refresh(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    await meter_refresh(context, group_id, payload)
    return None


async def _charge_due(
    context: WorkerContext, group_id: int, payload: Mapping[str, str]
) -> datetime | None:
    await charge_due(context, group_id, payload)
    return None


HANDLERS: dict[str, Handler] = {
    "payment.noticed": _payment_noticed,
    "topup.query": _topup_query,
    "refund.due": _refund_due,
    "message.send": _message_send,
    "webhook.send": _webhook_send,
    "vend.due": _vend_due,
    "command.due": _command_due,
    "batch.due": batch_due,
    "supply.due": _supply_due,
    "supply.switched": _supply_switched,
    "sweep.due": _sweep_due,
    "meter.refresh": _meter_refresh,
    "charge.due": _charge_due,
    "takedown.due": takedown_due,
    "closing.due": closing_due,
    "bill.due": bill_due,
    "bill.late": late_due,
    "proof.due": proof_due,
    "statement.due": statement_due,
}
# Long work has a queue of its own: one long time-out would delay the recovery of every short job.
SLOW_TOPICS = frozenset({"sweep.due", "bill.due", "proof.due", "statement.due"})
# A person waits for these: they are begun where their bell is heard, not by a queue that is polled.
URGENT_TOPICS = frozenset(
    {"payment.noticed", "vend.due", "command.due", "batch.due", "supply.due", "meter.refresh"}
)
# Where sweeps have a process of their own it hands these on as well, by its tick: rounds of batches, which go
# on for many seconds (docs/adr/0014), and all that is slow. Claiming five hundred sweeps that begin together
# takes as long as many commands do, and who hears their bells makes one claim after the other.
LONG_TOPICS = SLOW_TOPICS | {"batch.due"}
# A late answer to these is worthless: they are dropped after a few tries instead of kept for ever.
GIVE_UP_AFTER = {"meter.refresh": 3, "sweep.due": 3, "message.send": 40, "webhook.send": 40}
