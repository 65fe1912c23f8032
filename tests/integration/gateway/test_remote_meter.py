"""The cloud's RemoteMeter against a real agent and bus: the same ports, and errors that mean the same."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest

from backend.control.rules import VendFacts, VendStep, Wallet, decide_vend
from backend.kernel.clock import SetClock
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.money import Money
from backend.uplink.errors import CommandExpired, TripHeld
from backend.uplink.message import Cmd, Dar, Res
from workers.drivers.ports import Driver, Relay
from workers.links.errors import LinkDown, NoAnswer
from workers.links.lane import Priority
from workers.links.remote import RemoteMeter
from workers.protocols.errors import FrameError, MeterRefused

from .conftest import START, Box, World
from .simulated_time import TrueClock
from .test_commands import lose_what_follows, sales_of


def remote(box: Box, *, serial: str = "230000000001", timeout_s: float = 5.0) -> RemoteMeter:
    """The meter as the cloud drives it."""
    return RemoteMeter(
        model="DDSY1352-NK",
        serial=serial,
        command=partial(box.cloud.command, box.keys.gateway, timeout_s=timeout_s),
        clock=TrueClock(box.pace),
    )


async def test_what_is_read_far_away_is_what_a_driver_at_the_bus_reads(world: World) -> None:
    box = await world.running()
    meter: Driver = remote(box)
    far = await meter.read()
    plan = box.alive.buses.meter("230000000001")
    assert plan is not None
    async with box.alive.buses.turn(plan, Priority.READ) as near_driver:
        near = await near_driver.read()
    for name in ("total", "bands", "remaining", "purchase_count", "relay", "flags", "power_w"):
        assert getattr(far, name) == getattr(near, name), name
    assert (far.voltage_mv, far.current_ma) == (near.voltage_mv, near.current_ma)
    assert far.meter_clock == near.meter_clock


async def test_the_crown_rule_holds_through_a_lost_credit(world: World) -> None:
    box = await world.running()
    meter, amount = remote(box), Money.parse("50.00")
    before = await meter.wallet()
    lose_what_follows(box.meter(), answers=1, fault="lose_requests")
    with pytest.raises(NoAnswer):
        await meter.credit(amount=amount, purchase_count=5)
    steps = []
    for _ in range(2):
        wallet = await meter.wallet()
        facts = VendFacts(5, amount, Wallet(before.purchase_count, before.remaining))
        step, _ = decide_vend(facts, Wallet(wallet.purchase_count, wallet.remaining))
        steps.append(step)
        if step is VendStep.SEND:
            await meter.credit(amount=amount, purchase_count=5)
    assert steps == [VendStep.SEND, VendStep.VERIFIED]
    assert await sales_of(box.meter()) == [(5, 5000)]


async def test_a_sale_that_the_meter_has_already_returns_and_a_wrong_number_is_refused(
    world: World,
) -> None:
    box = await world.running()
    meter, amount = remote(box), Money.parse("50.00")
    await meter.credit(amount=amount, purchase_count=5)
    await meter.credit(amount=amount, purchase_count=5)
    assert await sales_of(box.meter()) == [(5, 5000)]
    with pytest.raises(MeterRefused) as refused:
        await meter.credit(amount=amount, purchase_count=9)
    assert refused.value.refusal == Dar.COUNT_WRONG
    for wrong in (Money(0), Money(50), -amount):
        with pytest.raises(InvalidInput):
            await meter.credit(amount=wrong, purchase_count=6)


async def test_switches_and_what_the_model_has_not(world: World) -> None:
    box = await world.running()
    meter = remote(box)
    await meter.trip()
    assert (await meter.read()).relay is Relay.OPEN
    world.pace.advance(timedelta(seconds=1))
    await meter.keep_power()
    assert (await meter.read()).relay is Relay.CLOSED
    await meter.release()
    with pytest.raises(Conflict):
        await meter.allow_close()
    with pytest.raises(Conflict):
        await meter.close()
    with pytest.raises(Conflict):
        await remote(box, serial="230000000077").read()


async def test_far_errors_mean_what_near_ones_mean(world: World) -> None:
    box = await world.running()
    meter = remote(box)
    box.meter().faults.silent = True
    with pytest.raises(NoAnswer):
        await meter.read()
    with pytest.raises(LinkDown):
        await meter.credit(amount=Money.parse("1.00"), purchase_count=5)
    await box.buses[0].set_offline(True)
    with pytest.raises(LinkDown):
        await meter.read()
    world.cloud.cut()
    await world.cloud.stop()
    with pytest.raises(LinkDown):
        await meter.read()


@pytest.mark.parametrize(
    ("dar", "error"),
    [
        (Dar.NOT_SENT, LinkDown),
        (Dar.REFUSED, MeterRefused),
        (Dar.NOT_SUPPORTED, Conflict),
        (Dar.NO_METER, Conflict),
        (Dar.OUT_OF_RANGE, InvalidInput),
        (Dar.DUPLICATE, NoAnswer),
        (Dar.COUNT_WRONG, MeterRefused),
        (Dar.TIME_TAG, CommandExpired),
        (Dar.NO_ANSWER, NoAnswer),
        (Dar.BROKEN_ANSWER, FrameError),
        (Dar.TRIP_HELD, TripHeld),
        (Dar.SUPERSEDED, Conflict),
        (1, NoAnswer),
        (255, NoAnswer),
    ],
)
async def test_every_answer_has_its_error_and_the_unknown_may_have_acted(
    dar: int, error: type[Exception]
) -> None:
    async def answering(cmd: Cmd) -> Res:
        return Res(cmd.cmd_id, dar)

    meter = RemoteMeter(model="M", serial="1", command=answering, clock=SetClock(START))
    with pytest.raises(error):
        await meter.trip()


async def test_a_trip_that_waited_has_no_second_life_in_a_gateways_queue() -> None:
    sent: list[Cmd] = []

    async def queue(cmd: Cmd) -> Res:
        sent.append(cmd)
        return Res(cmd.cmd_id, Dar.SUCCESS)

    meter = RemoteMeter(model="M", serial="1", command=queue, clock=SetClock(START))
    await meter.trip()
    await meter.trip(until=START + timedelta(seconds=7))
    await meter.trip(until=START + timedelta(hours=1))
    with pytest.raises(CommandExpired):
        await meter.trip(until=START)
    lives = [(cmd.expires - cmd.issued).total_seconds() for cmd in sent]
    assert lives == [120, 7, 120]


async def test_a_credit_that_came_too_late_says_that_nothing_was_sent() -> None:
    async def late(cmd: Cmd) -> Res:
        return Res(cmd.cmd_id, Dar.TIME_TAG)

    meter = RemoteMeter(model="M", serial="1", command=late, clock=SetClock(START))
    with pytest.raises(LinkDown):
        await meter.credit(amount=Money.of_fen(1), purchase_count=1)


async def test_an_answer_without_what_was_asked_is_broken() -> None:
    async def bare(cmd: Cmd) -> Res:
        return Res(cmd.cmd_id, Dar.SUCCESS)

    async def strange(cmd: Cmd) -> Res:
        return Res(UUID(int=cmd.cmd_id.int ^ 1), Dar.SUCCESS)

    meter = RemoteMeter(model="M", serial="1", command=bare, clock=SetClock(START))
    with pytest.raises(FrameError):
        await meter.read()
    with pytest.raises(FrameError):
        await meter.wallet()
    with pytest.raises(NoAnswer):
        await RemoteMeter(model="M", serial="1", command=strange, clock=SetClock(START)).trip()
