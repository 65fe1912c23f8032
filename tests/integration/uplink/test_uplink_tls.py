"""The line under TLS, as gateways on public networks have it, so that the broker's password is not read."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from workers.links.errors import LinkDown
from workers.links.mqtt import Broker, MqttLine

from .box import box_at
from .conftest import Site


def _certificate(place: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, made for this run."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = place / "broker.crt"
    held = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(held + certificate.public_bytes(Encoding.PEM))
    return file


@asynccontextmanager
async def _tls_before(broker: Broker, certificate: Path) -> AsyncIterator[Broker]:
    """The broker behind something that ends TLS, trusted by its own certificate."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(broker.host, broker.port)
        ways = [
            asyncio.create_task(pump(reader, inner_writer)),
            asyncio.create_task(pump(inner_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        inner_writer.close()
        writer.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=server_side)
    try:
        trust = ssl.create_default_context(cafile=str(certificate))
        yield replace(broker, port=server.sockets[0].getsockname()[1], tls=trust)
    finally:
        server.close()


async def test_a_gateway_talks_under_tls_to_a_broker_that_it_trusts(
    site: Site, tmp_path: Path
) -> None:
    async with (
        _tls_before(site.gate, _certificate(tmp_path)) as gate,
        box_at(gate, *site.first, site.clock) as box,
    ):
        await box.greet()
        for _ in range(20):
            await box.say(box.read())
        await box.ping()
        assert len(site.inbox.reads) == 20


async def test_a_broker_with_another_certificate_is_not_spoken_to(
    site: Site, tmp_path: Path
) -> None:
    async with _tls_before(site.gate, _certificate(tmp_path)) as gate:
        stranger = replace(gate, tls=ssl.create_default_context())
        with pytest.raises(LinkDown):
            async with MqttLine(stranger, wire_id=site.first[0].gateway):
                pass
