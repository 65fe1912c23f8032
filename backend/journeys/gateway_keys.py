"""A gateway's claim and keys as operators order them, and the desk of whoever holds the sealed line (A9)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from backend.alerts.operations import open_case
from backend.enrolment import operations
from backend.enrolment.desk import KeyDesk
from backend.enrolment.operations import NewClaim
from backend.enrolment.rules import Box
from backend.kernel.db import UnitOfWork, unit_of_work
from backend.kernel.errors import Conflict
from backend.kernel.scope import Scope
from backend.kernel.secrets import SecretBox
from backend.metering.queries import gateway
from backend.metering.rules import GatewayLink
from backend.uplink.keys import KeyWrapper

from .ports import Ports


async def make_claim(ports: Ports, *, scope: Scope, gateway_id: UUID) -> NewClaim:
    """A code that enrols the gateway once, within 72 hours; the one before it is dead.

    Raises NotFound, Forbidden, Conflict (no sealed uplink; its keys are in use: revoke them first).
    """
    wrapper, at = wrapper_of(ports.box), ports.clock.now()
    async with unit_of_work(scope.group_id) as work:
        sealed = await _sealed(work, scope, gateway_id)
        return await operations.make_claim(work, scope=scope, box=sealed, wrapper=wrapper, at=at)


async def revoke_keys(*, scope: Scope, gateway_id: UUID, reason: str, at: datetime) -> None:
    """Kill every key and claim of the gateway; its line is cut within 5 s. Twice is fine.

    Raises NotFound, Forbidden, InvalidInput (no reason), Conflict (no sealed uplink).
    """
    async with unit_of_work(scope.group_id) as work:
        sealed = await _sealed(work, scope, gateway_id)
        await operations.revoke(work, scope=scope, box=sealed, reason=reason, at=at)


async def rotate_keys(*, scope: Scope, gateway_id: UUID, at: datetime) -> None:
    """Ask for a new key; whoever holds the line sends it when the gateway is there.

    Raises NotFound, Forbidden, Conflict (no sealed uplink, or no key in use).
    """
    async with unit_of_work(scope.group_id) as work:
        sealed = await _sealed(work, scope, gateway_id)
        await operations.want_rotation(work, scope=scope, box=sealed, at=at)


async def note_refusal(work: UnitOfWork, *, gateway: Box, code: str, at: datetime) -> UUID | None:
    """Raise what the sealed line refused as a case of kind `code`: one episode a gateway and code,
    until an operator resolves it. None when it is open already."""
    return await open_case(
        work,
        project_id=gateway.project_id,
        kind=code,
        subject=str(gateway.id),
        detail={"gateway": gateway.serial},
        at=at,
    )


def open_desk(*, dsn: str, box: SecretBox) -> KeyDesk:
    """The desk of the process that holds the sealed uplink. `dsn`: the application role's address."""
    return KeyDesk(dsn=dsn, wrapper=wrapper_of(box), note=note_refusal)


def wrapper_of(box: SecretBox) -> KeyWrapper:
    """What wraps claims and root keys, under keys of its own derived from the process's."""
    return KeyWrapper(box.keys_for("uplink"))


async def _sealed(work: UnitOfWork, scope: Scope, gateway_id: UUID) -> Box:
    found = await gateway(work, scope=scope, gateway_id=gateway_id)
    if found.link != GatewayLink.UPLINK:
        raise Conflict("this gateway has no sealed uplink")
    return Box(found.project_id, found.id, found.serial)
