"""Claims in PostgreSQL: used once, counted for good, dead when five were wrong (A9)."""

from __future__ import annotations

import asyncio
import base64
import secrets
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

import asyncpg
import pytest

from backend.enrolment.claims import PostgresClaims
from backend.enrolment.desk import NOTED_FOR, KeyDesk
from backend.enrolment.rules import UplinkState
from backend.journeys import gateway_keys
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict
from backend.metering.models import Gateway
from backend.sandbox.embedded.services import EmbeddedServices
from backend.uplink.enrol import CLAIM_LIFE, WRONG_TRIES, GatewayEnrolment
from backend.uplink.errors import (
    ClaimExpired,
    ClaimLocked,
    ClaimRefused,
    ClaimSpent,
    FrameMalformed,
    KeyBlobBroken,
)
from backend.uplink.keys import new_gateway

from .catalogue import Connection
from .sealed import (
    audit_of,
    cases_of,
    claimed,
    desk_at,
    enrolled,
    make_sealed,
    revoke,
    row_of,
    standing_of,
)
from .world import START, World

Worlds = tuple[World, World]


@pytest.fixture
def desk(database: EmbeddedServices) -> KeyDesk:
    """The desk of a process."""
    return desk_at(database.app_dsn())


def wrong(box: GatewayEnrolment, *, serial: str = "SEALED-1") -> bytes:
    """A request that names the claim in `box` but does not know its secret."""
    for check in range(256):
        body = box.request[1:9] + bytes(16) + bytes([check])
        with suppress(ClaimRefused):
            return GatewayEnrolment(code=base64.b32encode(body).decode(), serial=serial).request
    raise AssertionError("one of 256 checksums is right")


def renamed(request: bytes) -> bytes:
    """The same request for a claim that nobody made."""
    return request[:1] + secrets.token_bytes(8) + request[9:]


async def open_claims(world: World, gateway: Gateway) -> list[bytes]:
    """The claims of a gateway that were neither used nor killed."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT id FROM enrolment_claim WHERE group_id = $1 AND gateway_id = $2"
            " AND spent_at IS NULL AND ended_at IS NULL",
            work.group_id,
            gateway.id,
        )
    return [row["id"] for row in rows]


async def test_neither_the_code_nor_a_key_rests_anywhere_nor_is_it_audited(
    worlds: Worlds, desk: KeyDesk, owner: Connection
) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    made = await gateway_keys.make_claim(world.ports, scope=world.scope, gateway_id=gateway.id)
    box = GatewayEnrolment(code=made.code, serial=gateway.serial)
    key, root = box.finish(await desk.enrol(box.request, at=START))
    raw = base64.b32decode(made.code.replace("-", ""))
    kept = ""
    for table in ("enrolment_claim", "enrolment_ring", "enrolment_key", "audit_entry"):
        rows = await owner.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t")
        kept += "".join(row["row"] for row in rows)
    assert key.gateway.hex() in kept
    for secret in (made.code, raw[8:24].hex(), root.hex(), made.code.replace("-", "")):
        assert secret not in kept
    assert made.code not in repr(made)
    actions = [(e.action, e.actor.kind, e.project_id) for e in await audit_of(world)]
    assert actions[:2] == [
        ("gateway:keys:enrol", "system", world.project.id),
        ("gateway:claim:make", "operator", world.project.id),
    ]


async def test_a_claim_is_used_once_and_its_second_use_is_one_case(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world, other = worlds
    gateway = await make_sealed(world)
    box = await claimed(world, gateway)
    await desk.enrol(box.request, at=START)
    for _ in range(3):
        with pytest.raises(Conflict):  # the gateway is in use: not even looked at
            await desk.enrol(box.request, at=START)
    await revoke(world, gateway)
    for number in range(3):
        with pytest.raises(ClaimSpent):
            await desk.enrol(box.request, at=START + number * 2 * NOTED_FOR)
    (case,) = await cases_of(world)
    assert (case.kind, case.subject) == ("UPLINK_CLAIM_SPENT", str(gateway.id))
    assert await cases_of(other) == []


async def test_of_ten_requests_at_once_one_gets_a_key(worlds: Worlds, desk: KeyDesk) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    box = await claimed(world, gateway)
    got = await asyncio.gather(
        *(desk.enrol(box.request, at=START) for _ in range(10)), return_exceptions=True
    )
    answers = [one for one in got if isinstance(one, bytes)]
    assert len(answers) == 1
    assert {type(one) for one in got} <= {bytes, ClaimSpent, Conflict}
    key, root = box.finish(answers[0])
    assert await desk.root(key) == root
    assert (await row_of(world, gateway)).revision == 1


async def test_five_wrong_tries_stay_though_every_request_failed_and_lock_the_claim(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world, other = worlds
    gateway, theirs = await make_sealed(world), await make_sealed(other)
    box, their_box = await claimed(world, gateway), await claimed(other, theirs)
    guess = wrong(box)
    for _ in range(4):
        with pytest.raises(ClaimRefused):
            await desk.enrol(guess, at=START)
    assert await cases_of(world) == []
    with pytest.raises(ClaimLocked):
        await desk.enrol(guess, at=START)
    for number in range(3):
        with pytest.raises(ClaimLocked):
            await desk.enrol(box.request, at=START + number * 2 * NOTED_FOR)
    assert (await standing_of(world, gateway)).state is UplinkState.LOCKED
    (case,) = await cases_of(world)
    assert (case.kind, case.subject) == ("UPLINK_CLAIM_LOCKED", str(gateway.id))
    assert case.detail == {"gateway": "SEALED-1"}
    assert await cases_of(other) == []
    assert (await desk.enrol(their_box.request, at=START)) != b""
    assert (await enrolled(world, desk, gateway)).key.version == 1, "a new claim opens it again"


async def spent_and_lost(claim_id: bytes) -> None:
    """Count a wrong try, spend, then fail before anything was stored. Raises LookupError."""
    async with AsyncExitStack() as stack:
        claims = PostgresClaims(stack)
        await claims.find(claim_id)
        assert await claims.count_wrong(claim_id) == 1
        assert await claims.spend(claim_id, at=START)
        raise LookupError


async def test_a_wrong_try_survives_a_rollback_of_what_surrounds_it(worlds: Worlds) -> None:
    claim_id = (await claimed(worlds[0], await make_sealed(worlds[0]))).request[1:9]
    with pytest.raises(LookupError):
        await spent_and_lost(claim_id)
    async with AsyncExitStack() as stack:
        found = await PostgresClaims(stack).find(claim_id)
    assert found is not None
    assert (found.wrong_tries, found.spent_at) == (1, None)


async def test_a_claim_is_not_spent_when_its_key_cannot_be_stored(
    worlds: Worlds, desk: KeyDesk, owner: Connection
) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    box = await claimed(world, gateway)
    await owner.execute("REVOKE INSERT ON enrolment_key FROM shuidian_app")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await desk.enrol(box.request, at=START)
    finally:
        await owner.execute("GRANT INSERT ON enrolment_key TO shuidian_app")
    assert (await standing_of(world, gateway)).state is UplinkState.CLAIMED
    key, root = box.finish(await desk.enrol(box.request, at=START))
    assert await desk.root(key) == root


async def test_a_claim_lives_72_hours_and_the_database_makes_none_longer(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    box = await claimed(world, gateway)
    with pytest.raises(ClaimExpired):
        await desk.enrol(box.request, at=START + CLAIM_LIFE)
    world.clock.advance(CLAIM_LIFE)
    late = await standing_of(world, gateway)
    assert (late.state, late.claim_expires_at) == (UplinkState.NEW, START + CLAIM_LIFE)
    assert await desk.enrol(box.request, at=START + CLAIM_LIFE - timedelta(seconds=1))
    with pytest.raises(asyncpg.CheckViolationError):
        async with unit_of_work(world.group_id) as work:
            await work.execute(
                "UPDATE enrolment_claim SET expires_at = expires_at + interval '1 second'"
            )


@pytest.mark.parametrize("death", ["locked", "used", "replaced", "over"])
async def test_a_claim_that_died_after_it_was_found_is_not_spent(
    death: str, worlds: Worlds, desk: KeyDesk
) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    box = await claimed(world, gateway)
    claim_id, at = box.request[1:9], START
    async with AsyncExitStack() as stack:
        claims = PostgresClaims(stack)
        await claims.find(claim_id)
        if death == "locked":
            for _ in range(WRONG_TRIES):
                await claims.count_wrong(claim_id)
        elif death == "used":
            await desk.enrol(box.request, at=START)
        elif death == "replaced":
            await claimed(world, gateway)
        else:
            at = START + CLAIM_LIFE
        assert not await claims.spend(claim_id, at=at)


async def test_a_new_claim_kills_the_older_one(worlds: Worlds, desk: KeyDesk) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    older, newer = await claimed(world, gateway), await claimed(world, gateway)
    with pytest.raises(ClaimRefused):
        await desk.enrol(older.request, at=START)
    assert await desk.enrol(newer.request, at=START)
    assert await open_claims(world, gateway) == []


async def test_of_claims_made_at_the_same_moment_one_stays_open(worlds: Worlds) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    got = await asyncio.gather(*(claimed(world, gateway) for _ in range(6)), return_exceptions=True)
    assert {type(one) for one in got} <= {GatewayEnrolment, Conflict}
    assert len(await open_claims(world, gateway)) == 1


async def test_a_claim_moved_to_another_group_or_an_unknown_or_malformed_one_enrols_nothing(
    worlds: Worlds, desk: KeyDesk, superuser: Connection
) -> None:
    world, other = worlds
    gateway, theirs = await make_sealed(world), await make_sealed(other)
    box = await claimed(world, gateway)
    await superuser.execute(
        "UPDATE enrolment_claim SET group_id = $1, project_id = $2, gateway_id = $3 WHERE id = $4",
        other.group_id,
        other.project.id,
        theirs.id,
        box.request[1:9],
    )
    with pytest.raises(KeyBlobBroken):
        await desk.enrol(box.request, at=START)
    assert [case.kind for case in await cases_of(other)] == ["UPLINK_KEY_BLOB_BROKEN"]
    with pytest.raises(ClaimRefused):
        await desk.enrol(renamed(box.request), at=START)
    for noise in (b"", b"\x01", secrets.token_bytes(200), b"\x01" + bytes(50_000)):
        with pytest.raises(FrameMalformed):
            await desk.enrol(noise, at=START)
    assert await desk.ring_of(new_gateway()) is None


async def test_a_revocation_before_the_first_enrolment_kills_the_claim(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world = worlds[0]
    gateway = await make_sealed(world)
    box = await claimed(world, gateway)
    await revoke(world, gateway, "code was lost")
    with pytest.raises(ClaimRefused):
        await desk.enrol(box.request, at=START)
    assert (await standing_of(world, gateway)).state is UplinkState.NEW
