"""The broker of production: its files agree with both sides of the line, and it does what they say."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from backend.uplink.frame import MAX_FRAME
from tests.integration.mosquitto import FILES, Mosquitto, start_mosquitto
from workers.links.mqtt import Broker

from .conftest import Site, site_at
from .raw_client import packet, publish, rude
from .test_uplink_flood import HUNDRED_MB, slowest_ping_s

_TOPIC = re.compile(r"^(topic|pattern) (read|write|readwrite) (\S+)$")


def _settings() -> dict[str, str]:
    lines = (FILES / "mosquitto.conf").read_text().splitlines()
    pairs = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    return {name: value for name, value in pairs if name != "log_type"}


def test_a_whole_frame_passes_and_anything_much_longer_is_refused_by_its_length() -> None:
    longest = MAX_FRAME + len("up/") + 16 + 2 + 2 + 5  # topic, its length, packet number, header
    assert longest <= int(_settings()["max_packet_size"]) <= longest + 1024


def test_nobody_is_nameless_and_nothing_is_kept() -> None:
    settings = _settings()
    for name in (
        "allow_anonymous",
        "allow_zero_length_clientid",
        "retain_available",
        "persistence",
    ):
        assert settings[name] == "false", name
    assert settings["acl_file"].endswith("/acl")


def test_the_cloud_hears_gateways_and_a_gateway_has_its_own_topics_only() -> None:
    user, rights = "", set()
    for line in (FILES / "acl").read_text().splitlines():
        if line.startswith("user "):
            user = line.removeprefix("user ")
        elif found := _TOPIC.match(line):
            who = "anybody" if found[1] == "pattern" else user
            rights.add((who, found[2], found[3]))
    assert rights == {
        ("cloud", "read", "up/+"),
        ("cloud", "read", "enrol/+"),
        ("cloud", "write", "down/+"),
        ("cloud", "write", "enrolled/+"),
        ("cloud", "read", "$SYS/broker/uptime"),
        ("anybody", "write", "up/%c"),
        ("anybody", "read", "down/%c"),
        ("anybody", "write", "enrol/%c"),
        ("anybody", "read", "enrolled/%c"),
    }


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Mosquitto with the files of production."""
    running = start_mosquitto(tmp_path_factory.mktemp("mosquitto") / "broker")
    yield running
    running.stop()
    running.slot.erase()


@pytest.fixture
async def behind(mosquitto: Mosquitto) -> AsyncIterator[Site]:
    """A host behind it, and a gateway in each of two groups."""
    async with site_at(mosquitto) as site:
        yield site


def _answer(broker: Broker, *, name: str, password: str) -> bytes:
    """What a client is told that says who it is."""
    words = [name.encode(), broker.user.encode(), password.encode()]
    body = b"\x00\x04MQTT\x04\xc2\x00\x3c"
    body += b"".join(len(word).to_bytes(2, "big") + word for word in words)
    with socket.create_connection((broker.host, broker.port), 10) as client:
        client.sendall(packet(0x10, len(body)) + body)
        return client.recv(4)


@pytest.mark.mosquitto
async def test_a_whole_frame_passes_the_broker_and_gateways_work(behind: Site) -> None:
    box, other = await behind.boxes()
    await asyncio.gather(box.say(box.read()), other.say(other.read()))
    await asyncio.gather(box.ping(), other.ping())
    assert {row.group_id for row, _ in behind.inbox.reads} == {1, 2}


@pytest.mark.mosquitto
def test_who_has_no_name_or_another_password_is_not_let_in(mosquitto: Mosquitto) -> None:
    gate = Broker.of(mosquitto.url("gateway"))
    assert _answer(gate, name="somebody", password=gate.password)[3:] == b"\x00"
    for name, password in (("somebody", "wrong"), ("", gate.password)):
        assert _answer(gate, name=name, password=password)[3:] not in (b"\x00", b"\x00\x00")


@pytest.mark.mosquitto
async def test_noise_in_another_gateways_name_and_what_is_to_be_retained_reach_nobody(
    behind: Site,
) -> None:
    box, other = await behind.boxes()
    topic = f"up/{box.keys.gateway.hex()}"
    with rude(behind.gate, publish(topic, bytes(200), qos=1) * 100):
        assert await slowest_ping_s(other, behind, times=10) < 10
        await box.ping()
    with rude(behind.gate, publish(topic, bytes(200), qos=1, retain=True), once=True) as client:
        await asyncio.to_thread(client.done.wait, 10)
    await behind.restart_host()
    await box.greet()
    assert behind.inbox.refusals == []
    assert behind.trunk.dropped == {}


@pytest.mark.mosquitto
async def test_a_hundred_megabytes_are_refused_by_their_length_and_nobody_else_waits(
    behind: Site,
) -> None:
    box, other = await behind.boxes()
    topic = f"up/{box.keys.gateway.hex()}".encode()
    head = packet(0x32, 2 + len(topic) + 2 + HUNDRED_MB) + len(topic).to_bytes(2, "big") + topic
    with rude(behind.gate, head + b"\x00\x01", *[bytes(1_000_000)] * 20, once=True) as attacker:
        while not await asyncio.to_thread(attacker.done.wait, 0.1):
            assert await slowest_ping_s(other, behind, times=1) < 10
        assert attacker.sent < 21, "its sender is cut off before all is there"
    await asyncio.gather(box.ping(), other.ping())
    assert behind.inbox.refusals == []
