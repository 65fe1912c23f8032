"""Commands to sealed gateways from any process: by the inner door of the one that holds their line."""

from __future__ import annotations

import json
from uuid import UUID

from backend.kernel.errors import Conflict, DomainError
from backend.uplink.errors import CommandExpired, MessageRefused, TripHeld
from backend.uplink.frame import FrameType
from backend.uplink.message import Cmd, Res, decode, encode
from workers.links.door import DoorAddress, send_command
from workers.links.errors import LinkDown, NoAnswer

# Longer than the holder waits for the gateway, so that its own word comes back.
WITHIN_S = 20.0
_REFUSALS: dict[str, type[DomainError]] = {
    kind.code: kind
    for kind in (LinkDown, NoAnswer, CommandExpired, TripHeld, Conflict, MessageRefused)
}


class RemoteCommand:
    """Sends commands to one gateway; what workers.links.remote.RemoteMeter calls."""

    def __init__(self, door: DoorAddress, gateway_id: UUID) -> None:
        self._door = door
        self._gateway_id = gateway_id

    async def __call__(self, cmd: Cmd) -> Res:
        """Raises LinkDown, CommandExpired, TripHeld (nothing was sent), NoAnswer (it may have been
        done), MessageRefused."""
        asked: dict[str, object] = json.loads(encode(cmd)[1])
        answer = await send_command(
            self._door, gateway_id=self._gateway_id, cmd=asked, timeout_s=WITHIN_S
        )
        if "error" in answer:
            code = str(answer["error"])
            # What the door says in words of its own leaves open whether the gateway heard it.
            raise _REFUSALS.get(code, NoAnswer)(f"the gateway's line says {code}")
        res = decode(FrameType.RES, json.dumps(answer.get("res")).encode())
        if not isinstance(res, Res) or res.cmd_id != cmd.cmd_id:
            raise NoAnswer("another command was answered")
        return res
