"""Commands: sealed, once, in time, most urgent first; the meter's own word goes back with each answer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backend.uplink.message import Dar, Op, RelayState
from workers.gateway.board import LineState
from workers.virtual.prepaid import PrepaidMeter

from .conftest import World

SALE: dict[str, Any] = {"purchase_no": 5, "amount_fen": 5000}


async def sales_of(meter: PrepaidMeter) -> list[tuple[int, int]]:
    """(number, fen) of every sale the meter took, oldest first."""
    return [(sale.purchase_count, sale.amount_fen) for sale in reversed(await meter.sales())]


def lose_what_follows(meter: PrepaidMeter, *, answers: int, fault: str) -> None:
    """After so many answers of the meter, set `fault` once."""
    answer, left = meter.answer, [answers]

    async def counting(request: bytes, /) -> bytes | None:
        said = await answer(request)
        left[0] -= 1
        if left[0] == 0:
            setattr(meter.faults, fault, 1)
        return said

    # The virtual meter is the stand-in of the world here, not what is tested.
    vars(meter)["answer"] = counting


async def test_a_sale_is_taken_and_the_answer_carries_wallet_count_relay_and_reading(
    world: World,
) -> None:
    box = await world.running()
    res = await box.ask(Op.VEND, **SALE)
    assert (res.dar, res.wallet_fen, res.purchase_no) == (Dar.SUCCESS, 7000, 5)
    assert res.relay is RelayState.CLOSED
    assert res.reading is not None
    assert (res.reading.wallet_fen, res.reading.purchase_no) == (7000, 5)
    assert await sales_of(box.meter()) == [(5, 5000)]


async def test_the_same_command_twice_acts_once_and_brings_the_same_answer(world: World) -> None:
    box = await world.running()
    cmd = box.cmd(Op.VEND, **SALE)
    first = await world.cloud.command(box.keys.gateway, cmd)
    world.cloud.cut()
    await box.until(lambda: box.alive.board.line is not LineState.CONNECTED)
    world.pace.advance(timedelta(seconds=10))
    await box.connected()
    again = await world.cloud.command(box.keys.gateway, cmd)
    assert again == first
    assert again.dar == Dar.SUCCESS
    assert await sales_of(box.meter()) == [(5, 5000)]


async def test_a_replayed_frame_does_nothing_in_its_session_and_in_a_later_one(
    world: World,
) -> None:
    box = await world.running()
    cmd = box.cmd(Op.TRIP)
    frame = await world.cloud.send(box.keys.gateway, cmd)
    assert (await box.answer_to(cmd)).relay is RelayState.OPEN
    assert (await box.ask(Op.RELEASE)).relay is RelayState.CLOSED
    await world.cloud.send_raw(box.keys.gateway, frame)
    assert (await box.ask(Op.READ)).relay is RelayState.CLOSED
    world.cloud.cut()
    await box.until(lambda: box.alive.board.line is not LineState.CONNECTED)
    world.pace.advance(timedelta(seconds=10))
    await box.connected()
    await world.cloud.send_raw(box.keys.gateway, frame)
    assert (await box.ask(Op.READ)).relay is RelayState.CLOSED
    assert len(world.cloud.answers[cmd.cmd_id]) == 1


async def test_forged_and_foreign_frames_end_no_session(world: World) -> None:
    box, other = await world.running("ours"), await world.running("theirs")
    foreign = await world.cloud.send(other.keys.gateway, other.cmd(Op.TRIP))
    genuine = await world.cloud.send(box.keys.gateway, box.cmd(Op.READ))
    hellos = world.cloud.hellos
    for frame in (foreign, b"", b"x" * 500, genuine[:-1] + bytes([genuine[-1] ^ 1])):
        await world.cloud.send_raw(box.keys.gateway, frame)
    assert (await box.ask(Op.READ)).relay is RelayState.CLOSED
    assert world.cloud.hellos == hellos


async def test_a_commands_id_with_other_content_is_refused(world: World) -> None:
    box = await world.running()
    cmd = box.cmd(Op.VEND, **SALE)
    assert (await world.cloud.command(box.keys.gateway, cmd)).dar == Dar.SUCCESS
    forged = replace(cmd, purchase_no=6, amount_fen=999_00)
    assert (await world.cloud.command(box.keys.gateway, forged)).dar == Dar.REFUSED
    assert await sales_of(box.meter()) == [(5, 5000)]


@pytest.mark.parametrize(
    ("number", "dar"),
    [(3, Dar.COUNT_WRONG), (4, Dar.DUPLICATE), (6, Dar.COUNT_WRONG), (7, Dar.COUNT_WRONG)],
)
async def test_only_the_next_number_is_sold_and_the_wallet_stays_as_it_was(
    world: World, number: int, dar: Dar
) -> None:
    box = await world.running()
    res = await box.ask(Op.VEND, purchase_no=number, amount_fen=5000)
    assert (res.dar, res.wallet_fen, res.purchase_no) == (dar, 2000, 4)
    assert await sales_of(box.meter()) == []


async def test_a_sale_whose_answer_is_lost_is_told_by_the_wallet(world: World) -> None:
    box = await world.running()
    box.meter().faults.drop_write_answers = 1
    res = await box.ask(Op.VEND, **SALE)
    assert (res.dar, res.wallet_fen, res.purchase_no) == (Dar.SUCCESS, 7000, 5)
    assert await sales_of(box.meter()) == [(5, 5000)]


async def test_a_sale_that_never_reached_the_meter_is_not_resent_but_reported(
    world: World,
) -> None:
    box = await world.running()
    lose_what_follows(box.meter(), answers=1, fault="lose_requests")  # the wallet answers, then..
    res = await box.ask(Op.VEND, **SALE)
    assert (res.dar, res.wallet_fen, res.purchase_no) == (Dar.NO_ANSWER, 2000, 4)
    assert await sales_of(box.meter()) == []
    again = await box.ask(Op.VEND, **SALE)
    assert (again.dar, again.wallet_fen) == (Dar.SUCCESS, 7000)
    assert await sales_of(box.meter()) == [(5, 5000)]


async def test_a_sale_to_a_silent_meter_or_dead_bus_says_that_nothing_was_sent(
    world: World,
) -> None:
    box = await world.running()
    box.meter().faults.silent = True
    assert (await box.ask(Op.VEND, **SALE)).dar == Dar.NOT_SENT
    assert (await box.ask(Op.READ)).dar == Dar.NO_ANSWER
    await box.buses[0].set_offline(True)
    assert (await box.ask(Op.READ)).dar == Dar.NOT_SENT
    assert (await box.ask(Op.TRIP)).dar in (Dar.NOT_SENT, Dar.NO_ANSWER)


async def test_switching_is_read_back(world: World) -> None:
    box = await world.running()
    for op, relay in (
        (Op.TRIP, RelayState.OPEN),
        (Op.KEEP_POWER, RelayState.CLOSED),
        (Op.TRIP, RelayState.OPEN),
        (Op.RELEASE, RelayState.CLOSED),
    ):
        world.pace.advance(timedelta(seconds=1))
        res = await box.ask(op)
        assert (res.dar, res.relay) == (Dar.SUCCESS, relay), op
    wallet = await box.ask(Op.WALLET)
    assert (wallet.wallet_fen, wallet.purchase_no, wallet.reading) == (1999, 4, None)  # 4 s of use


async def test_what_the_box_or_the_model_cannot_do_is_said_and_not_tried(world: World) -> None:
    box = await world.running()
    assert (await box.ask(Op.READ, meter="230000000099")).dar == Dar.NO_METER
    assert (await box.ask(Op.TARIFF, tariff_ver=3)).dar == Dar.NOT_SUPPORTED
    assert (await box.ask(Op.ALLOW_CLOSE)).dar == Dar.NOT_SUPPORTED
    assert (await box.ask(Op.VEND, purchase_no=5, amount_fen=10**11)).dar == Dar.OUT_OF_RANGE
    assert await sales_of(box.meter()) == []


async def test_a_command_past_its_time_touches_no_meter(world: World) -> None:
    box = await world.running()
    late = [box.cmd(Op.TRIP), box.cmd(Op.VEND, **SALE)]
    world.pace.advance(timedelta(seconds=60))
    for cmd in late:
        assert (await world.cloud.command(box.keys.gateway, cmd)).dar == Dar.TIME_TAG
    assert box.meter().state().closed
    assert await sales_of(box.meter()) == []


@pytest.mark.parametrize("jump", [timedelta(0), timedelta(minutes=-4)])
async def test_a_command_that_waits_for_the_bus_past_its_time_touches_no_meter(
    world: World, jump: timedelta
) -> None:
    box = await world.running()
    cmd = box.cmd(Op.VEND, life_s=60, **SALE)
    async with AsyncExitStack() as busy:
        await box.holding(busy)
        await world.cloud.send(box.keys.gateway, cmd)
        await box.taken(cmd)
        world.pace.jump(jump)  # a clock set back must not give it more time
        world.pace.advance(timedelta(seconds=60))
    assert (await box.answer_to(cmd)).dar == Dar.TIME_TAG
    assert await sales_of(box.meter()) == []


async def test_the_most_urgent_command_goes_first(world: World) -> None:
    box = await world.running()
    two = "230000000002"
    cmds = [
        box.cmd(Op.READ, meter=two),
        box.cmd(Op.TRIP, meter=two),
        box.cmd(Op.VEND, **SALE),
        box.cmd(Op.RELEASE),
    ]
    async with AsyncExitStack() as busy:
        await box.holding(busy)
        for cmd in cmds:
            await world.cloud.send(box.keys.gateway, cmd)
        await box.taken(*cmds)
    for cmd in cmds:
        assert (await box.answer_to(cmd)).dar == Dar.SUCCESS
    assert [res.cmd_id for res in world.cloud.told] == [cmd.cmd_id for cmd in reversed(cmds)]


async def test_a_newer_restore_ends_the_trip_that_waits(world: World) -> None:
    box = await world.running()
    trip, restore = box.cmd(Op.TRIP), box.cmd(Op.RELEASE)
    async with AsyncExitStack() as busy:
        await box.holding(busy)
        for cmd in (trip, restore):
            await world.cloud.send(box.keys.gateway, cmd)
            await box.taken(cmd)
    assert (await box.answer_to(trip)).dar == Dar.SUPERSEDED
    assert (await box.answer_to(restore)).relay is RelayState.CLOSED
    assert box.meter().state().closed


async def test_an_answer_that_no_line_took_is_told_in_the_next_session(world: World) -> None:
    box = await world.running()
    cmd = box.cmd(Op.VEND, **SALE)
    async with AsyncExitStack() as busy:
        await box.holding(busy)
        await world.cloud.send(box.keys.gateway, cmd)
        await box.taken(cmd)
        await world.cloud.stop()
        await box.until(lambda: box.alive.board.line is LineState.OFFLINE)
    await box.until(lambda: not box.alive.executor.running())
    assert not world.cloud.answers[cmd.cmd_id]
    await world.cloud.start()
    await box.pass_time(timedelta(minutes=6))
    res = await box.answer_to(cmd)
    assert (res.dar, res.wallet_fen) == (Dar.SUCCESS, 7000)


async def test_a_command_reaches_only_the_gateway_of_its_group(world: World) -> None:
    ours, theirs = await world.running("ours"), await world.running("theirs")
    assert (await ours.ask(Op.VEND, **SALE)).dar == Dar.SUCCESS
    assert await sales_of(ours.meter()) == [(5, 5000)]
    assert await sales_of(theirs.meter()) == []
