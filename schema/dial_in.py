"""How gateways that dial in name themselves: set, and never shown back."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import strawberry

from backend.kernel.errors import InvalidInput
from backend.metering.dial_in import DialIn, set_dial_in
from backend.tenancy.rules import Permission

from .context import Info
from .meters import Gateway, gateway_of
from .problems import AnyProblem
from .rights import mutation
from .scalars import uuid_of


@strawberry.enum(
    description="How the bytes of a registration and a heartbeat are written: as text, or in hexadecimal."
)
class BytesAs(Enum):
    """文本或十六进制."""

    TEXT = "TEXT"
    HEX = "HEX"


SetGatewayDialInResult = Annotated[Gateway | AnyProblem, strawberry.union("SetGatewayDialInResult")]


def _bytes(text: str, written_as: BytesAs) -> bytes:
    if written_as is BytesAs.TEXT:
        return text.encode()
    try:
        return bytes.fromhex(text)
    except ValueError as wrong:
        raise InvalidInput("this is no hexadecimal text", field="writtenAs") from wrong


@strawberry.type
class DialInMutations:
    """Writes."""

    @mutation(Permission.METER_WRITE)
    async def set_gateway_dial_in(
        self,
        info: Info,
        gateway: strawberry.ID,
        registration: str,
        written_as: BytesAs = BytesAs.TEXT,
        prefix: bool = False,
        heartbeat: str | None = None,
        secret: str | None = None,
    ) -> SetGatewayDialInResult:
        """Let a gateway dial in by this registration, and no other; a connection that stands is cut."""
        scope, at, box = info.context.caller(), info.context.now, info.context.ports.box
        gateway_id, named = uuid_of(gateway, "Gateway"), _bytes(registration, written_as)
        beat = None if heartbeat is None else _bytes(heartbeat, written_as)
        dial_in = DialIn(registration=named, prefix=prefix, heartbeat=beat, secret=secret)
        async with info.context.work() as work:
            row = await set_dial_in(
                work, scope=scope, box=box, gateway_id=gateway_id, dial_in=dial_in, at=at
            )
        return gateway_of(row)
