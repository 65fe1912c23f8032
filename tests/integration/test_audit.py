"""Who did what: kept with the change, chained, and a rewritten row is named (C30, trust T21)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import secrets
import sys
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from backend import cli
from backend.audit.operations import record
from backend.audit.queries import entries, verify
from backend.audit.rules import content_of, entry_hash
from backend.kernel.db import unit_of_work
from backend.kernel.scope import Actor
from backend.sandbox.embedded.services import EmbeddedServices
from backend.tenancy.operations import save_credential

from .catalogue import Connection
from .world import BOX, START, World

ROWS = 12


async def write(world: World, *, count: int = ROWS) -> None:
    """Entries on top of those that making the world wrote."""
    for number in range(count):
        async with unit_of_work(world.group_id) as work:
            await record(
                work,
                actor=Actor("operator", "op-2", "chen", "203.0.113.9"),
                action="test:row:write",
                subject=f"subject {number}",
                at=START + timedelta(microseconds=number),
                project_id=world.project.id,
                before={"n": number - 1, "flag": True, "none": None},
                after={"n": number, "names": ["一", "b"]},
            )


async def broken_at(world: World) -> int | None:
    """Where the world's chain is broken."""
    async with unit_of_work(world.group_id) as work:
        return (await verify(work)).broken_at


async def length(world: World) -> int:
    """How many entries the world has."""
    async with unit_of_work(world.group_id) as work:
        count: int = await work.fetchval("SELECT count(*) FROM audit_entry")
    return count


async def test_every_operation_left_an_entry_and_the_chain_holds(
    worlds: tuple[World, World],
) -> None:
    for world in worlds:
        assert await broken_at(world) is None
        async with unit_of_work(world.group_id) as work:
            newest = await entries(work, before_seq=None, limit=50)
            older = await entries(work, before_seq=newest[1].seq, limit=50)
        assert [entry.action for entry in reversed(newest)] == [
            "project:self:create",
            "area:self:create",
            "account:self:open",
            "gateway:self:register",
            "meter:self:register",
            "meter:account:assign",
        ]
        assert [entry.seq for entry in newest] == [6, 5, 4, 3, 2, 1]
        assert older == newest[2:]
        assert newest[0].actor == world.scope.actor
        assert newest[3].after == {"no": "100001", "name": "Shop 100001", "phone": "138****8000"}


async def test_a_change_that_was_rolled_back_leaves_no_entry(worlds: tuple[World, World]) -> None:
    before = await length(worlds[0])

    async def fail() -> None:
        async with unit_of_work(worlds[0].group_id) as work:
            await record(work, actor=Actor("s", "s", "s"), action="a:b:c", subject="x", at=START)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await length(worlds[0]) == before


async def test_forty_writers_at_once_make_one_unbroken_chain(worlds: tuple[World, World]) -> None:
    before = await length(worlds[0])
    await asyncio.gather(*(write(world, count=1) for world in worlds for _ in range(40)))
    for world in worlds:
        assert await length(world) == before + 40
        assert await broken_at(world) is None


_EDITS = {
    "at": "at + interval '1 microsecond'",
    "actor_kind": "'system'",
    "actor_id": "'op-1'",
    "actor_name": "'wang'",
    "address": "''",
    "action": "'test:row:read'",
    "project_id": "NULL",
    "subject": "subject || ' '",
    "before": "NULL",
    "after": "'{}'",
    "after (not an object)": "'5'",
    "hash": "sha256(hash)",
}


@pytest.mark.parametrize("column", _EDITS)
async def test_an_edited_field_is_named_whoever_edited_it(
    worlds: tuple[World, World], superuser: Connection, unique: str, column: str
) -> None:
    ours, theirs = worlds
    await write(ours)
    seq = random.Random(unique).randrange(await length(ours) - ROWS + 1, await length(ours) + 1)
    await superuser.execute(
        f"UPDATE audit_entry SET {column.split()[0]} = {_EDITS[column]} WHERE group_id = $1 AND seq = $2",
        ours.group_id,
        seq,
    )
    assert await broken_at(ours) == seq
    assert await broken_at(theirs) is None


@pytest.mark.parametrize("seq", [1, 2, 7, 5 + ROWS])
async def test_a_deleted_row_is_named_wherever_it_was_but_at_the_end(
    worlds: tuple[World, World], superuser: Connection, seq: int
) -> None:
    ours, theirs = worlds
    await write(ours)
    assert seq < await length(ours) == 6 + ROWS
    await superuser.execute(
        "DELETE FROM audit_entry WHERE group_id = $1 AND seq = $2", ours.group_id, seq
    )
    assert await broken_at(ours) == seq
    assert await broken_at(theirs) is None


async def test_a_row_rewritten_together_with_its_hash_is_betrayed_by_the_next_one(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, _theirs = worlds
    await write(ours)
    rows = await superuser.fetch(
        "SELECT seq, hash FROM audit_entry WHERE group_id = $1 ORDER BY seq", ours.group_id
    )
    async with unit_of_work(ours.group_id) as work:
        (entry,) = await entries(work, before_seq=9, limit=1)
    forged = content_of(
        group_id=ours.group_id,
        seq=8,
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        project_id=entry.project_id,
        subject="another subject",
        before=entry.before,
        after=entry.after,
    )
    await superuser.execute(
        "UPDATE audit_entry SET subject = 'another subject', hash = $3"
        " WHERE group_id = $1 AND seq = $2",
        ours.group_id,
        8,
        entry_hash(rows[6]["hash"], forged),
    )
    assert await broken_at(ours) == 9


async def test_an_inserted_row_is_named(worlds: tuple[World, World], superuser: Connection) -> None:
    ours, _theirs = worlds
    last = await length(ours)
    await superuser.execute(
        "INSERT INTO audit_entry SELECT group_id, seq + 1, at, actor_kind, actor_id, actor_name,"
        " address, action, project_id, subject, before, after, hash FROM audit_entry"
        " WHERE group_id = $1 AND seq = $2",
        ours.group_id,
        last,
    )
    assert await broken_at(ours) == last + 1


async def test_a_chain_of_another_group_does_not_pass_for_ones_own(
    worlds: tuple[World, World], superuser: Connection
) -> None:
    ours, theirs = worlds
    await superuser.execute("DELETE FROM audit_entry WHERE group_id = $1", ours.group_id)
    await superuser.execute(
        "INSERT INTO audit_entry SELECT $1, seq, at, actor_kind, actor_id, actor_name, address,"
        " action, NULL, subject, before, after, hash FROM audit_entry WHERE group_id = $2",
        ours.group_id,
        theirs.group_id,
    )
    assert await broken_at(ours) == 1


async def test_the_application_itself_can_neither_edit_nor_delete_an_entry(
    worlds: tuple[World, World],
) -> None:
    for statement in ("UPDATE audit_entry SET subject = ''", "DELETE FROM audit_entry"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with unit_of_work(worlds[0].group_id) as work:
                await work.execute(statement)
    assert await broken_at(worlds[0]) is None


async def test_the_audit_names_a_credentials_fields_and_never_their_values(
    worlds: tuple[World, World], owner: Connection
) -> None:
    ours, _theirs = worlds
    async with unit_of_work(ours.group_id) as work:
        made: UUID = await save_credential(
            work,
            scope=ours.scope,
            box=BOX,
            kind="ALIYUN_SMS",
            key="LTAI-1",
            project_id=None,
            public={"sign_name": "水电"},
            secret={"access_key_secret": "very-secret-value"},
            at=START,
        )
        (newest,) = await entries(work, before_seq=None, limit=1)
    assert newest.action == "credential:self:set"
    assert newest.after == {"fields": ["access_key_secret", "sign_name"]}
    row = await owner.fetchrow("SELECT * FROM tenancy_credential WHERE id = $1", made)
    assert row is not None
    assert "very-secret" not in repr(dict(row))


@pytest.mark.parametrize("at_once", [1, 5, 6, 7, 6 + ROWS, 7 + ROWS])
async def test_a_long_chain_is_verified_part_by_part_and_a_break_is_named_wherever_a_part_ends(
    worlds: tuple[World, World],
    superuser: Connection,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    ours = worlds[0]
    await write(ours)
    monkeypatch.setattr("backend.audit.queries._AT_ONCE", at_once)
    async with unit_of_work(ours.group_id) as work:
        found = await verify(work)
        head = await work.fetchval("SELECT hash FROM audit_entry ORDER BY seq DESC LIMIT 1")
    assert found == (6 + ROWS, head, None)
    await superuser.execute(
        "UPDATE audit_entry SET subject = 'x' WHERE group_id = $1 AND seq = 7", ours.group_id
    )
    assert await broken_at(ours) == 7


async def test_an_auditor_verifies_every_group_by_one_command(
    worlds: tuple[World, World], superuser: Connection, database: EmbeddedServices
) -> None:
    ours, theirs = worlds
    for world in worlds:
        await write(world)
    before, code = await _verified(database)
    broken = [line for line in before.values() if line["broken_at"] is not None]
    assert code == (1 if broken else 0), "other tests' groups are there as well"
    assert {before[w.code]["broken_at"] for w in worlds} == {None}
    assert before[ours.code]["entries"] == await length(ours)
    await superuser.execute(
        "UPDATE audit_entry SET subject = 'x' WHERE group_id = $1 AND seq = 7", ours.group_id
    )
    last = await length(theirs)
    await superuser.execute(
        "DELETE FROM audit_entry WHERE group_id = $1 AND seq = $2", theirs.group_id, last
    )
    after, code = await _verified(database)
    assert code == 1
    assert (after[ours.code]["entries"], after[ours.code]["broken_at"]) == (6, 7)
    kept, now = before[theirs.code], after[theirs.code]
    assert now["broken_at"] is None, "a chain that was cut off holds"
    assert (now["entries"], now["head"] == kept["head"]) == (last - 1, False), "but not as kept"


def test_who_cannot_reach_the_database_is_told_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = "postgresql://nobody@127.0.0.1:1/none"
    for name, value in (_told(nobody) | {"OWNER_DATABASE_URL": nobody}).items():
        monkeypatch.setenv(f"SHUIDIAN_{name}", value)
    for words in (["audit", "verify"], ["migrate"]):
        assert cli.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("shuidian: nobody answers there: "), line


def _told(database_url: str) -> dict[str, str]:
    """The settings of a process that needs nothing but a database."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "ENV": "test",
        "PUBLIC_URL": "http://127.0.0.1:1",
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SECRET_KEYS": f"1:{key}",
    }


async def _verified(database: EmbeddedServices) -> tuple[dict[str, dict[str, object]], int]:
    """What `shuidian audit verify` tells of each group by its code, and its exit code."""
    told = _told(database.app_dsn())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "backend.cli", "audit", "verify"),
        env=os.environ | {f"SHUIDIAN_{name}": value for name, value in told.items()},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    assert process.returncode is not None
    return {line["group"]: line for line in lines}, process.returncode
