"""When the line, the meter or the worker fails in the middle of a command: look first (C9, C12, C19)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from backend.control.command_rules import MOST_WRITES, CommandKind, CommandState
from backend.kernel.money import Money
from backend.uplink.message import Cmd, Dar, Op, Res
from workers.at_meter import WRITES_A_TRY
from workers.buses import Turn
from workers.drivers.ports import Driver
from workers.drivers.registers import registers_of
from workers.links.errors import LinkDown, NoAnswer
from workers.links.lane import Priority
from workers.links.remote import RemoteMeter

from .commanded import ELECTRIC, VALVE, Post

TRIP, KEEP, RELEASE = CommandKind.TRIP, CommandKind.KEEP_POWER, CommandKind.RELEASE
VERIFIED, FAILED, SENT = CommandState.VERIFIED, CommandState.FAILED, CommandState.SENT
PRICES = [("spike", Money.parse("1.2")), ("peak", Money.parse("0.9876"))]


async def test_what_acted_without_an_answer_is_found_by_the_read_back_and_not_sent_again(
    post: Post,
) -> None:
    post.meter().faults.drop_write_answers = 1
    done = await post.done(TRIP)
    assert (done.state, done.writes, done.accepted_at) == (VERIFIED, 1, None)
    assert post.ear.heard == [1]


async def test_what_never_arrived_is_sent_again_after_a_look(post: Post) -> None:
    post.ear.lost = 1
    done = await post.done(TRIP)
    assert (done.state, done.writes, done.relay_before) == (VERIFIED, 2, True)
    assert not post.closed


async def test_a_closed_relay_proves_no_forced_state_that_the_meter_never_acknowledged(
    post: Post,
) -> None:
    """The relay was closed before: without the meter's answer KEEP_POWER is sent again."""
    post.ear.lost = 1
    done = await post.done(KEEP)
    assert (done.state, done.writes) == (VERIFIED, 2)
    assert post.meter().state().forced


async def test_what_no_relay_can_show_is_sent_again_until_the_meter_takes_it(post: Post) -> None:
    """Without money a release may leave the relay as it likes: only the meter's answer tells."""
    empty = await post.add_meter(model="DDSY1352-NK", bus_address="2")
    await post.done(KEEP, meter=empty)
    post.meter(2).faults.drop_write_answers = 1
    done = await post.done(RELEASE, meter=empty)
    assert (done.state, done.writes) == (VERIFIED, 2)
    assert (done.relay_before, done.relay_after) == (True, False)


async def test_a_worker_that_died_before_its_write_left_has_its_successor_look_and_write(
    post: Post,
) -> None:
    asked = await post.ask(TRIP)
    await post.announce(asked)
    assert (await post.now(asked)).state is SENT
    await post.serve(asked)
    done = await post.now(asked)
    assert (done.state, done.writes, post.ear.heard) == (VERIFIED, 2, [1])


async def test_a_worker_that_died_after_its_write_has_its_successor_look_and_not_write(
    post: Post,
) -> None:
    asked = await post.ask(TRIP)
    await post.announce(asked)
    bus = await post.context.buses.bus(post.world.gateway)
    async with bus.turn(Priority.CUT) as turn:
        await turn.driver(post.world.meter).trip()
    await post.serve(asked)
    done = await post.now(asked)
    assert (done.state, done.writes, post.ear.heard) == (VERIFIED, 1, [1])


async def test_a_refused_write_fails_with_the_meters_words_and_the_relay_as_it_is(
    post: Post,
) -> None:
    post.ear.refused = 1
    done = await post.done(TRIP)
    assert (done.state, done.relay_after) == (FAILED, True)
    assert (done.outcome or "").startswith("the meter refuses")
    assert post.ear.heard == [1]


async def test_a_meter_that_says_yes_and_does_nothing_is_no_success(post: Post) -> None:
    asked = await post.ask(TRIP)
    post.ear.idle = 1
    again_at = await post.serve(asked)
    assert again_at is not None
    assert again_at - post.clock.now() == timedelta(seconds=5)
    assert (await post.now(asked)).state is SENT
    post.clock.advance(timedelta(seconds=61))
    assert await post.serve(asked) is None
    done = await post.now(asked)
    assert (done.state, done.relay_after) == (FAILED, True)
    assert done.outcome == "the meter said that it took it, but the relay is closed"
    assert post.ear.heard == [1], "what the meter took is not sent again"


async def test_a_valve_that_moves_for_seconds_is_waited_for(post: Post) -> None:
    valve = await post.add_meter(model="JICHENG-188-VALVE", bus_address=VALVE)
    asked = await post.ask(TRIP, meter=valve)
    assert await post.serve(asked) is not None
    assert (await post.now(asked)).state is SENT
    post.clock.advance(timedelta(seconds=15))
    assert await post.serve(asked) is None
    done = await post.now(asked)
    assert (done.state, done.relay_before, done.relay_after) == (VERIFIED, True, False)
    assert (await post.done(KEEP, meter=valve)).state is FAILED, "a valve has no forced state"


async def test_a_meter_that_answers_reads_but_no_write_is_not_written_to_for_a_day(
    post: Post,
) -> None:
    post.ear.lost = 1000
    asked = await post.ask(KEEP)
    for _ in range(MOST_WRITES // WRITES_A_TRY - 1):
        with pytest.raises(NoAnswer):
            await post.serve(asked)
        post.clock.advance(timedelta(minutes=1))
    assert await post.serve(asked) is None
    assert (await post.now(asked)).state is FAILED
    assert len(post.ear.heard) == MOST_WRITES


async def test_a_worker_killed_between_the_meters_deed_and_its_record_is_made_good(
    post: Post,
) -> None:
    asked = await post.ask(TRIP)
    post.ear.stalled = 1
    killed = asyncio.create_task(post.serve(asked))
    async with asyncio.timeout(10):
        await post.ear.acted.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    left = await post.now(asked)
    assert (left.state, left.sent_at, post.closed) == (SENT, post.clock.now(), False)
    await post.serve(asked)
    assert (await post.now(asked)).state is VERIFIED
    assert post.ear.heard == [1]


async def test_two_workers_with_the_same_command_write_it_once(post: Post) -> None:
    asked = await post.ask(KEEP)
    await asyncio.gather(*(post.serve(asked) for _ in range(4)))
    assert (await post.now(asked)).state is VERIFIED
    assert post.ear.heard == [1]
    assert len(await post.audited("meter:command:end")) == 1
    post.ear.idle = 2
    slow = await post.ask(TRIP)
    await asyncio.gather(*(post.serve(slow) for _ in range(2)))
    assert (await post.now(slow)).state is SENT
    assert post.ear.heard == [1, 1], "the other one waits for the meter as well"


async def test_a_release_that_leaves_a_paid_meter_dark_is_no_success(post: Post) -> None:
    await post.done(TRIP)
    asked = await post.ask(RELEASE)
    post.ear.idle = 1
    assert await post.serve(asked) is not None
    post.clock.advance(timedelta(seconds=61))
    await post.serve(asked)
    done = await post.now(asked)
    assert (done.state, done.relay_after) == (FAILED, False)


async def test_prices_that_hold_from_a_later_minute_on_are_waited_for(post: Post) -> None:
    meter = await post.add_meter(model="GENERIC-645-2007", bus_address=ELECTRIC)
    asked = await post.ask(CommandKind.PRICES, meter=meter, prices=PRICES)
    assert await post.serve(asked) is not None
    assert (await post.now(asked)).state is SENT
    post.clock.advance(timedelta(minutes=3))
    assert await post.serve(asked) is None
    done = await post.now(asked)
    assert (done.state, done.writes, done.relay_after) == (VERIFIED, 1, None)


@pytest.mark.parametrize(
    ("dar", "state", "words"),
    [
        (Dar.TIME_TAG, None, "the command reached the meter's gateway too late"),
        (Dar.NOT_SENT, None, "the gateway does not reach the meter; nothing was sent"),
        (Dar.TRIP_HELD, FAILED, "no trip while the clocks of gateway and cloud differ"),
        (Dar.NO_METER, FAILED, "the gateway's site file does not have this meter"),
    ],
)
async def test_what_a_gateway_of_our_own_says_instead_of_obeying(
    dar: Dar,
    state: CommandState | None,
    words: str,
    post: Post,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gateway reads the meter as ever, and answers the trip with `dar`."""
    near_driver = Turn.scripted

    def far_driver(turn: Turn, meter: object) -> Driver:
        near = near_driver(turn, post.world.meter)

        async def obey(cmd: Cmd) -> Res:
            if cmd.op is not Op.READ:
                return Res(cmd.cmd_id, dar)
            read = registers_of(await near.read(), kind="electricity", at=post.clock.now())
            return Res(cmd.cmd_id, Dar.SUCCESS, reading=read)

        return RemoteMeter(model="DDSY1352-NK", serial="1", command=obey, clock=post.clock)

    monkeypatch.setattr(Turn, "scripted", far_driver)
    asked = await post.ask(TRIP)
    if state is None:
        with pytest.raises(LinkDown):
            await post.serve(asked)
    else:
        assert await post.serve(asked) is None
    done = await post.now(asked)
    assert (done.state, done.outcome) == (state or SENT, words)
    assert (post.ear.heard, post.closed) == ([], True)
