"""The line: keys that change, keys that are taken away, clocks that jump, a cloud that says nothing."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backend.kernel.errors import Conflict, InvalidInput, NotFound
from backend.uplink.message import Dar, Op, RelayState
from backend.uplink.rotation import GatewayKeys
from workers.gateway.agent import Agent
from workers.gateway.board import LineState
from workers.gateway.identity import FILE, Identity, IdentityFile
from workers.gateway.site import load_site
from workers.gateway.status import read_status

from .conftest import Box, World


async def reconnected(box: Box, *, hellos: int) -> None:
    """Wait for a session that was not there at `hellos` HELLOs."""
    await box.cloud.until(lambda: box.cloud.hellos > hellos)
    await box.connected()


async def test_a_new_key_is_kept_on_disk_beside_the_old_one_and_then_used_alone(
    world: World,
) -> None:
    box = await world.running()
    gateway = box.keys.gateway
    new = await world.cloud.offer_key(gateway)
    await world.cloud.until(lambda: world.cloud.rings[gateway].current == new.version)
    await box.until(lambda: box.alive.board.key_version == 2)
    await box.connected()
    kept = IdentityFile(box.data).load().keys
    assert (kept.version, kept.pending) == (2, None)
    assert kept.root != box.keys.root
    assert (await box.ask(Op.READ)).dar == Dar.SUCCESS
    assert [bye.value for bye in world.cloud.byes] == ["REKEY"]


async def test_a_new_key_survives_a_crash_before_its_first_use_and_the_old_one_still_opens(
    world: World,
) -> None:
    box = await world.running()
    gateway, file = box.keys.gateway, IdentityFile(box.data)
    await box.stop()
    held, _ = box.keys.took(b"\x00\x02" + bytes(32))  # an offer that the cloud then let lapse
    file.save_keys(held)
    await box.start()
    await box.connected()
    assert box.alive.board.key_version == 1
    assert file.load().keys.pending is not None
    assert world.cloud.rings[gateway].current == 1


async def test_a_key_that_cannot_be_kept_is_not_acknowledged(world: World) -> None:
    box = await world.running()
    gateway = box.keys.gateway
    (box.data / "gateway.new").mkdir()  # where the fresh file would be written
    await world.cloud.offer_key(gateway)
    await world.cloud.until(lambda: "STORE_BROKEN" in {alarm.name for alarm in world.cloud.alarms})
    assert (await box.ask(Op.READ)).dar == Dar.SUCCESS
    assert world.cloud.rings[gateway].acknowledged_at is None
    assert IdentityFile(box.data).load().keys == box.keys


async def test_after_a_revocation_it_says_so_and_knocks_once_an_hour_at_most(world: World) -> None:
    box = await world.running()
    await world.cloud.revoke(box.keys.gateway)
    await box.until(lambda: box.alive.board.line is LineState.REVOKED)
    assert read_status_line(box)["state"] == "REVOKED"
    hellos = world.cloud.hellos
    for _ in range(4):
        await box.pass_time(timedelta(minutes=7))
        await box.idle()
    assert world.cloud.hellos == hellos
    assert (await box.alive.spool.backlog()).readings > 0, "readings are still kept"


def read_status_line(box: Box) -> dict[str, object]:
    """The line as the status word shows it."""
    box.alive.status.write()
    line = read_status(box.data)["line"]
    assert isinstance(line, dict)
    return line


async def test_enrolled_again_after_a_revocation_it_sends_what_it_kept(world: World) -> None:
    box = await world.running()
    await world.cloud.revoke(box.keys.gateway)
    await box.until(lambda: box.alive.board.line is LineState.REVOKED)
    await box.next_period()
    await box.stop()
    file = IdentityFile(box.data)
    file.save(replace(file.load(), keys=world.cloud.enrol_again(box.keys)))
    world.pace.advance(timedelta(minutes=1))
    await box.start()
    await box.connected()
    await box.drained()
    assert len(box.stored()) >= 4
    assert box.alive.board.key_version == 2


async def test_a_cloud_that_says_nothing_is_asked_ever_more_rarely(world: World) -> None:
    box = await world.box()
    world.cloud.deaf = True
    await box.start()
    waits = []
    for _ in range(3):
        await box.until(lambda: box.alive.board.line is LineState.UNANSWERED)
        waits.append(box.alive.board.retry_s)
        await box.pass_time(timedelta(seconds=waits[-1] + 0.01))
        await box.until(lambda: box.alive.board.line is LineState.GREETING)
    assert 0.5 <= waits[0] <= 1.0 <= waits[1] <= 2.0 <= waits[2] <= 4.0
    await box.until(lambda: box.alive.board.line is LineState.UNANSWERED)
    world.cloud.deaf = False
    await box.pass_time(timedelta(minutes=6))
    await box.connected()


async def test_no_trip_while_the_clocks_differ_by_more_than_a_minute_but_power_comes_back(
    world: World,
) -> None:
    box = await world.box()
    world.pace.jump(timedelta(seconds=-90))
    await box.start()
    await box.connected()
    assert read_status_line(box)["trips_allowed"] is False
    assert (await box.ask(Op.TRIP)).dar == Dar.TRIP_HELD
    assert box.meter().state().closed
    assert (await box.ask(Op.RELEASE)).relay is RelayState.CLOSED


async def test_a_clock_that_is_set_holds_trips_until_the_cloud_was_asked_again(
    world: World,
) -> None:
    box = await world.running()
    hellos = world.cloud.hellos
    world.pace.jump(timedelta(seconds=-40))
    assert (await box.ask(Op.TRIP)).dar == Dar.TRIP_HELD
    assert box.meter().state().closed
    await box.pass_time(timedelta(seconds=120))  # the next PING is due
    await reconnected(box, hellos=hellos)
    await box.until(box.alive.uplink.trips_allowed)
    assert (await box.ask(Op.TRIP)).relay is RelayState.OPEN
    await box.until(lambda: not box.alive.alarms.names())


async def test_a_clock_that_is_far_off_closes_the_line_and_costs_no_reading(world: World) -> None:
    box = await world.running()
    world.pace.jump(timedelta(minutes=10))
    await box.pass_time(timedelta(seconds=120))
    await box.until(lambda: box.alive.board.line is LineState.UNANSWERED)
    assert box.alive.alarms.names() == ["CLOCK_JUMPED"]
    assert "UPLINK_CLOCK_SKEW" in world.cloud.refused
    world.pace.jump(timedelta(minutes=-10))
    await box.pass_time(timedelta(minutes=6))
    await box.connected()
    await box.drained()
    assert len(box.stored()) >= 2
    assert (await box.ask(Op.TRIP)).relay is RelayState.OPEN


async def test_a_session_ends_in_peace_after_23_hours(world: World) -> None:
    box = await world.running()
    hellos = world.cloud.hellos
    await box.pass_time(timedelta(hours=23))
    await reconnected(box, hellos=hellos)
    assert [bye.value for bye in world.cloud.byes] == ["REKEY"]


async def test_without_keys_there_is_no_agent(world: World) -> None:
    box = await world.box()
    await asyncio.to_thread((box.data / FILE).unlink)
    with pytest.raises(NotFound):
        Agent(
            data=box.data,
            site=load_site(box.site_file),
            connect=world.cloud.line,
            pace=world.pace,
        )


def test_keys_are_for_the_owner_alone(tmp_path: Path) -> None:
    keys = GatewayKeys(os.urandom(8), 1, os.urandom(32), (2, os.urandom(32)))
    IdentityFile(tmp_path).save(Identity("S-1", "mqtt://u:secret@h:1", keys))
    assert IdentityFile(tmp_path).load().keys == keys
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in repr(IdentityFile(tmp_path).load())
    path.chmod(0o640)
    with pytest.raises(Conflict):
        IdentityFile(tmp_path).load()
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(InvalidInput):
        IdentityFile(tmp_path).load()
    path.unlink()
    with pytest.raises(NotFound):
        IdentityFile(tmp_path).load()


async def test_the_status_word_shows_line_backlog_and_errors_also_when_the_agent_is_gone(
    world: World,
) -> None:
    box = await world.running()
    await world.cloud.stop()
    await box.next_period()
    await box.until(lambda: box.alive.board.line is LineState.OFFLINE)
    await box.stop()
    shown = read_status(box.data)
    json.dumps(shown)
    assert shown["line"]["state"] == "OFFLINE"
    assert (shown["backlog"], shown["running"], shown["serial"]) == (2, False, "a")
    assert shown["oldest_unsent"] == world.pace.now().isoformat(timespec="seconds")
    assert shown["buses"][0]["read"] == 2
    assert shown["errors"]
