"""The embedded MQTT broker as its clients meet it: who may say and hear what, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiomqtt import Client, MqttError

from backend.sandbox.embedded import RunningBroker, start_broker
from backend.sandbox.embedded.broker import CLOUD, GATEWAY, MAX_PAYLOAD
from tests.integration.embedded.test_embedded_servers import _listening_addresses
from workers.links.broker import Broker, BrokerConnection
from workers.links.errors import LinkDown, NoAnswer
from workers.links.mqtt import MqttLine

WAIT_S = 10.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A running broker on throw-away data."""
    running = start_broker(data_dir=tmp_path_factory.mktemp("mqtt") / "broker")
    yield running
    running.stop()
    running.slot.erase()


def _client(broker: RunningBroker, user: str, password: str | None = None) -> Client:
    where = Broker.of(broker.url(user))
    return Client(
        where.host,
        where.port,
        username=where.user,
        password=where.password if password is None else password,
        timeout=WAIT_S,
    )


async def _next(client: Client) -> tuple[str, object]:
    message = await asyncio.wait_for(anext(client.messages), WAIT_S)
    return message.topic.value, message.payload


async def test_a_wrong_password_and_a_nameless_client_are_refused(broker: RunningBroker) -> None:
    for client in (_client(broker, CLOUD, "wrong"), Client("127.0.0.1", broker.port)):
        with pytest.raises(MqttError):
            async with client:
                pass


@pytest.mark.parametrize("topic", ["up/+", "up/1111111111111111", "enrol/+", "#", "$SYS/#"])
async def test_a_gateway_may_not_hear_what_other_gateways_say(
    broker: RunningBroker, topic: str
) -> None:
    """And it is told so: the broker's refusal, which MQTT hides in SUBACK, becomes an error."""
    link = BrokerConnection(
        Broker.of(broker.url(GATEWAY)), identifier="g", offer=lambda _: None, keepalive_s=30
    )
    await link.open()
    try:
        with pytest.raises(LinkDown, match="refuses us the topic"):
            await link.subscribe([topic])
        await link.subscribe(["down/1111111111111111", "enrolled/22"])
    finally:
        await link.close()


@pytest.mark.parametrize("topic", ["down/1111111111111111", "enrolled/22", "elsewhere"])
async def test_what_a_gateway_says_where_only_the_cloud_speaks_reaches_nobody(
    broker: RunningBroker, topic: str
) -> None:
    async with _client(broker, CLOUD) as cloud, _client(broker, GATEWAY) as gateway:
        await cloud.subscribe("#")
        await gateway.publish(topic, b"forged", qos=1)
        await gateway.publish("up/1111111111111111", b"mine", qos=1)
        assert await _next(cloud) == ("up/1111111111111111", b"mine")


async def test_a_frame_of_any_length_passes_and_what_is_far_longer_does_not(
    broker: RunningBroker,
) -> None:
    async with _client(broker, CLOUD) as cloud:
        await cloud.subscribe("up/+")
        async with _client(broker, GATEWAY) as gateway:
            await gateway.publish("up/1111111111111111", bytes(64 * 1024), qos=1)
            assert await _next(cloud) == ("up/1111111111111111", bytes(64 * 1024))
        async with MqttLine(Broker.of(broker.url(GATEWAY)), wire_id=b"\x11" * 8) as line:
            with pytest.raises(NoAnswer):
                await line.send(bytes(MAX_PAYLOAD + 1))
        assert "maximum payload exceeded" in broker.log.read_text()
        await cloud.publish("up/1111111111111111", b"next", qos=1)
        assert await _next(cloud) == ("up/1111111111111111", b"next")


def test_it_listens_on_loopback_only_and_its_passwords_are_for_us_alone(
    broker: RunningBroker,
) -> None:
    assert _listening_addresses(broker.port) == {"0100007F"}
    settings = broker.slot.data / "server.json"
    for secret in (
        settings,
        broker.slot.beside("cloud.password"),
        broker.slot.beside("gateway.password"),
    ):
        assert secret.stat().st_mode & 0o777 == 0o600
    command = Path(f"/proc/{broker.pid}/cmdline").read_bytes().decode()
    for user in (CLOUD, GATEWAY):
        password = Broker.of(broker.url(user)).password
        assert password not in command + repr(broker) + broker.log.read_text()
        assert password in settings.read_text()


async def test_killed_and_restarted_it_takes_the_same_clients_on_the_same_port(
    broker: RunningBroker,
) -> None:
    port, url = broker.port, broker.url(CLOUD)
    for end in (broker.kill, broker.stop):
        await asyncio.to_thread(end)
        with pytest.raises(MqttError):
            async with _client(broker, CLOUD):
                pass
        await asyncio.to_thread(broker.restart)
        assert (broker.port, broker.url(CLOUD)) == (port, url)
        async with _client(broker, CLOUD) as cloud:
            await cloud.subscribe("up/+")
            await cloud.publish("up/1111111111111111", b"again", qos=1)
            assert await _next(cloud) == ("up/1111111111111111", b"again")
