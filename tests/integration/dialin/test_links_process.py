"""`shuidian links` as it is started: two processes, one holder; the other takes over after kill -9."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from backend.cli import main
from backend.metering.dial_in import DialIn
from backend.sandbox.embedded.services import EmbeddedServices
from workers.drivers.factory import driver_of
from workers.links.door import DoorAddress
from workers.links.door_link import DoorLink
from workers.links.errors import LinkDown, NoAnswer
from workers.profiles.loader import profile_of
from workers.virtual.dialin import VirtualDtu
from workers.virtual.site import VirtualSite

from ..dialled import allow, make_dialling
from ..world import BOX, World
from .yard import FAST, HOST

HELD_WITHIN_S = 60.0


class Process:
    """One `shuidian links`; its log is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, env: Mapping[str, str]) -> Process:
        """Start it."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "backend.cli",
                "links",
                env={**os.environ, **env},
                stderr=asyncio.subprocess.PIPE,
            )
        )

    async def says(self, message: str) -> dict[str, Any]:
        """The next log entry with that message. Fails when it ends before."""
        assert self._process.stderr is not None
        async with asyncio.timeout(HELD_WITHIN_S):
            while line := await self._process.stderr.readline():
                if not line.startswith(b"{"):
                    raise AssertionError((line + await self._process.stderr.read()).decode())
                entry: dict[str, Any] = json.loads(line)
                if entry["message"] == message:
                    return entry
        raise AssertionError(f"it ended without saying {message!r}")

    async def kill(self) -> None:
        """As a machine that loses its power."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """As an operator does it; gives the exit code."""
        self._process.terminate()
        async with asyncio.timeout(HELD_WITHIN_S):
            return await self._process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [plug.getsockname()[1] for plug in sockets]
    for plug in sockets:
        plug.close()
    return ports


async def read_total(door: DoorAddress, world_gateway: Any) -> int:
    """The meter's total, as soon as its DTU has called (again)."""
    link = DoorLink(door, world_gateway.id, timing=FAST)
    driver = driver_of(profile_of("DDSY1352-NK"), "1", link.exchange)
    try:
        async with asyncio.timeout(HELD_WITHIN_S):
            while True:
                try:
                    return (await driver.read()).total
                except (LinkDown, NoAnswer):
                    continue
    finally:
        await link.close()


async def test_a_killed_process_is_followed_by_the_standby_and_the_boxes_come_back(
    database: EmbeddedServices,
    site: VirtualSite,
    worlds: tuple[World, World],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door_port, dtu_port = free_ports(2)
    token, (key,) = secrets.token_hex(16), BOX._keys.values()
    env = {
        "SHUIDIAN_ENV": "test",
        "SHUIDIAN_PUBLIC_URL": "http://127.0.0.1:8000",
        "SHUIDIAN_DATABASE_URL": database.app_dsn(),
        "SHUIDIAN_REDIS_URL": database.valkey.url,
        "SHUIDIAN_SECRET_KEYS": f"1:{base64.b64encode(key).decode()}",
        "SHUIDIAN_LINKS_DOOR": f"{HOST}:{door_port}",
        "SHUIDIAN_LINKS_TOKEN": token,
        "SHUIDIAN_DTU_LISTEN": f"{HOST}:{dtu_port}",
    }
    gateway = await make_dialling(worlds[0])
    registration = f"{worlds[0].code}-dtu".encode()
    await allow(worlds[0], gateway, DialIn(registration, heartbeat=b"ping"))
    box = VirtualDtu(
        server=(HOST, dtu_port),
        bus=(HOST, site.gateways["GW-1"].port),
        registration=registration,
    )
    door = DoorAddress(HOST, door_port, token)
    first, second = await Process.start(env), None
    running = asyncio.create_task(box.run(redial_s=0.1, beat_s=1.0))
    try:
        await first.says("links held")
        second = await Process.start(env)
        assert await read_total(door, gateway) == 1_001_500
        await first.kill()
        await second.says("links held")
        assert await read_total(door, gateway) == 1_001_500
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        assert await asyncio.to_thread(main, ["links", "--check"]) == 0
        assert await second.stop() == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await first.kill()
        if second is not None:
            await second.kill()
