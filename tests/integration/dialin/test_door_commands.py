"""CMD: commands to sealed gateways go through the same door, to whoever answers for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from backend.kernel.errors import Conflict
from workers.links.dialin.line import Lines
from workers.links.door import Door, DoorAddress, DoorRefused, send_command
from workers.links.errors import LinkDown, NoAnswer

from .yard import HOST, WITHIN_S, Told

TOKEN = "t" * 32
GATEWAY = uuid4()


@dataclass
class Host:
    """Who answers for sealed gateways."""

    asked: list[tuple[UUID, dict[str, object]]] = field(default_factory=list)
    dies: bool = False

    async def command(self, gateway_id: UUID, cmd: dict[str, object]) -> dict[str, object]:
        """Answers "read", refuses "open"; anything else is never answered."""
        self.asked.append((gateway_id, cmd))
        match cmd.get("verb"):
            case "read":
                return {"total": 5}
            case "open":
                raise Conflict("the valve is locked")
        await asyncio.Event().wait()
        return {}


@pytest.fixture
async def host() -> Host:
    """The answering side."""
    return Host()


@pytest.fixture
async def door(host: Host) -> AsyncIterator[DoorAddress]:
    """A door with somebody behind it."""
    made = Door(token=TOKEN, lines=Lines(watch=Told()), command=host.command)
    await made.start(HOST, 0)
    yield DoorAddress(HOST, made.port, TOKEN)
    await made.stop()


async def test_a_command_is_answered_by_whoever_holds_the_sealed_line(
    door: DoorAddress, host: Host
) -> None:
    cmd: dict[str, object] = {"verb": "read", "meter": "230000000001"}
    answer = await send_command(door, gateway_id=GATEWAY, cmd=cmd, timeout_s=WITHIN_S)
    assert answer == {"res": {"total": 5}}
    assert host.asked == [(GATEWAY, cmd)]


async def test_a_refusal_comes_back_as_its_code(door: DoorAddress) -> None:
    answer = await send_command(door, gateway_id=GATEWAY, cmd={"verb": "open"}, timeout_s=WITHIN_S)
    assert answer == {"error": "CONFLICT"}


async def test_several_commands_go_through_one_opening_and_bad_json_is_told(
    door: DoorAddress, host: Host
) -> None:
    reader, writer = await asyncio.open_connection(HOST, door.port)
    writer.write(f"CMD {TOKEN} {GATEWAY}\n".encode())
    writer.write(b'{"cmd": {"verb": "read"}}\nno json\n{"cmd": 5}\n{"cmd": {"verb": "open"}}\n')
    async with asyncio.timeout(WITHIN_S):
        lines = [await reader.readline() for _ in range(5)]
    assert lines == [
        b"OK\n",
        b'{"res": {"total": 5}}\n',
        *[b'{"error": "INVALID_INPUT"}\n'] * 2,
        b'{"error": "CONFLICT"}\n',
    ]
    assert len(host.asked) == 2
    writer.close()


async def test_a_command_that_is_not_answered_may_have_been_done(
    door: DoorAddress, host: Host
) -> None:
    with pytest.raises(NoAnswer):
        await send_command(door, gateway_id=GATEWAY, cmd={"verb": "wait"}, timeout_s=0.2)
    assert len(host.asked) == 1


async def test_without_anybody_behind_it_the_door_says_not_connected() -> None:
    made = Door(token=TOKEN, lines=Lines(watch=Told()))
    await made.start(HOST, 0)
    door = DoorAddress(HOST, made.port, TOKEN)
    with pytest.raises(LinkDown, match="not connected"):
        await send_command(door, gateway_id=GATEWAY, cmd={}, timeout_s=WITHIN_S)
    await made.stop()
    with pytest.raises(LinkDown):
        await send_command(door, gateway_id=GATEWAY, cmd={}, timeout_s=WITHIN_S)


async def test_a_wrong_token_sends_no_command(door: DoorAddress, host: Host) -> None:
    wrong = DoorAddress(door.host, door.port, "u" * 32)
    with pytest.raises(DoorRefused):
        await send_command(wrong, gateway_id=GATEWAY, cmd={"verb": "read"}, timeout_s=WITHIN_S)
    assert host.asked == []
