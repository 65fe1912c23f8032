"""A gateway's claim and keys: made, rotated, revoked; what is shown of them is never a secret but once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from backend.enrolment.queries import Standing, standings
from backend.enrolment.rules import UplinkState
from backend.journeys import gateway_keys
from backend.tenancy.rules import Permission

from .context import Info
from .problems import AnyProblem
from .rights import mutation
from .scalars import uuid_of

_LONG = frozenset({"reason"})

strawberry.enum(
    UplinkState,
    description="NEW: no key yet. CLAIMED: a claim waits for the installer. LOCKED: that claim died"
    " of wrong tries. ACTIVE: a key is good. REVOKED: every key is dead.",
)


@strawberry.type(description="Where a gateway's sealed uplink stands.")
class GatewayUplink:
    """密钥状态."""

    state: UplinkState
    key_version: int | None = strawberry.field(description="The key in use; null when none is.")
    enrolled_at: datetime | None
    claim_expires_at: datetime | None = strawberry.field(
        description="When the claim that is still unused expires, or when it did."
    )
    rotation_wanted: bool = strawberry.field(
        description="A new key was asked for and is not in use yet."
    )
    revoked_at: datetime | None


@strawberry.type(
    description="Type the code into the gateway. It is shown this once and kept nowhere."
)
class GatewayClaim:
    """入网码."""

    gateway: strawberry.ID
    code: str
    expires_at: datetime


@strawberry.type(description="A gateway and its sealed uplink as it is now.")
class GatewayKeys:
    """密钥."""

    gateway: strawberry.ID
    uplink: GatewayUplink


MakeGatewayClaimResult = Annotated[
    GatewayClaim | AnyProblem, strawberry.union("MakeGatewayClaimResult")
]
RevokeGatewayKeysResult = Annotated[
    GatewayKeys | AnyProblem, strawberry.union("RevokeGatewayKeysResult")
]
RotateGatewayKeysResult = Annotated[
    GatewayKeys | AnyProblem, strawberry.union("RotateGatewayKeysResult")
]


def uplink_as_shown(found: Standing) -> GatewayUplink:
    """A sealed uplink as the schema shows it."""
    return GatewayUplink(
        state=found.state,
        key_version=found.key_version,
        enrolled_at=found.enrolled_at,
        claim_expires_at=found.claim_expires_at,
        rotation_wanted=found.rotation_wanted,
        revoked_at=found.revoked_at,
    )


async def _keys_of(info: Info, gateway: strawberry.ID) -> GatewayKeys:
    """Read anew, not by the request's loader: another mutation of the same document may have been
    before."""
    id_ = uuid_of(gateway, "Gateway")
    async with info.context.work() as work:
        found = await standings(work, gateway_ids=[id_], at=info.context.now)
    return GatewayKeys(gateway=gateway, uplink=uplink_as_shown(found[id_]))


@strawberry.type
class GatewayKeyMutations:
    """Writes."""

    @mutation(Permission.GATEWAY_KEYS)
    async def make_gateway_claim(
        self, info: Info, gateway: strawberry.ID
    ) -> MakeGatewayClaimResult:
        """A code that enrols the gateway once within 72 hours; the one before it is dead."""
        made = await gateway_keys.make_claim(
            info.context.ports,
            scope=info.context.caller(),
            gateway_id=uuid_of(gateway, "Gateway"),
        )
        return GatewayClaim(gateway=gateway, code=made.code, expires_at=made.expires_at)

    @mutation(Permission.GATEWAY_KEYS, long=_LONG)
    async def revoke_gateway_keys(
        self, info: Info, gateway: strawberry.ID, reason: str
    ) -> RevokeGatewayKeysResult:
        """Kill every key and claim of the gateway; its line is cut within 5 seconds."""
        await gateway_keys.revoke_keys(
            scope=info.context.caller(),
            gateway_id=uuid_of(gateway, "Gateway"),
            reason=reason,
            at=info.context.now,
        )
        return await _keys_of(info, gateway)

    @mutation(Permission.GATEWAY_KEYS)
    async def rotate_gateway_keys(
        self, info: Info, gateway: strawberry.ID
    ) -> RotateGatewayKeysResult:
        """Ask for a new key; the gateway gets it as soon as it is connected."""
        await gateway_keys.rotate_keys(
            scope=info.context.caller(),
            gateway_id=uuid_of(gateway, "Gateway"),
            at=info.context.now,
        )
        return await _keys_of(info, gateway)
