"""Key rings in PostgreSQL: offered, in use, revoked for good, and nobody's but their group's (A9)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.alerts.operations import resolve_case
from backend.enrolment import queries
from backend.enrolment.desk import KeyDesk
from backend.enrolment.rules import UplinkState
from backend.journeys import gateway_keys
from backend.kernel.db import platform_connection, unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.secrets import SecretBox
from backend.metering.models import Gateway
from backend.sandbox.embedded.services import EmbeddedServices
from backend.uplink.book import SessionBook
from backend.uplink.enrol import GatewayEnrolment
from backend.uplink.errors import (
    FrameReplayed,
    GatewayUnknown,
    KeyBlobBroken,
    KeyRetired,
    KeyRevoked,
    KeyUnknown,
)
from backend.uplink.frame import Mode
from backend.uplink.handshake import GatewayHandshake
from backend.uplink.keys import KeyName, new_gateway
from backend.uplink.rotation import OVERLAP

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
from .world import START, World, admin_scope

Worlds = tuple[World, World]


@pytest.fixture
def desk(database: EmbeddedServices) -> KeyDesk:
    """The desk of a process."""
    return desk_at(database.app_dsn())


async def keys_at_rest(world: World, gateway: Gateway) -> list[int]:
    """The versions whose root keys are in the database."""
    async with unit_of_work(world.group_id) as work:
        rows = await work.fetch(
            "SELECT version FROM enrolment_key WHERE group_id = $1 AND gateway_id = $2 ORDER BY 1",
            work.group_id,
            gateway.id,
        )
    return [row["version"] for row in rows]


async def test_an_enrolled_gateway_holds_the_key_that_the_cloud_keeps_and_can_say_hello(
    worlds: Worlds, desk: KeyDesk
) -> None:
    for world in worlds:
        keyed = await enrolled(world, desk, await make_sealed(world))
        row = await desk.ring_of(keyed.key.gateway)
        assert row is not None
        assert (row.group_id, row.gateway_id, row.serial) == (
            world.group_id,
            keyed.gateway.id,
            "SEALED-1",
        )
        assert await desk.root(keyed.key) == keyed.root
        assert row in await desk.rings()
        book = SessionBook(mode=Mode.DATAGRAM)
        book.put_ring(row.ring, at=START)
        shake = GatewayHandshake(key=keyed.key, root=keyed.root, mode=Mode.DATAGRAM, at=START)
        welcome, _ = book.greet(shake.hello, root=await desk.root(keyed.key), at=START)
        assert shake.finish(welcome, at=START)


async def test_a_root_key_moved_to_another_gateways_row_does_not_open(
    worlds: Worlds, desk: KeyDesk, superuser: Connection
) -> None:
    ours = await enrolled(worlds[0], desk, await make_sealed(worlds[0]))
    theirs = await enrolled(worlds[1], desk, await make_sealed(worlds[1]))
    await superuser.execute(
        "UPDATE enrolment_key SET blob = (SELECT blob FROM enrolment_key WHERE gateway_id = $1)"
        " WHERE gateway_id = $2",
        ours.gateway.id,
        theirs.gateway.id,
    )
    with pytest.raises(KeyBlobBroken):
        await desk.root(theirs.key)
    assert await desk.root(ours.key) == ours.root


async def test_a_key_is_wrapped_under_the_newest_kek_and_opens_while_its_own_is_configured(
    worlds: Worlds, database: EmbeddedServices
) -> None:
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)

    def desk_with(keks: dict[int, bytes]) -> KeyDesk:
        return gateway_keys.open_desk(dsn=database.app_dsn(), box=SecretBox(keks))

    world, old = worlds[0], desk_with({1: first})
    gateway = await make_sealed(world)
    made = await gateway_keys.make_claim(
        replace(world.ports, box=SecretBox({1: first})), scope=world.scope, gateway_id=gateway.id
    )
    box = GatewayEnrolment(code=made.code, serial=gateway.serial)
    key, root = box.finish(await desk_with({1: first, 2: second}).enrol(box.request, at=START))
    assert await desk_with({1: first, 2: second}).root(key) == root
    assert await desk_with({2: second}).root(key) == root
    with pytest.raises(KeyBlobBroken):
        await old.root(key)


async def test_a_revocation_kills_every_key_and_claim_and_is_final(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world, other = worlds
    keyed = await enrolled(world, desk, await make_sealed(world))
    theirs = await enrolled(other, desk, await make_sealed(other))
    row, _ = await desk.offer(await row_of(world, keyed.gateway), at=START)
    assert await keys_at_rest(world, keyed.gateway) == [1, 2]
    await revoke(world, keyed.gateway)
    await revoke(world, keyed.gateway, "said it twice")
    assert await keys_at_rest(world, keyed.gateway) == []
    for version in (1, 2):
        with pytest.raises(KeyRevoked):
            await desk.root(KeyName(keyed.key.gateway, version))
    with pytest.raises(KeyUnknown):
        await desk.root(KeyName(keyed.key.gateway, 3))
    with pytest.raises(Conflict):  # a process that has not heard of it cannot write it away
        await desk.keep(row, row.ring.acknowledged(2, at=START), at=START)
    with pytest.raises(Conflict):
        await desk.offer(row, at=START)
    standing = await standing_of(world, keyed.gateway)
    assert (standing.state, standing.key_version, standing.revoked_at) == (
        UplinkState.REVOKED,
        None,
        START,
    )
    assert await desk.root(theirs.key) == theirs.root
    said = (await audit_of(world, "gateway:keys:revoke"))[-1]
    assert said.before == {"version": 1, "openClaims": 0}
    assert said.after == {"reason": "stolen from site", "revokedThrough": 2}


async def test_a_revoked_gateway_enrols_again_under_its_name_with_a_number_never_used_before(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world = worlds[0]
    first = await enrolled(world, desk, await make_sealed(world))
    with pytest.raises(Conflict, match="revoke"):
        await claimed(world, first.gateway)
    await revoke(world, first.gateway)
    second = await enrolled(world, desk, first.gateway)
    assert second.key == KeyName(first.key.gateway, 2)
    assert await desk.root(second.key) == second.root != first.root
    with pytest.raises(KeyRevoked):
        await desk.root(first.key)
    standing = await standing_of(world, first.gateway)
    assert (standing.state, standing.key_version) == (UplinkState.ACTIVE, 2)


async def test_a_rotation_is_wanted_until_the_new_key_is_in_use_and_the_old_one_is_destroyed(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world = worlds[0]
    keyed = await enrolled(world, desk, await make_sealed(world))
    await gateway_keys.rotate_keys(scope=world.scope, gateway_id=keyed.gateway.id, at=START)
    row = await row_of(world, keyed.gateway)
    assert row.rotation_wanted
    row, root = await desk.offer(row, at=START)
    assert row.rotation_wanted
    new = KeyName(keyed.key.gateway, 2)
    assert await desk.root(new) == root
    assert await desk.root(keyed.key) == keyed.root
    with pytest.raises(Conflict):
        await desk.offer(row, at=START)
    row = await desk.keep(row, row.ring.acknowledged(2, at=START), at=START)
    assert row.rotation_wanted
    row = await desk.keep(row, row.ring.used(2), at=START)
    assert not row.rotation_wanted
    assert await desk.root(new) == root
    with pytest.raises(KeyRetired):
        await desk.root(keyed.key)
    assert await keys_at_rest(world, keyed.gateway) == [2]
    said = [(e.action, e.before, e.after) for e in await audit_of(world, "gateway:keys:")]
    assert said[:3] == [
        ("gateway:keys:change", {"version": 1}, {"version": 2}),
        ("gateway:keys:offer", None, {"version": 2}),
        ("gateway:keys:rotate", {"version": 1}, None),
    ]


async def test_an_offer_nobody_heard_lapses_and_the_wish_stands(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world = worlds[0]
    keyed = await enrolled(world, desk, await make_sealed(world))
    await gateway_keys.rotate_keys(scope=world.scope, gateway_id=keyed.gateway.id, at=START)
    row, _ = await desk.offer(await row_of(world, keyed.gateway), at=START)
    acknowledged = await enrolled(worlds[1], desk, await make_sealed(worlds[1]))
    heard, _ = await desk.offer(await row_of(worlds[1], acknowledged.gateway), at=START)
    await desk.keep(heard, heard.ring.acknowledged(2, at=START), at=START)
    await desk.settle(at=START + OVERLAP - timedelta(seconds=1))
    assert await row_of(world, keyed.gateway) == row
    await desk.settle(at=START + OVERLAP)
    lapsed = await row_of(world, keyed.gateway)
    assert (lapsed.ring.current, lapsed.ring.pending, lapsed.rotation_wanted) == (1, None, True)
    assert await keys_at_rest(world, keyed.gateway) == [1]
    assert await keys_at_rest(worlds[1], acknowledged.gateway) == [2]
    again, _ = await desk.offer(lapsed, at=START + OVERLAP)
    assert again.ring.pending == 3


async def test_a_ring_that_others_changed_is_not_written_over(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world = worlds[0]
    keyed = await enrolled(world, desk, await make_sealed(world))
    row = await row_of(world, keyed.gateway)
    newer, _ = await desk.offer(row, at=START)
    with pytest.raises(Conflict):
        await desk.offer(row, at=START)
    with pytest.raises(ValueError, match="keeps the gateway"):
        await desk.keep(newer, newer.ring.revoked(), at=START)
    assert await row_of(world, keyed.gateway) == newer
    # A wish is no change of the ring: what the line holder knows is still true.
    await gateway_keys.rotate_keys(scope=world.scope, gateway_id=keyed.gateway.id, at=START)
    kept = await desk.keep(newer, newer.ring.acknowledged(2, at=START), at=START)
    assert (kept.ring.acknowledged_at, kept.rotation_wanted) == (START, True)


async def test_frames_under_a_revoked_key_are_one_episode_until_it_is_worked_off(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world, other = worlds
    keyed = await enrolled(world, desk, await make_sealed(world))
    row = await row_of(world, keyed.gateway)
    error = KeyRevoked("a stolen gateway")
    for second in range(0, 600, 7):
        await desk.refused(row, error, at=START + timedelta(seconds=second))
    await desk.refused(row, FrameReplayed("the broker repeats"), at=START)
    await desk_at("").refused(row, error, at=START)  # another process
    (case,) = await cases_of(world)
    assert (case.kind, case.subject) == ("UPLINK_KEY_REVOKED", str(keyed.gateway.id))
    assert await cases_of(other) == []
    async with unit_of_work(world.group_id) as work:
        await resolve_case(
            work, scope=world.scope, case_id=case.id, note="box fetched back", at=START
        )
    await desk.refused(row, error, at=START + timedelta(hours=1))
    assert [one.kind for one in await cases_of(world)] == ["UPLINK_KEY_REVOKED"]


async def test_who_lacks_the_permission_or_asks_for_anothers_gateway_changes_nothing(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world, other = worlds
    keyed = await enrolled(world, desk, await make_sealed(world))
    before = await row_of(world, keyed.gateway), len(await audit_of(world))
    reader = admin_scope(world.group_id, permissions=frozenset({"meter:read", "meter:write"}))
    for scope, error in ((reader, Forbidden), (other.scope, NotFound)):
        with pytest.raises(error):
            await gateway_keys.make_claim(world.ports, scope=scope, gateway_id=keyed.gateway.id)
        with pytest.raises(error):
            await gateway_keys.revoke_keys(
                scope=scope, gateway_id=keyed.gateway.id, reason="because", at=START
            )
        with pytest.raises(error):
            await gateway_keys.rotate_keys(scope=scope, gateway_id=keyed.gateway.id, at=START)
    with pytest.raises(InvalidInput):
        await revoke(world, keyed.gateway, "  x ")
    with pytest.raises(Conflict, match="no sealed uplink"):
        await claimed(world, world.gateway)
    assert before == (await row_of(world, keyed.gateway), len(await audit_of(world)))


async def test_questions_across_groups_tell_a_group_and_nothing_else(
    worlds: Worlds, desk: KeyDesk
) -> None:
    world, other = worlds
    keyed = await enrolled(world, desk, await make_sealed(world))
    with pytest.raises(GatewayUnknown):
        await desk.root(KeyName(new_gateway(), 1))
    assert await queries.group_of_wire(keyed.key.gateway) == world.group_id
    assert world.group_id in await queries.groups_with_rings()
    assert other.group_id not in await queries.groups_with_rings()
    async with unit_of_work(other.group_id) as work:
        assert await queries.rings(work) == []
        assert await queries.ring(work, wire_id=keyed.key.gateway) is None
        none = await queries.standings(work, gateway_ids=[keyed.gateway.id], at=START)
    assert none[keyed.gateway.id].state is UplinkState.NEW
    async with platform_connection() as bare:
        rows = await bare.fetch("SELECT * FROM enrolment_marks()")
        assert {len(row) for row in rows} == {2}
        for table in ("enrolment_claim", "enrolment_ring", "enrolment_key"):
            assert await bare.fetchval(f"SELECT count(*) FROM {table}") == 0
