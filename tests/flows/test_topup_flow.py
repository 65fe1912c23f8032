"""The main job and what can go wrong on its way, told as a tenant, a cashier or an auditor would."""

from __future__ import annotations

import asyncio
import re
import signal

from redis.asyncio import Redis

from backend.kernel.money import Money
from workers.drivers.modbus import ModbusDriver
from workers.links.tcp import TcpLink
from workers.profiles.loader import profile_of

from .town import WAIT_S, Town, until


async def test_a_shop_tenant_tops_up_in_wechat_and_the_meter_on_the_wall_is_credited(
    town: Town,
) -> None:
    assert "绑定" in await town.bind()
    assert "20.00" in await town.say("余额")
    order = await town.order(await town.link())
    assert (await town.wallet())[1] == 0, "asking for a link or a page charges nothing"

    await town.pay(order)
    await town.vend_state("VERIFIED")

    assert await town.sold_fen() == 5000
    assert (await town.wallet())[1] == 1
    assert await town.in_book_fen() == 5000

    async def told() -> bool | None:
        path = f"/wechat/control/inbox?appid={town.ours.app_id}&openid={town.shop.openid}"
        messages = (await town.control(path))["messages"]
        return any("充值到账" in str(m.get("text")) for m in messages) or None

    await until(told, "the message")
    reply = await town.say("余额")
    assert "70.00" in reply or "69.9" in reply, reply
    assert await town.value("SELECT count(*) FROM control_vend", group=town.theirs) == 0


async def test_a_lost_notice_is_made_up_for_by_asking_the_channel(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    await town.control("/wechat-pay/control/faults", {"lost_notice": 99})
    await town.pay(order)
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000


async def test_the_same_notice_many_times_credits_once(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    await town.control("/wechat-pay/control/faults", {"duplicate_notice": 5})
    await town.pay(order)
    again = {"out_trade_no": order}
    await asyncio.gather(*(town.control("/wechat-pay/control/notify", again) for _ in range(10)))
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == 5000
    assert await town.value("SELECT count(*) FROM control_vend") == 1


async def test_a_notice_of_another_amount_moves_no_money_and_becomes_a_case(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    await town.control("/wechat-pay/control/faults", {"wrong_amount_notice": 1})
    await town.pay(order)
    detail = await town.case("PAYMENT_MISMATCH")
    assert "amount" in detail["reason"]
    # The channel itself, asked actively, tells the truth: the order is settled by that.
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000


async def test_forged_and_stale_notices_are_refused_and_change_nothing(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    for fault in ("bad_signature_notice", "stale_notice"):
        await town.control("/wechat-pay/control/faults", {fault: 1, "lost_notice": 0})
        made = await town.control("/wechat-pay/control/notice", {"out_trade_no": order})
        credential = await town.value("SELECT id FROM tenancy_credential WHERE kind = 'WECHAT_PAY'")
        url = f"{town.api}/callbacks/wechat-pay/{await town.group_id()}/{credential}"
        answer = await town.client.post(url, content=made["body"], headers=made["headers"])
        assert answer.status_code == 401, (fault, answer.text)
    assert await town.value("SELECT state FROM topups_order") == "CREATED"
    assert await town.in_book_fen() == 0


async def test_money_for_an_offline_gateway_waits_and_arrives_when_it_is_back(town: Town) -> None:
    await town.bind()
    gateway = town.site.gateways[town.ours.sites[0].gateway]
    await gateway.set_offline(True)
    order = await town.order(await town.link())
    await town.pay(order)

    async def waiting() -> str | None:
        error: str | None = await town.value("SELECT last_error FROM control_vend")
        return error

    assert "gateway" in await until(waiting, "the reason of the wait")
    assert "离线" in await town.say("充值记录")
    await gateway.set_offline(False)
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000


async def test_a_meter_that_acts_but_does_not_answer_is_credited_once(town: Town) -> None:
    await town.bind()
    meter, _ = town.site.meters[town.shop.meter]
    meter.faults.drop_write_answers = 1
    await town.pay(await town.order(await town.link()))
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000
    assert (await town.wallet())[1] == 1


async def test_a_wrong_purchase_count_stops_selling_until_an_operator_has_looked(
    town: Town,
) -> None:
    await town.bind()
    link = await town.link()
    order = await town.order(link)
    # Somebody credited the meter past the cloud: its count is ahead of the ledger's.
    meter, gateway = town.site.meters[town.shop.meter]
    link_to_bus = TcpLink("127.0.0.1", gateway.port)
    driver = ModbusDriver(profile_of("DDSY1352-NK"), meter.spec.unit, link_to_bus.exchange)
    await driver.credit(amount=Money.of_fen(100), purchase_count=1)
    await link_to_bus.close()
    await town.pay(order)
    detail = await town.case("VEND_STOPPED")
    assert detail["meterPurchaseNo"] == "1"
    assert await town.sold_fen() == 100, "nothing was written to the meter"
    assert await town.in_book_fen() == 0, (
        "nothing is called credited that the meter does not confirm"
    )
    refused = await town.graphql(
        "mutation($t: String!, $k: String!) {"
        ' startTopUpByLink(token: $t, amount: "20.00", method: H5, idempotencyKey: $k) {'
        " __typename ... on Problem { message } } }",
        t=link,
        k="flow-key-2",
    )
    assert "stopped" in refused["startTopUpByLink"]["message"]


async def test_a_payment_after_the_order_was_closed_is_credited_not_dropped(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    closed = "UPDATE topups_order SET state = 'CLOSED', closed_at = now() RETURNING state"
    assert await town.value(closed) == "CLOSED"
    await town.pay(order, force=True)
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000


async def test_a_worker_killed_in_the_middle_and_a_flushed_redis_lose_and_double_nothing(
    town: Town,
) -> None:
    await town.bind()
    meter, _ = town.site.meters[town.shop.meter]
    meter.faults.delay_ms = 300
    await town.pay(await town.order(await town.link()))
    await town.vend_state("SENT")
    await town.stop_worker(signal.SIGKILL)
    async with Redis.from_url(town.services.valkey.url) as redis:
        await redis.flushall()
    await asyncio.to_thread(town.services.valkey.restart)
    meter.faults.delay_ms = 0
    # The dead worker's lease runs out in a minute; the test does not wait for the clock.
    await town.value("UPDATE outbox_event SET leased_until = NULL RETURNING 1")
    town.start_worker()
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000
    assert (await town.wallet())[1] == 1


async def test_two_payments_at_once_get_two_numbers_in_order(town: Town) -> None:
    await town.bind()
    link = await town.link()
    first = await town.order(link, "50.00", "flow-key-a")
    second = await town.order(link, "30.00", "flow-key-b")
    await asyncio.gather(town.pay(first), town.pay(second))
    await town.vend_state("VERIFIED", 2)
    assert await town.sold_fen() == await town.in_book_fen() == 8000
    assert (await town.wallet())[1] == 2


async def test_two_workers_share_one_bus_and_credit_each_payment_once(town: Town) -> None:
    town.start_worker()
    first, second = town.ours.sites[0].homes
    for home in (first, second):
        await town.bind(home)
    orders = [
        await town.order(
            await town.link("充值 50", home), amount, f"two-workers-{home.no}-{amount}"
        )
        for home in (first, second)
        for amount in ("10.00", "20.00", "30.00")
    ]
    await asyncio.gather(*(town.pay(order) for order in orders))
    await town.vend_state("VERIFIED", 6)
    for home in (first, second):
        assert await town.sold_fen(home) == 6000
        assert (await town.wallet(home))[1] == 3
    assert await town.in_book_fen() == 12000


async def test_a_notice_for_a_group_or_merchant_that_is_not_there_is_refused(town: Town) -> None:
    missing = "01890000-0000-7000-8000-000000000000"
    for group in ("0", "999999", "9" * 30):
        url = f"{town.api}/callbacks/wechat-pay/{group}/{missing}"
        assert (await town.client.post(url, content=b"{}")).status_code == 404


async def test_a_payment_made_while_redis_is_down_is_credited_when_it_is_back(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    await asyncio.to_thread(town.services.valkey.stop)
    await town.pay(order)

    async def noticed() -> bool | None:
        waiting = "SELECT count(*) FROM outbox_event WHERE topic = 'payment.noticed'"
        return True if await town.value(waiting) == 1 else None

    await until(noticed, "the notice, kept by PostgreSQL alone")
    health = (await town.client.get(f"{town.api}/health")).json()
    assert health == {"database": "ok", "redis": "down"}
    assert re.search(r"余额 (20\.00|19\.9\d) 元", await town.say("余额")), (
        "the bot answers without its memory"
    )
    await asyncio.to_thread(town.services.valkey.restart)
    await town.vend_state("VERIFIED")
    assert await town.sold_fen() == await town.in_book_fen() == 5000


async def test_a_restart_of_postgresql_in_between_delays_but_loses_nothing(town: Town) -> None:
    await town.bind()
    order = await town.order(await town.link())
    gateway = town.site.gateways[town.ours.sites[0].gateway]
    await gateway.set_offline(True)
    await town.pay(order)
    await asyncio.to_thread(town.services.postgres.restart)
    await gateway.set_offline(False)
    # What a worker held when its database went away is leased for half a minute; not waited for here. What
    # it took up in between is leased anew.
    await until(lambda: _answered(town), "the database")
    await town.value("UPDATE outbox_event SET leased_until = NULL, due_at = now() RETURNING 1")
    await town.vend_state("VERIFIED", within_s=2 * WAIT_S)
    assert await town.sold_fen() == await town.in_book_fen() == 5000


async def _answered(town: Town) -> bool | None:
    return True if (await town.client.get(f"{town.api}/health")).status_code == 200 else None
