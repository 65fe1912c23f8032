"""Broker or cloud die and come back: gateways find their way by themselves and no reading is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from backend.sandbox.embedded.broker import RunningBroker, start_broker
from backend.uplink.message import Cmd, Op
from workers.links.errors import LinkDown, NoAnswer

from .box import until
from .conftest import NOON, Site, site_at, stop
from .faithful import Faithful, faithful


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker of these tests alone, who may kill it."""
    running = start_broker(data_dir=tmp_path_factory.mktemp("mqtt") / "broker")
    yield running
    running.stop()
    running.slot.erase()


@pytest.fixture
async def agents(mortal: RunningBroker) -> AsyncIterator[tuple[Site, Faithful, Faithful]]:
    """A site whose two gateways keep what they read until it is stored."""
    async with (
        site_at(mortal) as site,
        faithful(site, site.first) as one,
        faithful(site, site.second) as two,
    ):
        await until(lambda: one.sessions == two.sessions == 1)
        yield site, one, two


def _read(*agents: Faithful, times: int = 5) -> None:
    for agent in agents:
        for _ in range(times):
            agent.read()


async def _all_stored(site: Site, **agents: Faithful) -> None:
    """Wait until the gateways may forget everything; then it is all there, under the right gateway."""
    await until(lambda: not any(agent.unsaid for agent in agents.values()), within_s=30)
    for serial, agent in agents.items():
        kept = {read.frame_no for row, read in site.inbox.reads if row.serial == f"GW-{serial}"}
        assert kept == {read.frame_no for read in agent.all}


async def _command(site: Site, agent: Faithful) -> None:
    cmd = Cmd(uuid4(), "M-1", Op.READ, NOON, NOON + timedelta(minutes=5))
    res = await site.host.command(agent.who[0].gateway, cmd)
    assert res.cmd_id == cmd.cmd_id


@pytest.mark.parametrize("times", [1, 3])
async def test_a_killed_broker_costs_no_reading_and_commands_work_again(
    agents: tuple[Site, Faithful, Faithful], times: int
) -> None:
    site, one, two = agents
    for _ in range(times):
        _read(one, two)
        await asyncio.to_thread(site.broker.kill)
        _read(one, two)
        with pytest.raises((LinkDown, NoAnswer)):
            await _command(site, one)
        await asyncio.to_thread(site.broker.restart)
        _read(one, two)
        await _all_stored(site, FIRST=one, SECOND=two)
        await _command(site, one)
        await _command(site, two)


async def test_who_sends_while_the_broker_dies_learns_of_it_at_once(mortal: RunningBroker) -> None:
    async with site_at(mortal) as site:
        box = await site.box(site.first)
        sending = asyncio.gather(
            *(box.line.send(box.sealed(box.read())) for _ in range(300)), return_exceptions=True
        )
        await asyncio.to_thread(mortal.kill)
        async with asyncio.timeout(2):
            outcomes = await sending
        assert {type(outcome) for outcome in outcomes} <= {type(None), LinkDown, NoAnswer}
        with pytest.raises(LinkDown):
            await box.line.send(b"late")
        with pytest.raises(LinkDown):
            await anext(box.line.frames())
        await asyncio.to_thread(mortal.restart)


async def test_a_new_cloud_process_knows_no_session_and_gateways_greet_it_by_themselves(
    agents: tuple[Site, Faithful, Faithful],
) -> None:
    site, one, two = agents
    for _ in range(3):
        before = one.sessions, two.sessions
        _read(one, two)
        await site.restart_host()
        _read(one, two)
        await _all_stored(site, FIRST=one, SECOND=two)
        assert (one.sessions > before[0], two.sessions > before[1]) == (True, True)
        await _command(site, one)
        await _command(site, two)
    assert {code for _, code in site.inbox.refusals} <= {"UPLINK_NO_SESSION"}


async def test_a_revocation_while_the_cloud_is_down_holds_when_it_is_back(
    agents: tuple[Site, Faithful, Faithful],
) -> None:
    site, one, two = agents
    await stop(site.running)
    site.desk.revoke(site.first[0].gateway)
    _read(one, two)
    await site.restart_host()
    await _all_stored(site, SECOND=two)
    await until(lambda: ("GW-FIRST", "UPLINK_KEY_REVOKED") in site.inbox.refusals)
    assert len(one.unsaid) == 5
    assert not [row for row, _ in site.inbox.reads if row.serial == "GW-FIRST"]


async def test_frames_lost_while_the_cloud_was_not_connected_are_said_again(
    agents: tuple[Site, Faithful, Faithful],
) -> None:
    """The broker confirmed them to the gateway and gave them to nobody."""
    site, one, _ = agents
    link = site.trunk._link
    assert link is not None
    _read(one, times=30)
    await link.close()
    _read(one, times=30)
    await until(lambda: site.trunk.hears(site.first[0].gateway))
    await _all_stored(site, FIRST=one)
