"""The allow-list in the database: what fits, whose a registration is, and who may say so."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

import asyncpg
import pytest

from backend.audit.queries import entries
from backend.kernel.db import unit_of_work
from backend.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.kernel.secrets import SealBroken, SecretBox
from backend.metering.dial_in import (
    BELL,
    DialIn,
    DialInGateway,
    dial_in_by_registration,
    set_dial_in,
)
from backend.metering.rules import GatewayLink
from backend.tenancy.rules import Permission

from ..dialled import allow, make_dialling
from ..world import BOX, World, admin_scope, new_id

DTU, ACREL, METER_4G = GatewayLink.DTU, GatewayLink.ACREL_GATEWAY, GatewayLink.ACREL_4G
Worlds = tuple[World, World]


async def find(
    *candidates: bytes, link: GatewayLink = DTU, whole: bool = True
) -> DialInGateway | None:
    """Whose it is."""
    return await dial_in_by_registration(link=link, candidates=candidates, whole=whole, box=BOX)


async def test_a_registration_leads_to_its_gateway_whatever_group_it_is_of(
    worlds: Worlds, unique: str
) -> None:
    for world in worlds:
        gateway = await make_dialling(world)
        dial_in = DialIn(f"{world.code}".encode(), prefix=True, heartbeat=b"\x00\xff")
        await allow(world, gateway, dial_in)
        found = await find(b"nobody", world.code.encode())
        assert found == DialInGateway(
            world.group_id, gateway.id, world.project.id, "DTU-1", DTU, dial_in
        )
    assert await find(unique.encode()) is None
    assert await find(worlds[0].code.encode(), link=METER_4G) is None


async def test_a_registration_is_one_gateways_only_and_the_other_group_learns_nothing_more(
    worlds: Worlds, unique: str
) -> None:
    first, second = [await make_dialling(world) for world in worlds]
    await allow(worlds[0], first, DialIn(unique.encode()))
    with pytest.raises(Conflict) as taken:
        await allow(worlds[1], second, DialIn(unique.encode()))
    assert taken.value.message == "this registration is in use"
    found = await find(unique.encode())
    assert found is not None
    assert found.gateway_id == first.id
    await allow(worlds[0], first, DialIn(unique.encode() + b"-new"))
    await allow(worlds[1], second, DialIn(unique.encode()))
    found = await find(unique.encode())
    assert found is not None
    assert found.gateway_id == second.id


async def test_the_longest_registration_counts_and_a_longer_one_is_waited_for(
    worlds: Worlds, unique: str
) -> None:
    short, long = unique.encode(), unique.encode() + b"\xff\xff"
    for registration, serial in ((short, "DTU-1"), (long, "DTU-2")):
        gateway = await make_dialling(worlds[0], serial=serial)
        await allow(worlds[0], gateway, DialIn(registration))
    assert await find(short, whole=False) is None, "the longer one may still come"
    for candidates, whole, serial in (
        ((short,), True, "DTU-1"),
        ((short, short + b"p"), False, "DTU-1"),
        ((short, long), False, "DTU-2"),
        ((short, long, long + b"ping"), False, "DTU-2"),
    ):
        found = await find(*candidates, whole=whole)
        assert found is not None
        assert found.serial == serial


async def test_a_secret_is_kept_sealed_and_bound_to_its_gateway(
    worlds: Worlds, unique: str
) -> None:
    world, secret = worlds[0], secrets.token_hex(8)
    gateway = await make_dialling(world, link=ACREL)
    await allow(world, gateway, DialIn(unique.encode(), secret=secret))
    found = await find(unique.encode(), link=ACREL)
    assert found is not None
    assert found.dial_in.secret == secret
    assert secret not in repr(found)
    async with unit_of_work(world.group_id) as work:
        (newest, *_) = await entries(work, before_seq=None, limit=1)
        sealed = await work.fetchval(
            "SELECT secret FROM metering_dial_in WHERE group_id = $1", work.group_id
        )
    assert newest.action == "gateway:registration:set"
    assert secret.encode() not in bytes(sealed) + str(newest).encode()
    with pytest.raises(SealBroken):
        await dial_in_by_registration(
            link=ACREL,
            candidates=[unique.encode()],
            whole=True,
            box=SecretBox({1: secrets.token_bytes(32)}),
        )


@pytest.mark.parametrize(
    ("link", "dial_in", "field"),
    [
        (DTU, DialIn(b"123"), "registration"),
        (DTU, DialIn(b"1" * 41), "registration"),
        (DTU, DialIn(b"1234", heartbeat=b""), "heartbeat"),
        (DTU, DialIn(b"1234", heartbeat=b"1" * 41), "heartbeat"),
        (DTU, DialIn(b"1234", secret="1" * 16), "secret"),
        (METER_4G, DialIn(b"1" * 21), "registration"),
        (METER_4G, DialIn(b"12 34"), "registration"),
        (METER_4G, DialIn(b"1234", heartbeat=b"x"), "prefix"),
        (METER_4G, DialIn(b"1234", secret="1" * 16), "secret"),
        (ACREL, DialIn(b"GW-1"), "secret"),
        (ACREL, DialIn(b"GW-1", secret="1" * 15), "secret"),
        (ACREL, DialIn(b"GW-1", secret="钥" * 16), "secret"),
        (ACREL, DialIn(b"GW-1", prefix=True, secret="1" * 16), "prefix"),
    ],
)
async def test_what_does_not_fit_the_link_is_named_and_nothing_is_kept(
    worlds: Worlds, link: GatewayLink, dial_in: DialIn, field: str
) -> None:
    gateway = await make_dialling(worlds[0], link=link)
    with pytest.raises(InvalidInput) as refused:
        await allow(worlds[0], gateway, dial_in)
    assert refused.value.field == field
    async with unit_of_work(worlds[0].group_id) as work:
        assert not await work.fetchval("SELECT count(*) FROM metering_dial_in")


async def test_a_gateway_that_is_dialled_or_sealed_has_no_registration(worlds: Worlds) -> None:
    sealed = await make_dialling(worlds[0], serial="UP-1", link=GatewayLink.UPLINK)
    for gateway in (worlds[0].gateway, sealed):
        with pytest.raises(Conflict):
            await allow(worlds[0], gateway, DialIn(b"1234-5678"))


async def test_only_who_may_write_meters_in_its_project_sets_a_registration(
    worlds: Worlds, unique: str
) -> None:
    gateway = await make_dialling(worlds[0])
    reader = admin_scope(worlds[0].group_id, permissions=frozenset({Permission.METER_READ}))
    for scope, wanted, refusal in (
        (reader, gateway.id, Forbidden),
        (replace(reader, group_permissions=frozenset()), gateway.id, NotFound),
        (worlds[0].scope, new_id(), NotFound),
        (worlds[1].scope, gateway.id, NotFound),
    ):
        async with unit_of_work(scope.group_id) as work:
            with pytest.raises(refusal):
                await set_dial_in(
                    work,
                    scope=scope,
                    box=BOX,
                    gateway_id=wanted,
                    dial_in=DialIn(unique.encode()),
                    at=worlds[0].clock.now(),
                )
    assert await find(unique.encode()) is None


async def test_the_application_cannot_look_through_the_directory_or_list_a_foreign_id(
    worlds: Worlds, app: asyncpg.Connection[asyncpg.Record], unique: str
) -> None:
    gateway = await make_dialling(worlds[0])
    await allow(worlds[0], gateway, DialIn(unique.encode()))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.fetch("SELECT * FROM metering_dial_in_directory")
    assert await app.fetch("SELECT * FROM metering_dial_in") == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("DELETE FROM metering_dial_in")
    async with app.transaction():
        await app.execute(f"SET LOCAL app.group_id = '{worlds[1].group_id}'")
        with pytest.raises(asyncpg.PostgresError):
            await app.execute(
                "INSERT INTO metering_dial_in VALUES ($1, $2, 'DTU', 'stolen', false, null, null, now())",
                worlds[0].group_id,
                gateway.id,
            )


async def test_a_change_is_rung_when_it_is_committed(
    worlds: Worlds, app: asyncpg.Connection[asyncpg.Record], unique: str
) -> None:
    gateway = await make_dialling(worlds[0])
    rung: asyncio.Queue[object] = asyncio.Queue()
    await app.add_listener(BELL, lambda *call: rung.put_nowait(call[-1]))
    await allow(worlds[0], gateway, DialIn(unique.encode()))
    async with asyncio.timeout(5):
        assert await rung.get() == str(gateway.id)
