"""Commands given together to meters of one gateway are one errand: one announcement, and nobody left in the
dark by it (C10, C19, C21, C22; docs/adr/0014)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import asyncpg
import pytest

from backend.control.command_rules import CommandKind, CommandState, Order
from backend.control.command_steps import Writing
from backend.control.commands import Command
from backend.journeys import serve_command as journey
from backend.journeys.command import command_meters, tend
from backend.kernel import failpoints
from backend.kernel.db import unit_of_work
from backend.kernel.failpoints import Moment, Place
from backend.metering import operations as metering
from backend.metering.models import Meter
from backend.outbox.operations import finish
from backend.sandbox.embedded.services import EmbeddedServices
from workers.bus_lease import BusLease
from workers.buses import Buses
from workers.drivers.access import Access
from workers.links.errors import LinkDown
from workers.links.lane import Priority
from workers.models import meter_models
from workers.virtual import rtu

from .commanded import ELECTRIC, WHY, Post, until
from .world import START, make_meter

TRIP, KEEP = CommandKind.TRIP, CommandKind.KEEP_POWER
QUEUED, SENT, SUPERSEDED = CommandState.QUEUED, CommandState.SENT, CommandState.SUPERSEDED
VERIFIED, FAILED = CommandState.VERIFIED, CommandState.FAILED
SECOND = timedelta(seconds=1)


@pytest.fixture
async def pair(post: Post) -> list[Meter]:
    """The meters at units 1 and 2 of one bus, both with power."""
    other, _ = await make_meter(
        post.world, serial="METER-2", bus_address=2, account=post.world.account
    )
    await post.done(KEEP, meter=other)
    post.ear.heard.clear()
    post.clock.advance(SECOND)
    for event in await post.due():
        async with unit_of_work(post.world.group_id) as work:
            await finish(work, event_id=event.id, at=post.clock.now())
    return [post.world.meter, other]


async def give(
    post: Post, meters: Sequence[Meter], order: Order | None = None
) -> tuple[list[Command], list[dict[str, str]]]:
    """An operator commands meters together; the commands, and the payloads of their events."""
    async with unit_of_work(post.world.group_id) as work:
        told = await command_meters(
            work,
            meters=meters,
            order=order or Order(TRIP, WHY),
            models=meter_models(),
            actor=post.world.scope.actor,
            at=post.clock.now(),
        )
    return [told.of(meter.id) for meter in meters], [dict(e.payload) for e in await post.due()]


async def states(post: Post, commands: Sequence[Command]) -> list[CommandState]:
    """How commands stand now."""
    return [(await post.now(each)).state for each in commands]


async def announced(post: Post, command: Command) -> None:
    """Wait until the commit before its write."""

    async def sent() -> bool:
        return (await post.now(command)).state is SENT

    await until(sent)


def when_asked(post: Post, unit: int, do: Callable[[], Awaitable[None]], *, writes: bool) -> None:
    """Do something once, when a read (or a write) came to a meter and before it is answered."""
    meter, left = post.meter(unit), [do]
    answer = meter.answer

    async def hear(request: bytes, /) -> bytes | None:
        if left and rtu.RTU.writes(request) is writes:
            await left.pop()()
        return await answer(request)

    meter.answer = hear  # type: ignore[method-assign] # an ear at the meter, not another meter


async def test_trips_given_together_at_a_gateway_are_each_announced_written_and_read_back(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    assert payload == {"command_ids": f"{trips[0].id},{trips[1].id}"}
    commits: list[str] = []

    def note(place: Place, moment: Moment) -> None:
        if moment is Moment.COMMITTED:
            commits.append(place.function)

    with failpoints.armed(note):
        assert await post.go(payload) is None
    # Each announcement has another meter's look or write to hide behind; what came of them is one commit.
    assert commits == ["_take_all", "_announce_all", "_announce_all", "_end_all"]
    assert post.ear.heard == [1, 2]
    assert await states(post, trips) == [VERIFIED, VERIFIED]
    assert not post.closed
    assert not post.meter(2).state().closed
    assert len(await post.audited("meter:command:end")) == 3  # with the one that gave unit 2 power
    post.clock.advance(timedelta(minutes=2))
    assert [each.payload for each in await post.due()] == [payload], "nobody goes on alone"


async def test_an_errand_is_of_few_meters_of_one_gateway_and_settings_go_alone(
    post: Post, pair: list[Meter]
) -> None:
    far = await _moved_away(post, pair[1])
    near = [
        pair[0],
        *[await post.add_meter(model="DDSY1352-NK", bus_address=str(n)) for n in range(3, 8)],
    ]
    _, payloads = await give(post, [*near, far], Order(CommandKind.SYNC_CLOCK, WHY))
    sizes = sorted(len(each.get("command_ids", "one").split(",")) for each in payloads)
    assert sizes == [1, 2, 4]
    _, payloads = await give(post, near, Order(CommandKind.PRICES, WHY, {"peak": 9_000}))
    assert [list(each) for each in payloads] == [["command_id"]] * len(near)


async def _moved_away(post: Post, meter: Meter) -> Meter:
    async with unit_of_work(post.world.group_id) as work:
        gateway = await metering.add_gateway(
            work,
            scope=post.world.scope,
            project_id=post.world.project.id,
            serial=f"FAR-{post.world.code}",
            name="far",
            address="127.0.0.1:1",
            at=START,
        )
        await work.execute(
            "UPDATE metering_meter SET gateway_id = $3 WHERE group_id = $1 AND id = $2",
            work.group_id,
            meter.id,
            gateway.id,
        )
        return await Meter.get(id=meter.id)


async def test_power_back_that_comes_between_announcement_and_write_is_written_after_the_trip(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    serving: list[asyncio.Task[object]] = []

    async def restore() -> None:
        await announced(post, trips[1])
        keep = await post.ask(KEEP, meter=pair[1])
        serving.append(asyncio.create_task(post.serve(keep)))
        await asyncio.sleep(0)

    when_asked(post, 1, restore, writes=True)
    await post.go(payload)
    await asyncio.gather(*serving)
    assert post.ear.heard == [1, 2, 2], "what was announced is written, then the bus is given away"
    assert post.meter(2).state().closed
    assert await states(post, trips) == [VERIFIED, SUPERSEDED]
    assert not post.closed


@pytest.mark.parametrize("unit", [1, 2])
async def test_power_back_that_comes_while_meters_are_looked_at_goes_first(
    unit: int, post: Post, pair: list[Meter]
) -> None:
    """The errand has not announced anything yet: it gives way, and what it saw until then is seen anew."""
    trips, (payload,) = await give(post, pair)
    serving: list[asyncio.Task[object]] = []

    async def restore() -> None:
        keep = await post.ask(KEEP, meter=pair[unit - 1])
        serving.append(asyncio.create_task(post.serve(keep)))
        bus = await post.context.buses.bus(post.world.gateway)

        async def waits() -> bool:
            return bool(bus._lane.waiting)

        await until(waits)

    when_asked(post, 1, restore, writes=False)
    await post.go(payload)
    await asyncio.gather(*serving)
    other = 3 - unit
    assert post.ear.heard == [unit, other]
    assert post.meter(unit).state().forced
    assert not post.meter(other).state().closed
    assert (await states(post, trips))[unit - 1] is SUPERSEDED
    assert (await post.now(trips[unit - 1])).writes == 0


async def test_power_back_that_comes_while_some_are_announced_waits_for_these_alone(
    post: Post, pair: list[Meter]
) -> None:
    third = await post.add_meter(model="GENERIC-645-2007", bus_address=ELECTRIC)
    order: list[str] = []
    electric = post.gateway.meters[ELECTRIC]
    answer = electric.answer

    async def hear(request: bytes, /) -> bytes | None:
        order.append(f"third, when {len(post.ear.heard)} were written")
        return await answer(request)

    electric.answer = hear  # type: ignore[method-assign] # an ear at the meter, not another meter
    trips, (payload,) = await give(post, [*pair, third])
    serving: list[asyncio.Task[object]] = []

    async def restore() -> None:
        await announced(post, trips[0])
        keep = await post.ask(KEEP, meter=pair[0])
        serving.append(asyncio.create_task(post.serve(keep)))
        bus = await post.context.buses.bus(post.world.gateway)

        async def waits() -> bool:
            return bool(bus._lane.waiting)

        await until(waits)

    when_asked(post, 2, restore, writes=False)
    await post.go(payload)
    await asyncio.gather(*serving)
    assert post.ear.heard == [1, 1, 2], (
        "the first trip was on its way, then its power came back; the second was only looked at"
    )
    assert order[0] == "third, when 2 were written"
    assert await states(post, trips) == [SUPERSEDED, VERIFIED, VERIFIED]
    assert post.meter(1).state().forced


async def test_another_process_gets_the_bus_once_what_was_seen_is_written(
    post: Post, pair: list[Meter], services: EmbeddedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a sweep, that lets go after each meter: let in between two looks, neither would end."""
    # Time enough for the other to come first, however slow the machine is.
    monkeypatch.setattr("workers.bus_lease._GIVE_WAY_S", 1.0)
    trips, (payload,) = await give(post, pair)
    theirs = Buses(BusLease(services.app_dsn()), access=Access(clock=post.clock))
    bus = await theirs.bus(post.world.gateway)
    sweeping: list[asyncio.Task[None]] = []
    reads: list[int] = []

    meter = post.meter(2)
    answer = meter.answer

    async def hear(request: bytes, /) -> bytes | None:
        if rtu.RTU.writes(request):
            reads.clear()  # looks before it, of which a slow machine may want a second
        else:
            reads.append(2)
        return await answer(request)

    meter.answer = hear  # type: ignore[method-assign] # an ear at the meter, not another meter

    async def sweep() -> None:
        async with bus.turn(Priority.READ) as turn:
            assert (post.ear.heard, reads) == ([1, 2], []), "nothing was read back yet"
            assert await states(post, trips) == [SENT, SENT]
            await turn.driver(pair[0]).read()

    async def begin() -> None:
        sweeping.append(asyncio.create_task(sweep()))
        held = await post.context.buses.bus(post.world.gateway)

        async def wanted() -> bool:
            return held._turn.wanted_elsewhere

        await until(wanted)

    when_asked(post, 1, begin, writes=False)
    await post.go(payload)
    await asyncio.gather(*sweeping)
    await theirs.close()
    assert await states(post, trips) == [VERIFIED, VERIFIED]


async def test_power_back_wins_every_race_with_an_errand_of_trips(
    post: Post, pair: list[Meter]
) -> None:
    for turn in range(20):
        trips, (payload,) = await give(post, pair)

        async def restore(steps: int) -> None:
            for _ in range(steps):  # a little later each time
                await asyncio.sleep(0)
            await asyncio.gather(*[post.serve(await post.ask(KEEP, meter=each)) for each in pair])

        await asyncio.gather(post.go(payload), restore(25 * turn))
        assert post.closed
        assert post.meter(2).state().closed
        assert set(await states(post, trips)) <= {SUPERSEDED, VERIFIED}
        post.clock.advance(SECOND)
        await post.due()


async def test_a_worker_killed_between_the_announcement_and_the_writes_has_its_successor_look_first(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    at, group_id = post.clock.now(), post.world.group_id
    writes = [Writing(each.id, writes=0, relay_closed=True, at=at) for each in trips]
    assert None not in await journey.about_to_write(group_id=group_id, writes=writes)
    bus = await post.context.buses.bus(post.world.gateway)
    async with bus.turn(Priority.CUT) as turn:  # it died after the first of its two writes
        await turn.driver(pair[0]).trip()
    assert post.ear.heard == [1]
    await post.go(payload)
    assert post.ear.heard == [1, 2], "the first is found obeyed and not written again"
    done = [await post.now(each) for each in trips]
    assert [(each.state, each.writes) for each in done] == [(VERIFIED, 1), (VERIFIED, 2)]


async def test_where_an_announcement_cannot_be_committed_its_meter_is_not_written_and_the_fault_is_told(
    post: Post, pair: list[Meter], monkeypatch: pytest.MonkeyPatch
) -> None:
    trips, (payload,) = await give(post, pair)
    announce = journey.about_to_write

    async def second_fails(*, group_id: int, writes: Sequence[Writing]) -> list[Command | None]:
        if writes[0].command_id == trips[1].id:
            raise asyncpg.DiskFullError("no room for it")
        return await announce(group_id=group_id, writes=writes)

    monkeypatch.setattr(journey, "about_to_write", second_fails)
    with pytest.raises(asyncpg.DiskFullError):
        await post.go(payload)
    assert post.ear.heard == [1], "what was announced was written"
    assert await states(post, trips) == [SENT, QUEUED]
    monkeypatch.undo()
    await post.go(payload)
    assert await states(post, trips) == [VERIFIED, VERIFIED]
    assert post.ear.heard == [1, 2]


async def test_a_silent_meter_costs_the_others_its_own_time_out_and_comes_back_alone(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    post.meter(1).faults.silent = True
    assert await post.go(payload) is None, "the event of them all is done"
    assert await states(post, trips) == [QUEUED, VERIFIED]
    assert (await post.now(trips[0])).outcome == "no answer in time"
    assert await post.due() == []
    post.clock.advance(2 * SECOND)
    (own,) = await post.due()
    assert own.payload == {"command_id": str(trips[0].id)}
    post.meter(1).faults.silent = False
    await post.go(own.payload)
    assert await states(post, trips) == [VERIFIED, VERIFIED]
    assert post.ear.heard == [2, 1]


async def test_a_refusal_fails_its_own_command_and_what_needs_a_moment_waits_by_itself(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    post.ear.refused = 1
    when_asked(post, 2, lambda: _idle(post), writes=True)
    await post.go(payload)
    assert await states(post, trips) == [FAILED, SENT]
    assert post.closed
    post.clock.advance(5 * SECOND)
    (own,) = await post.due()
    assert own.payload == {"command_id": str(trips[1].id)}


async def _idle(post: Post) -> None:
    post.ear.idle = 1


async def test_where_the_gateway_cannot_be_reached_each_command_waits_by_itself(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    await post.gateway.set_offline(True)
    assert await post.go(payload) is None
    assert [(await post.now(each)).outcome for each in trips] == [
        "the gateway cannot be reached"
    ] * 2
    post.clock.advance(2 * SECOND)
    own = await post.due()
    assert {each.payload["command_id"] for each in own} == {str(each.id) for each in trips}
    with pytest.raises(LinkDown):
        await post.go(own[0].payload)
    await post.gateway.set_offline(False)
    for each in own:
        await post.go(each.payload)
    assert await states(post, trips) == [VERIFIED, VERIFIED]


async def test_a_meter_that_came_to_another_bus_is_sought_there(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    await _moved_away(post, pair[1])
    await post.go(payload)
    assert await states(post, trips) == [VERIFIED, QUEUED]
    assert post.ear.heard == [1]
    (own,) = await post.due()
    with pytest.raises(LinkDown):
        await post.go(own.payload)


async def test_an_errand_that_takes_too_long_is_taken_apart(post: Post, pair: list[Meter]) -> None:
    """Its lease would end, and another worker begin it while it is under way."""
    trips, (payload,) = await give(post, pair)

    async def slowly() -> None:
        post.clock.advance(timedelta(seconds=11))

    when_asked(post, 1, slowly, writes=False)
    await post.go(payload)
    assert await states(post, trips) == [QUEUED, QUEUED]
    own = await post.due()
    assert {each.payload["command_id"] for each in own} == {str(each.id) for each in trips}
    for each in own:
        await post.go(each.payload)
    assert await states(post, trips) == [VERIFIED, VERIFIED]


async def test_an_errand_whose_turn_comes_too_late_asks_no_meter_and_is_taken_apart(
    post: Post, pair: list[Meter]
) -> None:
    trips, (payload,) = await give(post, pair)
    bus, asked = await post.context.buses.bus(post.world.gateway), list[int]()

    async def note() -> None:
        asked.append(1)

    when_asked(post, 1, note, writes=False)

    async def waits() -> bool:
        return bool(bus._lane.waiting)

    async with bus.turn(Priority.VEND):
        serving = asyncio.create_task(post.go(payload))
        await until(waits)
        post.clock.advance(timedelta(seconds=11))
    await serving
    assert asked == []
    assert await states(post, trips) == [QUEUED, QUEUED]
    assert {each.payload["command_id"] for each in await post.due()} == {
        str(each.id) for each in trips
    }


async def test_the_janitor_rings_for_each_command_of_a_lost_errand(
    post: Post, pair: list[Meter]
) -> None:
    trips, _ = await give(post, pair)
    group_id = post.world.group_id
    async with unit_of_work(group_id) as work:
        await work.execute("UPDATE outbox_event SET done_at = now() WHERE group_id = $1", group_id)
    await tend(group_id=group_id, at=post.clock.now())
    assert await post.due() == [], "whoever has it may be at it"
    post.clock.advance(timedelta(minutes=1))
    await tend(group_id=group_id, at=post.clock.now())
    own = await post.due()
    assert {each.payload["command_id"] for each in own} == {str(each.id) for each in trips}
