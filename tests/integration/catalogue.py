"""What PostgreSQL's catalogue says of a schema, against the rules of isolation (C29).

Each check returns sentences that name the table and the fault; no sentence means no fault. The same
checks read the product's schema and a scratch schema of bad samples.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # asyncpg's class takes no subscript at run time

APP = "shuidian_app"
OWNER = "shuidian_owner"
# Not a tenant's: which group a code or a dial-in's registration means, and what Tortoise notes of
# migrations.
WITHOUT_GROUP = frozenset(
    {"tenancy_directory", "metering_dial_in_directory", "tortoise_migrations"}
)
APPEND_ONLY = frozenset(
    {
        "ledger_entry",
        "ledger_posting",
        "ledger_lot",
        "ledger_lot_use",
        "ledger_lot_return",
        "charges_charge",
        "charges_ruling",
        "audit_entry",
        "metering_reading",
        "metering_packed",
        "reconcile_line",
        "reconcile_statement",
    }
)
POLICY = "(group_id = (NULLIF(current_setting('app.group_id'::text, true), ''::text))::bigint)"
_TABLES = (
    "SELECT c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, c.relacl,"
    " EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'group_id'"
    "   AND NOT a.attisdropped) AS tenant"
    " FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p')"
    " ORDER BY c.relname"
)
_KEYS = (
    "SELECT t.relname, i.relname AS index, a.attname AS first FROM pg_index x"
    " JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid"
    " LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]"
    " WHERE t.relnamespace = $1::regnamespace AND x.indisunique"
)
_REFERENCES = (
    "SELECT t.relname, k.conname, a.attname AS first, b.attname AS target FROM pg_constraint k"
    " JOIN pg_class t ON t.oid = k.conrelid"
    " JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]"
    " JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]"
    " WHERE t.relnamespace = $1::regnamespace AND k.contype = 'f'"
)
# A CHECK that comes to NULL is kept, so what must be long enough may just be missing.
_LAX_CHECKS = (
    "SELECT t.relname, k.conname, a.attname FROM pg_constraint k"
    " JOIN pg_class t ON t.oid = k.conrelid"
    " JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)"
    " CROSS JOIN pg_get_constraintdef(k.oid) AS rule"
    " WHERE t.relnamespace = $1::regnamespace AND k.contype = 'c' AND NOT a.attnotnull"
    " AND rule LIKE '% OR %' AND rule LIKE '%length(' || a.attname || ')%'"
    " AND rule NOT LIKE '%COALESCE(length(' || a.attname || '),%'"
    " AND rule NOT LIKE '%' || a.attname || ' IS NOT NULL%'"
)
# Every uuid that names another row; `id` itself is the row's own.
_LOOSE_IDS = (
    "SELECT t.relname, a.attname FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid"
    " WHERE t.relnamespace = $1::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relispartition"
    " AND a.atttypid = 'uuid'::regtype AND a.attname LIKE '%\\_id' AND NOT a.attisdropped"
    " AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype = 'f'"
    "   AND a.attnum = ANY(k.conkey))"
)
# Keys point the same way as imports: control knows of no top-up.
_POINTS_UPWARD = frozenset({("control_vend", "source_id")})
# Checked once a statement instead of once a row (docs/adr/0010), by the trigger of this name.
_TIED_BY_TRIGGER = {
    ("metering_reading", "meter_id"): "has_meter",
    ("ledger_entry", "project_id"): "ledger_entry_has_postings",
    ("ledger_posting", "project_id"): "ledger_postings_arrive",
    ("ledger_posting", "entry_id"): "ledger_postings_arrive",
    ("ledger_posting", "account_id"): "ledger_postings_arrive",
    ("ledger_lot_use", "lot_id"): "ledger_lots_move",
    ("ledger_lot_use", "entry_id"): "ledger_lots_move",
    ("ledger_lot_return", "lot_id"): "ledger_lots_move",
    ("ledger_lot_return", "entry_id"): "ledger_lots_move",
    ("charges_charge", "project_id"): "charges_charge_has_all",
    ("charges_charge", "account_id"): "charges_charge_has_all",
    ("charges_charge", "purse_id"): "charges_charge_has_all",
    ("charges_charge", "assignment_id"): "charges_charge_has_all",
    ("charges_charge", "version_id"): "charges_charge_has_all",
    ("charges_charge", "entry_id"): "charges_charge_has_all",
}


async def faults(connection: Connection, *, schema: str = "public") -> list[str]:
    """Every breach of the isolation rules in `schema`."""
    found: list[str] = []
    checks = (
        _security,
        _policies,
        _keys,
        _foreign_keys,
        _loose_ids,
        _lax_checks,
        _views,
        _functions,
    )
    for check in checks:
        found += [fault async for fault in check(connection, schema)]
    return sorted(found)


async def _security(connection: Connection, schema: str) -> AsyncIterator[str]:
    for table in await connection.fetch(_TABLES, schema):
        name = table["relname"]
        if name in WITHOUT_GROUP:
            if await connection.fetchval(
                "SELECT has_table_privilege($1, $2::oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')",
                APP,
                table["oid"],
            ):
                yield f"{name}: holds no group, but the application has rights on it"
            continue
        if not table["tenant"]:
            yield f"{name}: has no group_id"
        if not table["relrowsecurity"]:
            yield f"{name}: row-level security is off"
        if not table["relforcerowsecurity"]:
            yield f"{name}: row-level security is not forced"
        if table["relispartition"] and table["relacl"] is not None:
            yield f"{name}: a partition has grants, so it can be read around its parent"


async def _policies(connection: Connection, schema: str) -> AsyncIterator[str]:
    policies: dict[str, dict[str, asyncpg.Record]] = {}
    for row in await connection.fetch("SELECT * FROM pg_policies WHERE schemaname = $1", schema):
        policies.setdefault(row["tablename"], {})[row["policyname"]] = row
    for table in await connection.fetch(_TABLES, schema):
        name = table["relname"]
        if name in WITHOUT_GROUP or table["relispartition"]:
            continue
        of_table = policies.get(name, {})
        tenant = of_table.pop("tenant", None)
        if tenant is None or tenant["cmd"] != "ALL" or list(tenant["roles"]) != ["public"]:
            yield f"{name}: has no tenant policy for everybody"
            continue
        if tenant["qual"] != POLICY:
            yield f"{name}: the tenant policy's USING does not compare the group"
        if tenant["with_check"] != POLICY:
            yield f"{name}: the tenant policy's WITH CHECK does not compare the group"
        reads = of_table.pop("owner_reads", None)
        if reads is not None and (reads["cmd"] != "SELECT" or list(reads["roles"]) != [OWNER]):
            yield f"{name}: owner_reads gives more than reading to the owner"
        for other in of_table:
            yield f"{name}: the policy {other} opens another way in"


async def _keys(connection: Connection, schema: str) -> AsyncIterator[str]:
    keyed = set()
    for row in await connection.fetch(_KEYS, schema):
        keyed.add(row["relname"])
        if row["relname"] not in WITHOUT_GROUP and row["first"] != "group_id":
            yield f"{row['relname']}: the unique index {row['index']} does not start with group_id"
    for table in await connection.fetch(_TABLES, schema):
        if table["relname"] not in keyed:
            yield f"{table['relname']}: has no key"


async def _foreign_keys(connection: Connection, schema: str) -> AsyncIterator[str]:
    for row in await connection.fetch(_REFERENCES, schema):
        if (row["first"], row["target"]) != ("group_id", "group_id"):
            yield f"{row['relname']}: {row['conname']} can point into another group"


async def _loose_ids(connection: Connection, schema: str) -> AsyncIterator[str]:
    rows = await connection.fetch(_LOOSE_IDS, schema)
    triggers = await connection.fetch(
        "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        " WHERE c.relnamespace = $1::regnamespace AND t.tgenabled = 'O' AND NOT t.tgisinternal",
        schema,
    )
    standing = {(row["relname"], row["tgname"]) for row in triggers}
    for row in rows:
        place = row["relname"], row["attname"]
        tied = (row["relname"], _TIED_BY_TRIGGER.get(place)) in standing
        if place not in _POINTS_UPWARD and not tied:
            yield f"{row['relname']}: {row['attname']} is tied to no row by a foreign key"


async def _lax_checks(connection: Connection, schema: str) -> AsyncIterator[str]:
    for row in await connection.fetch(_LAX_CHECKS, schema):
        yield f"{row['relname']}: {row['conname']} lets a missing {row['attname']} through"


async def _views(connection: Connection, schema: str) -> AsyncIterator[str]:
    rows = await connection.fetch(
        "SELECT relname, relkind = 'm' OR NOT coalesce('security_invoker=true' = ANY(reloptions),"
        " false) AS open FROM pg_class WHERE relnamespace = $1::regnamespace"
        " AND relkind IN ('v', 'm')",
        schema,
    )
    for row in rows:
        if row["open"]:
            yield f"{row['relname']}: a view that reads as its owner, around row-level security"


async def _functions(connection: Connection, schema: str) -> AsyncIterator[str]:
    rows = await connection.fetch(
        "SELECT proname, proconfig, proacl IS NULL OR EXISTS (SELECT 1 FROM aclexplode(proacl)"
        " WHERE grantee = 0) AS for_all FROM pg_proc"
        " WHERE pronamespace = $1::regnamespace AND prosecdef",
        schema,
    )
    for row in rows:
        if "search_path=public, pg_temp" not in (row["proconfig"] or []):
            yield f"{row['proname']}: a security definer function without a set search_path"
        if row["for_all"]:
            yield f"{row['proname']}: a security definer function that PUBLIC may call"


async def rights(connection: Connection) -> dict[str, frozenset[str]]:
    """What the application role may do to each table of the product."""
    found: dict[str, frozenset[str]] = {}
    for table in await connection.fetch(_TABLES, "public"):
        rows = await connection.fetch(
            "SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',"
            " 'REFERENCES', 'TRIGGER']) AS p WHERE has_table_privilege($1, $2::oid, p)",
            APP,
            table["oid"],
        )
        found[table["relname"]] = frozenset(row["p"] for row in rows)
    return found


def checks_in_sql(text: str) -> dict[str, int]:
    """How many CHECKs the CREATE TABLE, and each column and constraint added or dropped later, of a
    migration writes."""
    found: dict[str, int] = {}
    for match in re.finditer(r"^CREATE TABLE (\w+) \((.*?)^\)", text, re.S | re.M):
        found[match[1]] = len(re.findall(r"\bCHECK \(", match[2]))
    for match in re.finditer(r"^ALTER TABLE (\w+)\s+(.*?);", text, re.S | re.M):
        found[match[1]] += len(re.findall(r"\bCHECK \(", match[2]))
        found[match[1]] -= len(re.findall(r"\bDROP CONSTRAINT \w+_check\d*\b", match[2]))
    return found


def migrations() -> str:
    """The SQL of every step."""
    folder = Path(__file__).parents[2] / "backend" / "migrations"
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sql")))
