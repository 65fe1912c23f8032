"""The day's bill finds what notices lost and what somebody did beside the book (C5, C6)."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from backend.bootstrap import build_ports
from backend.journeys.ask_channel import ask_channel
from backend.journeys.ports import Ports
from backend.journeys.reconcile import reconcile_day
from backend.journeys.reconcile_desk import close_day, resolve_item
from backend.journeys.settle import settle
from backend.kernel.clock import SystemClock, business_day, day_period
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Actor, Scope
from backend.reconcile import bills
from backend.reconcile.models import DayState
from backend.reconcile.rules import BillClass
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.queries import Credential, credential_by_id
from backend.tenancy.rules import Permission
from backend.topups.ports import Payment, PaymentState, RefundRequest
from workers.models import meter_models

from .town import Town, running_town

FATES = ("lost", "tampered", "changed", "refunded", "imagined")
NOTE = "cleared with the merchant platform"


async def credential_of(town: Town, ports: Ports, group_id: int) -> Credential:
    """Our merchant account at WeChat Pay."""
    id_ = await town.value("SELECT id FROM tenancy_credential WHERE kind = 'WECHAT_PAY'")
    async with unit_of_work(group_id) as work:
        return await credential_by_id(work, box=ports.box, credential_id=id_)


async def order_id(town: Town, order_no: str) -> UUID:
    """Our order of that number."""
    found: UUID = await town.value("SELECT id FROM topups_order WHERE order_no = $1", order_no)
    return found


async def plan(town: Town, credential: Credential, group_id: int) -> UUID:
    """The bill of today, as it is planned for tomorrow at ten."""
    at = SystemClock().now()
    assert credential.project_id is not None
    async with unit_of_work(group_id) as work:
        day_id = await bills.plan_day(
            work,
            project_id=credential.project_id,
            credential_id=credential.id,
            day=business_day(at),
            at=at,
        )
    assert day_id is not None
    return day_id


async def ordered(town: Town) -> dict[str, str]:
    """Five orders of different amounts, none of them paid, and no worker any more: by their fate."""
    town.start_worker()
    await town.bind()
    orders = {
        name: await town.order(
            await town.link(f"充值 {yuan}"), amount=f"{yuan}.00", key=f"flow-{name}"
        )
        for yuan, name in zip((50, 60, 70, 80, 90), FATES, strict=True)
    }
    await town.stop_worker()
    return orders


async def spoil(
    town: Town, ports: Ports, credential: Credential, group_id: int, orders: dict[str, str]
) -> None:
    """Let each order have its fate, beside the book or beside the channel."""
    for name in FATES[:4]:
        await town.pay(orders[name])  # nobody works on the notice
    for name in ("changed", "refunded"):
        await ask_channel(ports, group_id=group_id, order_id=await order_id(town, orders[name]))
    # Somebody changes the amount of an order: of one before, of one after its payment was booked.
    async with unit_of_work(group_id) as work:
        for name in ("tampered", "changed"):
            await work.execute(
                "UPDATE topups_order SET amount_fen = amount_fen - 100 WHERE order_no = $1",
                orders[name],
            )
    # Somebody gives money back at the merchant platform.
    await ports.payment_channel(group_id, credential).refund(
        RefundRequest(orders["refunded"], "PLATFORM1", 3000, 8000, "by hand")
    )
    # And the book has a payment that the channel never had.
    forged = Payment(
        order_no=orders["imagined"],
        state=PaymentState.PAID,
        merchant_id=credential.key,
        app_id=credential.public["app_id"],
        amount_fen=9000,
        currency="CNY",
        transaction_id="4200000000imagined",
        paid_at=day_period(business_day(SystemClock().now())).start,
    )
    await settle(
        ports, group_id=group_id, credential_id=credential.id, payment=forged, source="test"
    )


async def test_the_bill_finds_lost_notices_wrong_amounts_and_refunds_beside_the_book(
    services: EmbeddedServices, tmp_path: Path, unique: str
) -> None:
    async with running_town(services, tmp_path, unique) as town:
        orders, group_id, clock = await ordered(town), await town.group_id(), SystemClock()
        ports = build_ports(town.settings, clock=clock, meter_models=meter_models())
        credential = await credential_of(town, ports, group_id)
        await spoil(town, ports, credential, group_id, orders)

        day_id = await plan(town, credential, group_id)
        await reconcile_day(ports, group_id=group_id, day_id=day_id)
        async with unit_of_work(group_id) as work:
            still = await bills.open_items(work, day_id=day_id)
        found = {item.order_no: (item.kind, item.ours_fen, item.theirs_fen) for item in still}
        assert found == {
            orders["tampered"]: (BillClass.ONLY_THEIRS, None, 6000),
            orders["changed"]: (BillClass.AMOUNT_DIFFERS, 6900, 7000),
            orders["refunded"]: (BillClass.REFUND_DIFFERS, None, 3000),
            orders["imagined"]: (BillClass.ONLY_OURS, 9000, None),
        }
        states = "SELECT state FROM topups_order WHERE order_no = $1"
        assert await town.value(states, orders["lost"]) == "PAID"
        assert await town.value(states, orders["tampered"]) == "CREATED"
        cases = "SELECT count(*) FROM alerts_case WHERE kind = $1 AND resolved_at IS NULL"
        assert await town.value(cases, "BILL_DIFFERS") == 4
        assert await town.value(cases, "PAYMENT_MISMATCH") == 1

        await reconcile_day(ports, group_id=group_id, day_id=day_id)
        assert await town.value("SELECT count(*) FROM reconcile_item") == 5, "and the lost one"
        may = frozenset({Permission.RECONCILE_READ, Permission.RECONCILE_WRITE})
        scope = Scope(group_id, Actor("operator", "1", "zhang"), may)
        for item in still:
            await resolve_item(scope=scope, item_id=item.id, note=NOTE, at=clock.now())
        closed = await close_day(scope=scope, day_id=day_id, note=NOTE, at=clock.now())
        assert (closed.state, closed.matched, closed.lines) == (DayState.CLOSED, 2, 5)
        assert await town.value("SELECT count(*) FROM reconcile_day", group=town.theirs) == 0
