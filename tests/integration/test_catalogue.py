"""The database itself holds the isolation rules: a sweep over its catalogue, not over our SQL text."""

from __future__ import annotations

import pytest
from tortoise import Tortoise, fields
from tortoise.models import Model

from .catalogue import (
    APP,
    APPEND_ONLY,
    OWNER,
    WITHOUT_GROUP,
    Connection,
    checks_in_sql,
    faults,
    migrations,
    rights,
)

_FAMILIES: dict[type, frozenset[str]] = {
    fields.UUIDField: frozenset({"uuid"}),
    fields.TextField: frozenset({"text"}),
    fields.BigIntField: frozenset({"int8"}),
    fields.IntField: frozenset({"int4"}),
    fields.SmallIntField: frozenset({"int2"}),
    fields.DatetimeField: frozenset({"timestamptz"}),
    fields.BinaryField: frozenset({"bytea"}),
    fields.JSONField: frozenset({"jsonb"}),
}

# One statement a row: the name of the fault it must raise, and the table that has it.
_BAD = {
    "CREATE TABLE scratch.no_group (id uuid PRIMARY KEY)": "no_group: has no group_id",
    "CREATE TABLE scratch.open_table (group_id bigint, id uuid, PRIMARY KEY (group_id, id))": (
        "open_table: row-level security is off"
    ),
    "CREATE TABLE scratch.unforced (group_id bigint, id uuid, PRIMARY KEY (group_id, id));"
    " ALTER TABLE scratch.unforced ENABLE ROW LEVEL SECURITY": (
        "unforced: row-level security is not forced"
    ),
    "CREATE TABLE scratch.id_first (group_id bigint, id uuid, PRIMARY KEY (id, group_id));"
    " CALL isolate_tenant_table('scratch.id_first', 'SELECT')": (
        "id_first: the unique index id_first_pkey does not start with group_id"
    ),
    "CREATE TABLE scratch.lone_unique"
    " (group_id bigint, id uuid, no text UNIQUE, PRIMARY KEY (group_id, id));"
    " CALL isolate_tenant_table('scratch.lone_unique', 'SELECT')": (
        "lone_unique: the unique index lone_unique_no_key does not start with group_id"
    ),
    "CREATE TABLE scratch.keyless (group_id bigint, id uuid);"
    " CALL isolate_tenant_table('scratch.keyless', 'SELECT')": "keyless: has no key",
    "CREATE TABLE scratch.target (group_id bigint, id uuid UNIQUE, PRIMARY KEY (group_id, id));"
    " CREATE TABLE scratch.stray (group_id bigint, id uuid, other uuid REFERENCES"
    " scratch.target (id), PRIMARY KEY (group_id, id));"
    " CALL isolate_tenant_table('scratch.target', 'SELECT');"
    " CALL isolate_tenant_table('scratch.stray', 'SELECT')": (
        "stray: stray_other_fkey can point into another group"
    ),
    "CREATE TABLE scratch.untied (group_id bigint, id uuid, meter_id uuid,"
    " PRIMARY KEY (group_id, id)); CALL isolate_tenant_table('scratch.untied', 'SELECT')": (
        "untied: meter_id is tied to no row by a foreign key"
    ),
    "CREATE TABLE scratch.noted (group_id bigint, id uuid, ended boolean, note text,"
    " CONSTRAINT noted CHECK (NOT ended OR length(note) >= 4), PRIMARY KEY (group_id, id));"
    " CALL isolate_tenant_table('scratch.noted', 'SELECT')": (
        "noted: noted lets a missing note through"
    ),
    "CREATE TABLE scratch.unchecked (group_id bigint, id uuid, PRIMARY KEY (group_id, id));"
    " ALTER TABLE scratch.unchecked ENABLE ROW LEVEL SECURITY;"
    " ALTER TABLE scratch.unchecked FORCE ROW LEVEL SECURITY;"
    " CREATE POLICY tenant ON scratch.unchecked"
    " USING (group_id = NULLIF(current_setting('app.group_id', true), '')::bigint)": (
        "unchecked: the tenant policy's WITH CHECK does not compare the group"
    ),
    "CREATE TABLE scratch.lax (group_id bigint, id uuid, PRIMARY KEY (group_id, id));"
    " CALL isolate_tenant_table('scratch.lax', 'SELECT');"
    " CREATE POLICY support ON scratch.lax FOR SELECT USING (true)": (
        "lax: the policy support opens another way in"
    ),
    "CREATE TABLE scratch.parted (group_id bigint, at date, PRIMARY KEY (group_id, at))"
    " PARTITION BY RANGE (at); CALL isolate_tenant_table('scratch.parted', 'SELECT');"
    " CREATE TABLE scratch.part PARTITION OF scratch.parted DEFAULT;"
    " GRANT SELECT ON scratch.part TO shuidian_app": (
        "part: a partition has grants, so it can be read around its parent"
    ),
    "CREATE VIEW scratch.all_meters AS SELECT * FROM public.metering_meter": (
        "all_meters: a view that reads as its owner, around row-level security"
    ),
    "CREATE FUNCTION scratch.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'": (
        "peek: a security definer function that PUBLIC may call"
    ),
    "CREATE FUNCTION scratch.pathless() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
    " AS 'SELECT 1'; REVOKE ALL ON FUNCTION scratch.pathless() FROM PUBLIC": (
        "pathless: a security definer function without a set search_path"
    ),
}


async def test_every_table_is_isolated_by_the_database_itself(
    database: object, owner: Connection
) -> None:
    assert await faults(owner) == []


@pytest.mark.parametrize(("statement", "fault"), _BAD.items(), ids=list(_BAD.values()))
async def test_the_sweep_names_a_table_that_breaks_a_rule(
    services: object, owner: Connection, statement: str, fault: str
) -> None:
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute("CREATE SCHEMA scratch")
        await owner.execute(statement)
        found = await faults(owner, schema="scratch")
    finally:
        await transaction.rollback()
    assert fault in found


async def test_the_application_role_is_bound_and_owns_nothing(
    database: object, owner: Connection
) -> None:
    role = await owner.fetchrow(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, oid"
        " FROM pg_roles WHERE rolname = $1",
        APP,
    )
    assert role is not None
    assert not any((role[0], role[1], role[2], role[3], role[4]))
    assert not await owner.fetchval(
        "SELECT count(*) FROM pg_auth_members WHERE member = $1", role[5]
    )
    owned = await owner.fetch(
        "SELECT relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relowner = $1 AND n.nspname NOT LIKE 'pg_temp%' AND n.nspname NOT LIKE 'pg_toast%'"
        " UNION ALL SELECT proname FROM pg_proc WHERE proowner = $1"
        " UNION ALL SELECT nspname FROM pg_namespace WHERE nspowner = $1"
        "   AND nspname NOT LIKE 'pg_temp%' AND nspname NOT LIKE 'pg_toast%'"
        " UNION ALL SELECT datname FROM pg_database WHERE datdba = $1",
        role[5],
    )
    assert [row["name"] for row in owned] == []
    assert not await owner.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", APP)


async def test_the_owner_role_is_bound_as_well(database: object, owner: Connection) -> None:
    role = await owner.fetchrow(
        "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = $1", OWNER
    )
    assert role is not None
    assert not any(role.values())


async def test_the_application_cannot_rewrite_what_is_append_only(
    database: object, owner: Connection
) -> None:
    held = await rights(owner)
    assert held.keys() >= APPEND_ONLY
    for table in APPEND_ONLY:
        assert held[table] == {"SELECT", "INSERT"}, table


async def test_the_application_can_nowhere_truncate_or_tie_itself_to_a_table(
    database: object, owner: Connection
) -> None:
    held = await rights(owner)
    for table, granted in held.items():
        assert not granted & {"TRUNCATE", "REFERENCES", "TRIGGER"}, table
    for table in WITHOUT_GROUP | {name for name in held if name.startswith("metering_reading_")}:
        assert not held[table], table


async def test_every_check_written_in_the_migrations_is_in_the_database(
    database: object, owner: Connection
) -> None:
    written = checks_in_sql(migrations())
    assert sum(written.values()) > 50
    assert written["topups_order"] == 8
    rows = await owner.fetch(
        "SELECT conrelid::regclass::text AS name, count(*) FROM pg_constraint"
        " WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND convalidated"
        " GROUP BY 1"
    )
    kept = {row["name"]: row["count"] for row in rows}
    assert {table: kept.get(table, 0) for table in written} == written


async def test_the_models_of_the_orm_are_the_tables_of_the_database(
    database: object, owner: Connection
) -> None:
    models: list[type[Model]] = list(Tortoise.apps["models"].values())
    assert len(models) >= 11
    for model in models:
        rows = await owner.fetch(
            "SELECT a.attname, t.typname, NOT a.attnotnull AS nullable FROM pg_attribute a"
            " JOIN pg_type t ON t.oid = a.atttypid"
            " WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped",
            model._meta.db_table,
        )
        table = {row["attname"]: row for row in rows}
        columns = {f.source_field or f.model_field_name: f for f in model._meta.fields_map.values()}
        assert columns.keys() == table.keys(), model.__name__
        for name, column in columns.items():
            place = f"{model.__name__}.{name}"
            assert column.null == table[name]["nullable"], place
            families = [kinds for kind, kinds in _FAMILIES.items() if type(column) is kind]
            assert families, f"{place}: no known type"
            assert table[name]["typname"] in families[0], place
