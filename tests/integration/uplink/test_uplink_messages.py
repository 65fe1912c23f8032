"""What gateways of two groups say and are told, over a real broker."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest

from backend.kernel.errors import Conflict
from backend.uplink.errors import CommandExpired, MessageRefused, TripHeld
from backend.uplink.message import Alarm, Bye, Cmd, Farewell, Op, Ping, RelayState, Res
from workers.links.errors import LinkDown, NoAnswer

from .box import Box, until
from .conftest import NOON, Site

MINUTE = timedelta(minutes=1)


def cmd(op: Op = Op.TRIP, **changes: object) -> Cmd:
    """A command that is due now."""
    fields: dict[str, object] = {
        "cmd_id": uuid4(),
        "meter": "M-1",
        "op": op,
        "issued": NOON,
        "expires": NOON + MINUTE,
    }
    return Cmd(**(fields | changes))  # type: ignore[arg-type] # names are Cmd's own fields


async def test_readings_alarms_and_pings_of_two_groups_each_arrive_under_their_own_gateway(
    site: Site,
) -> None:
    first, second = await site.boxes()
    readings = [first.read(), second.read(), first.read()]
    for box, reading in zip((first, second, first), readings, strict=True):
        await box.say(reading)
    alarm = Alarm("RELAY_STUCK", NOON, "M-1")
    await second.say(alarm)
    await asyncio.gather(first.ping(), second.ping())
    got = [(row.group_id, row.serial, read) for row, read in site.inbox.reads]
    assert [one for one in got if one[0] == 1] == [
        (1, "GW-FIRST", readings[0]),
        (1, "GW-FIRST", readings[2]),
    ]
    assert [one for one in got if one[0] != 1] == [(2, "GW-SECOND", readings[1])]
    assert [(row.group_id, said) for row, said in site.inbox.alarms] == [(2, alarm)]
    assert {row.serial for row, _ in site.inbox.pings} == {"GW-FIRST", "GW-SECOND"}
    assert site.inbox.refusals == []


async def test_many_readings_are_stored_together_five_hundred_at_most(site: Site) -> None:
    box = await site.box(site.first)
    await box.say(box.read())
    await until(lambda: bool(site.inbox.reads))
    assert site.inbox.batches == [1], "a single one waits a moment and goes"
    for _ in range(5):
        await asyncio.gather(*(box.line.send(box.sealed(box.read())) for _ in range(80)))
    await box.ping()
    assert sum(site.inbox.batches) == 401
    assert len(site.inbox.batches) < 40


async def test_a_ping_is_answered_only_when_everything_before_it_is_stored(site: Site) -> None:
    box = await site.box(site.first)
    site.inbox.away = True
    lost = box.read()
    await box.say(lost)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(box.ping(), 0.5)
    site.inbox.away = False
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(box.ping(), 0.5)
    assert site.inbox.reads == [], "what was lost stays lost in this session, and nobody says else"
    await box.greet()
    await box.say(lost)
    await box.ping()
    assert [read for _, read in site.inbox.reads] == [lost]


async def test_a_frame_that_the_transport_lost_is_not_acknowledged(site: Site) -> None:
    box = await site.box(site.first)
    box.sealed(box.read())  # sealed, numbered, and never sent
    await box.say(box.read())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(box.ping(), 0.5)
    await box.greet()
    assert len(site.inbox.reads) == 1


async def test_a_ping_of_an_older_session_is_not_answered_in_a_newer_one(site: Site) -> None:
    box = await site.box(site.first)
    site.inbox.open.clear()
    asked = Ping(NOON)
    await box.say(asked)
    await box.hello()
    await box.say(asked)
    await box.say(Res(uuid4(), 0))
    site.inbox.open.set()
    assert await asyncio.wait_for(box.pongs.get(), 10) == asked
    site.clock.advance(timedelta(seconds=1))
    await box.ping()
    assert len(site.inbox.pings) == 4


async def test_a_command_goes_to_its_gateway_and_its_answer_comes_back(site: Site) -> None:
    first, second = await site.boxes()
    one, two = cmd(), cmd(Op.RELEASE, expires=NOON + 10 * MINUTE)
    answers = await asyncio.gather(
        site.host.command(site.first[0].gateway, one),
        site.host.command(site.second[0].gateway, two),
    )
    assert list(answers) == [Res(c.cmd_id, 0, RelayState.OPEN) for c in (one, two)]
    assert (first.commands, second.commands) == ([one], [two])


async def test_twenty_commands_at_once_each_get_their_own_answer(site: Site) -> None:
    box = await site.box(site.first)
    sent = [cmd() for _ in range(20)]
    answers = await asyncio.gather(*(site.host.command(box.keys.gateway, c) for c in sent))
    assert [answer.cmd_id for answer in answers] == [c.cmd_id for c in sent]


async def test_a_gateway_without_a_session_is_not_connected_and_hears_nothing(site: Site) -> None:
    box = await site.box(site.first, greeted=False)
    for wire_id in (box.keys.gateway, site.second[0].gateway, bytes(8)):
        with pytest.raises(LinkDown):
            await site.host.command(wire_id, cmd())
    await box.hello()  # answered, but no frame has come on the session yet
    with pytest.raises(LinkDown):
        await site.host.command(box.keys.gateway, cmd())
    await box.ping()
    await site.host.command(box.keys.gateway, cmd())
    await box.say(Bye(Farewell.RESTART))
    await until(lambda: not site.host.is_live(box.keys.gateway))
    with pytest.raises(LinkDown):
        await site.host.command(box.keys.gateway, cmd())
    assert len(box.commands) == 1


async def test_a_gateway_that_was_not_heard_for_long_is_not_asked(site: Site) -> None:
    box = await site.box(site.first)
    site.clock.advance(timedelta(seconds=151))
    with pytest.raises(LinkDown):
        await site.host.command(box.keys.gateway, cmd(expires=NOON + 2 * MINUTE, issued=NOON))
    assert box.commands == []


async def test_no_answer_in_time_may_mean_that_it_was_done_and_a_late_answer_hurts_nobody(
    site: Site,
) -> None:
    box = await site.box(site.first)
    box.mute = True
    slow = cmd()
    with pytest.raises(NoAnswer):
        await site.host.command(box.keys.gateway, slow, timeout_s=0.2)
    assert box.commands == [slow]
    box.mute = False
    await box.say(Res(slow.cmd_id, 0))
    assert (await site.host.command(box.keys.gateway, cmd())).dar == 0


async def test_a_command_under_way_is_not_sent_a_second_time(site: Site) -> None:
    box = await site.box(site.first)
    box.mute = True
    one = cmd()
    waiting = asyncio.create_task(site.host.command(box.keys.gateway, one))
    await until(lambda: bool(box.commands))
    with pytest.raises(Conflict):
        await site.host.command(box.keys.gateway, one)
    await box.say(Res(one.cmd_id, 0))
    assert (await waiting).cmd_id == one.cmd_id
    assert box.commands == [one]


async def test_an_expired_command_and_a_trip_by_a_wrong_clock_are_not_sent(site: Site) -> None:
    box = await site.box(site.first)
    with pytest.raises(CommandExpired):
        await site.host.command(box.keys.gateway, cmd(issued=NOON - MINUTE, expires=NOON))
    skewed = await _box_with_slow_clock(site)
    with pytest.raises(TripHeld):
        await site.host.command(
            skewed.keys.gateway, cmd(issued=site.clock.now(), expires=site.clock.now() + MINUTE)
        )
    assert box.commands == skewed.commands == []


async def _box_with_slow_clock(site: Site) -> Box:
    """The second gateway, whose clock is 90 s behind ours: over 60 s no trips."""
    box = await site.box(site.second, greeted=False)
    shaken = box.line.send

    async def late(frame: bytes) -> None:
        site.clock.advance(timedelta(seconds=90))
        await shaken(frame)

    box.line.send = late  # type: ignore[method-assign] # time passes between HELLO and its arrival
    await box.hello()
    box.line.send = shaken  # type: ignore[method-assign] # as before
    await box.ping()
    return box


async def test_the_inner_door_carries_a_command_as_json(site: Site) -> None:
    box = await site.box(site.first)
    asked = cmd(Op.VEND, purchase_no=7, amount_fen=5000)
    fields: dict[str, object] = {
        "cmd_id": str(asked.cmd_id),
        "meter": "M-1",
        "op": "VEND",
        "issued": int(NOON.timestamp()),
        "expires": int((NOON + MINUTE).timestamp()),
        "purchase_no": 7,
        "amount_fen": 5000,
        "tariff_ver": None,
    }
    gateway_id = site.desk.gateway_id(box.keys.gateway)
    res = await site.host.answer(gateway_id, fields)
    assert res == {
        "cmd_id": str(asked.cmd_id),
        "dar": 0,
        "relay": "OPEN",
        "wallet_fen": None,
        "purchase_no": None,
        "reading": None,
    }
    assert box.commands == [asked]
    with pytest.raises(MessageRefused):
        await site.host.answer(gateway_id, fields | {"op": "EXPLODE"})
    with pytest.raises(LinkDown):
        await site.host.answer(uuid4(), fields)


async def test_a_new_key_is_offered_taken_and_the_old_one_dies(site: Site) -> None:
    box = await site.box(site.first)
    wire_id = box.keys.gateway
    site.desk.want_rotation(wire_id)
    assert await asyncio.wait_for(box.keyed.get(), 10) == 2
    await until(lambda: site.desk.rows[wire_id].ring.acknowledged_at is not None)
    await box.hello(version=2)
    await box.ping()
    await until(lambda: site.desk.rows[wire_id].ring.current == 2)
    assert not site.desk.rows[wire_id].rotation_wanted
    assert box.keys.pending is None
    await site.host.command(wire_id, cmd())


async def test_a_key_offer_that_was_lost_is_repeated_when_the_gateway_is_back(site: Site) -> None:
    wire_id = site.first[0].gateway
    site.desk.want_rotation(wire_id)
    row, _ = await site.desk.offer(site.desk.rows[wire_id], at=NOON)
    assert row.ring.pending == 2
    box = await site.box(site.first)
    assert await asyncio.wait_for(box.keyed.get(), 10) == 2
    await until(lambda: site.desk.rows[wire_id].ring.acknowledged_at is not None)


def _told(site: Site, times: int) -> bool:
    return len(site.inbox.silences) == times


async def test_a_gateway_that_falls_silent_is_told_once_and_again_when_it_was_back(
    site: Site,
) -> None:
    box, other = await site.boxes()
    for times in (1, 2):
        heard_at = site.clock.now()
        site.clock.advance(timedelta(seconds=100))
        await other.greet()
        site.clock.advance(timedelta(seconds=51))
        await until(partial(_told, site, times))
        assert site.inbox.silences[-1] == ("GW-FIRST", heard_at)
        await box.greet()
    await other.ping()
    assert len(site.inbox.silences) == 2


async def test_while_the_cloud_has_no_broker_no_gateway_is_called_silent(
    site: Site,
) -> None:
    box, other = await site.boxes()
    assert site.trunk._link is not None
    await site.trunk._link.close()
    await until(lambda: not site.trunk.hears(box.keys.gateway))
    site.clock.advance(timedelta(seconds=200))
    await until(lambda: site.trunk.hears(box.keys.gateway))
    site.clock.advance(timedelta(seconds=100))
    await asyncio.gather(box.greet(), other.greet())
    assert site.inbox.silences == []
