"""Queries built of text."""

from .models import METERS

COLUMNS = "meter_id, at, total"
TABLE: str = "reading"
LATEST = f"SELECT {COLUMNS} FROM {TABLE}"
NAMES = ", ".join(["a", "b"])
lower = "reading"


async def by_name(work: object, name: str, wanted: list[str]) -> list[object]:
    """Seven ways to be injected."""
    await work.fetch(f"SELECT id FROM meter WHERE name = '{name}'")  # BAD
    await work.fetchrow("SELECT id FROM meter WHERE name = '%s'" % name)  # BAD
    await work.fetchval("SELECT id FROM meter WHERE name = '{}'".format(name))  # BAD
    await work.execute("DELETE FROM meter WHERE name = '" + name + "'")  # BAD
    await work.executemany(sql=" AND ".join(wanted), args=[])  # BAD
    sql = "SELECT id FROM meter"
    if name:
        sql += f" WHERE name = '{name}'"
    await work.fetch(sql)  # BAD
    query = f"SELECT {name}"
    return await work.execute_query_dict(query if wanted else "SELECT 1")  # BAD


async def fine(work: object, name: str) -> list[object]:
    """Parameters, and columns that are fixed text of this file."""
    await work.fetch(LATEST)
    await work.fetch(f"SELECT {COLUMNS} FROM {TABLE} WHERE name = $1", name)
    sql = "SELECT id FROM meter " + "WHERE name = $1"
    return await work.fetch(sql, name)


async def more(work: object, name: str, log: object) -> None:
    """What only looks fixed, and what is no query."""
    await work.fetch(f"SELECT 1 FROM {name.lower}")  # BAD
    await work.fetch(f"SELECT {NAMES} FROM {METERS}")
    await work.fetch(name + "SELECT 1 " + "FROM meter")  # BAD
    await work.fetch(f"SELECT 1 FROM {lower}")  # BAD
    await work.fetch("SELECT 1" if name else f"SELECT {name}")  # BAD
    await work.fetch(name + " LIMIT 1")  # BAD
    await work.fetch("SELECT 1 " + "FROM " + name)  # BAD
    await work.fetch()
    log.info(f"asked for {name}")
    log.name = name
