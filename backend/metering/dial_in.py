"""Who may dial in: the registration by which a gateway that is not dialled names itself.

A registration is no proof (reference/meter-protocols.md 6.4): whoever sends a DTU's or a 4G meter's bytes
is taken for it. So it is on a list, of one group only, and changing it is audited; where the DTU takes
user bytes, random ones are as good as a password on that line and better than an ICCID.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from backend.audit.operations import record
from backend.kernel.db import UnitOfWork, platform_connection, unit_of_work
from backend.kernel.errors import Conflict, InvalidInput
from backend.kernel.scope import Scope
from backend.kernel.secrets import SecretBox
from backend.tenancy.rules import Permission

from .models import Gateway
from .queries import gateway as gateway_door
from .rules import GatewayLink

# Rung with the gateway's id when its row changes, so that whoever holds its line lets go of it.
BELL = "shuidian_dial_ins"

_SHORTEST, _LONGEST = 4, 40
_TEXT = re.compile(rb"[\x21-\x7e]+")
_SECRET = re.compile(r"[\x21-\x7e]{16}")
_LONGEST_SERIAL = 20


@dataclass(frozen=True, slots=True)
class DialIn:
    """How a gateway names itself. `prefix`: before every packet, not only once. `heartbeat`: a DTU's own
    bytes. `secret`: the 16 characters of an Acrel gateway."""

    registration: bytes
    prefix: bool = False
    heartbeat: bytes | None = None
    secret: str | None = field(default=None, repr=False)

    def check(self, link: GatewayLink) -> None:
        """Raise Conflict for a link that nobody dials in on, InvalidInput for what does not fit it."""
        match link:
            case GatewayLink.DTU:
                self._check_dtu()
            case GatewayLink.ACREL_4G | GatewayLink.ACREL_GATEWAY:
                self._check_acrel(link)
            case _:
                raise Conflict("this gateway does not dial in with a registration")

    def _check_dtu(self) -> None:
        if not _SHORTEST <= len(self.registration) <= _LONGEST:
            raise InvalidInput("a registration is 4 to 40 bytes", field="registration")
        if self.heartbeat is not None and not 1 <= len(self.heartbeat) <= _LONGEST:
            raise InvalidInput("a heartbeat is 1 to 40 bytes", field="heartbeat")
        if self.secret is not None:
            raise InvalidInput("a DTU has no secret", field="secret")

    def _check_acrel(self, link: GatewayLink) -> None:
        longest = _LONGEST_SERIAL if link is GatewayLink.ACREL_4G else _LONGEST
        right_size = _SHORTEST <= len(self.registration) <= longest
        if not right_size or not _TEXT.fullmatch(self.registration):
            raise InvalidInput(
                f"it registers as 4 to {longest} letters and digits", field="registration"
            )
        if self.prefix or self.heartbeat is not None:
            raise InvalidInput("only a DTU has a prefix and heartbeats of its own", field="prefix")
        if link is GatewayLink.ACREL_4G and self.secret is not None:
            raise InvalidInput("a 4G meter has no secret", field="secret")
        if link is GatewayLink.ACREL_GATEWAY and not _SECRET.fullmatch(self.secret or ""):
            raise InvalidInput("an Acrel gateway's secret has 16 characters", field="secret")


@dataclass(frozen=True, slots=True)
class DialInGateway:
    """A gateway with the way it dials in."""

    group_id: int
    gateway_id: UUID
    project_id: UUID
    serial: str
    link: GatewayLink
    dial_in: DialIn


async def set_dial_in(
    work: UnitOfWork,
    *,
    scope: Scope,
    box: SecretBox,
    gateway_id: UUID,
    dial_in: DialIn,
    at: datetime,
) -> Gateway:
    """Let the gateway dial in as `dial_in`, and as nothing else; a line that stands is cut.

    Raises NotFound, Forbidden, InvalidInput, Conflict (it is dialled; the registration is in use).
    """
    gateway = await gateway_door(work, scope=scope, gateway_id=gateway_id)
    scope.require(Permission.METER_WRITE, gateway.project_id)
    dial_in.check(GatewayLink(gateway.link))
    secret = dial_in.secret
    sealed = secret and box.seal({"secret": secret}, place=_place(work.group_id, gateway_id))
    try:
        await work.execute(
            "INSERT INTO metering_dial_in"
            " (group_id, gateway_id, link, registration, prefix, heartbeat, secret, set_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (group_id, gateway_id)"
            " DO UPDATE SET link = EXCLUDED.link, registration = EXCLUDED.registration,"
            " prefix = EXCLUDED.prefix, heartbeat = EXCLUDED.heartbeat, secret = EXCLUDED.secret,"
            " set_at = EXCLUDED.set_at",
            work.group_id,
            gateway_id,
            gateway.link,
            dial_in.registration,
            dial_in.prefix,
            dial_in.heartbeat,
            sealed,
            at,
        )
    except asyncpg.UniqueViolationError as taken:
        raise Conflict("this registration is in use") from taken
    await record(
        work,
        actor=scope.actor,
        action="gateway:registration:set",
        subject=str(gateway_id),
        at=at,
        project_id=gateway.project_id,
        after={
            "registrationHex": dial_in.registration.hex(),
            "prefix": dial_in.prefix,
            "heartbeatHex": None if dial_in.heartbeat is None else dial_in.heartbeat.hex(),
            "secret": dial_in.secret is not None,
        },
    )
    work.notify(BELL, str(gateway_id))
    return gateway


async def dial_in_by_registration(
    *, link: GatewayLink, candidates: Sequence[bytes], whole: bool, box: SecretBox
) -> DialInGateway | None:
    """Whose the longest of `candidates` (shortest first) is, over all groups; None for nobody's.

    Unless `whole`, None too while a longer registration begins with the last candidate. Not to be
    called inside a unit of work: the group is known only afterwards. Raises SealBroken.
    """
    async with platform_connection() as connection:
        found = await connection.fetchrow(
            "SELECT * FROM metering_dial_in_of($1, $2)", link, list(candidates)
        )
    if found is None or (found["longer"] and not whole):
        return None
    async with unit_of_work(found["of_group"]) as work:
        row = await work.fetchrow(
            "SELECT d.*, g.project_id, g.serial FROM metering_dial_in d"
            " JOIN metering_gateway g ON g.group_id = d.group_id AND g.id = d.gateway_id"
            " WHERE d.group_id = $1 AND d.gateway_id = $2 AND g.link = $3",
            work.group_id,
            found["of_gateway"],
            link,
        )
    if row is None:
        return None
    place = _place(row["group_id"], row["gateway_id"])
    secret = None if row["secret"] is None else box.open(row["secret"], place=place)["secret"]
    return DialInGateway(
        group_id=row["group_id"],
        gateway_id=row["gateway_id"],
        project_id=row["project_id"],
        serial=row["serial"],
        link=link,
        dial_in=DialIn(row["registration"], row["prefix"], row["heartbeat"], secret),
    )


def _place(group_id: int, gateway_id: UUID) -> str:
    return f"{group_id}/dial_in/{gateway_id}"
