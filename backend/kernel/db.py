"""The unit of work: one transaction of one group, and the only place that commits.

Every read and write of tenant data happens inside `unit_of_work(group_id)`. The group is set with
SET LOCAL and a validated integer literal (row-level security reads it; Citus propagates it only in
this form), so it ends with the transaction and cannot leak to the connection's next borrower.
Outside one, row-level security shows nothing: a forgotten unit of work fails closed (C29).

Measured pitfalls handled here (docs/adr/0003): a BEGIN that fails or is cancelled must give its
connection back to the pool (T1); asyncpg's serialization errors come raw (T3); nothing may be
started inside the transaction that outlives it (T6).
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast
from urllib.parse import quote, unquote, urlsplit

import asyncpg
from tortoise import Tortoise
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base import client as tortoise_client
from tortoise.connection import get_connection, get_connections
from tortoise.exceptions import DBConnectionError, OperationalError, TransactionManagementError

from backend.kernel import failpoints
from backend.kernel.canonical import canonical
from backend.kernel.keep_alive import KeepAlive, keep_alive

log = logging.getLogger(__name__)
_ASK_EVERY_S = 0.25
_ALIVE = KeepAlive(idle_s=10, interval_s=5, count=3)
# The server asks as well: rows and buses (BusLease) that a vanished host held are free half a minute later.
_SESSION = {
    "tcp_keepalives_idle": str(_ALIVE.idle_s),
    "tcp_keepalives_interval": str(_ALIVE.interval_s),
    "tcp_keepalives_count": str(_ALIVE.count),
    "tcp_user_timeout": f"{_ALIVE.gone_after_s}s",
}
ALIAS = "app"
MODEL_MODULES = (
    "backend.tenancy.models",
    "backend.accounts.models",
    "backend.metering.models",
)

Row = asyncpg.Record

DATABASE_AWAY = (
    OSError,  # TimeoutError is one
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # Between a server's last word and its hanging up a connection takes itself for busy.
    asyncpg.InternalClientError,
    DBConnectionError,
    OperationalError,
    TransactionManagementError,
)
"""What is raised while PostgreSQL goes away, is away or comes back: who outlives that catches it all."""


_TOLD = re.compile(r"[\w:.-]*", re.ASCII)  # what a bell may say: ids and words


class _Transaction(TransactionWrapper):
    """The transaction of one group: a round trip to begin it as that group, one to end it.

    Bells are rung by the statement that commits. A transaction that failed inside is rolled back by
    PostgreSQL when it is told to commit: that is an error here, never a success.
    """

    def __init__(
        self, parent: AsyncpgDBClient, group_id: int, *, durable: bool, by_key: bool
    ) -> None:
        super().__init__(parent)
        self._group_id = group_id
        self._also = "" if durable else "; SET LOCAL synchronous_commit = off"
        if by_key:
            self._also += "; SET LOCAL plan_cache_mode = force_generic_plan"
        self.bells: dict[tuple[str, str], None] = {}

    async def begin(self) -> None:
        await self._connection.execute(
            f"BEGIN; SET LOCAL app.group_id = '{self._group_id:d}'{self._also}"
        )

    async def commit(self) -> None:
        bells = ", ".join(f"('{bell}', '{told}')" for bell, told in self.bells)
        rung = (
            f"SELECT pg_notify(bell, told) FROM (VALUES {bells}) AS b(bell, told); "
            if bells
            else ""
        )
        ended = await self._connection.execute(f"{rung}COMMIT")
        self._finalized = True
        if ended != "COMMIT":
            raise asyncpg.InFailedSQLTransactionError("it failed inside, nothing was kept")

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")
        self._finalized = True


class _TransactionContext(tortoise_client.TransactionContextPooled):
    """Tortoise's pooled transaction, but a failed or cancelled BEGIN returns its connection.

    Upstream acquires, then begins; when BEGIN fails the connection is never released, and after
    `maxsize` such failures every caller hangs for good (tests/integration/test_pool.py shows it).
    """

    async def __aenter__(self) -> Any:
        await self.ensure_connection()
        pool = self.client._parent._pool
        self.client._connection = await pool.acquire()
        self.token = get_connections().set(self.connection_name, self.client)
        begun = False
        try:
            await self.client.begin()
            begun = True
        finally:  # also when cancelled: the connection must go back in every case
            if not begun:
                get_connections().reset(self.token)
                await asyncio.shield(pool.release(self.client._connection))
        return self.client


class UnitOfWork:
    """One transaction of one group. Raw SQL for the hot paths; ORM calls made inside join it.

    `memo` is for what a room has looked up in this transaction and nobody can change (ids by name).
    """

    def __init__(self, transaction: _Transaction, group_id: int) -> None:
        self._transaction = transaction
        self._connection = cast("asyncpg.Connection[Any]", transaction._connection)
        self.group_id = group_id
        self.memo: dict[object, Any] = {}

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement; returns the number of rows it touched."""
        status = await self._connection.execute(sql, *args)
        last = status.rsplit(" ", 1)[-1]
        return int(last) if last.isdigit() else 0

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """All rows of a query."""
        return await self._connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> Row | None:
        """The first row of a query, or None."""
        return await self._connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        """The first column of the first row, or None."""
        return await self._connection.fetchval(sql, *args)

    async def copy(
        self, table: str, *, columns: Sequence[str], records: Sequence[tuple[object, ...]]
    ) -> None:
        """Binary COPY of `records` into `table`."""
        await self._connection.copy_records_to_table(table, columns=columns, records=records)

    def notify(self, channel: str, *payloads: str) -> None:
        """Ring `channel` with each of `payloads` when this transaction commits (and only then).

        Raises ValueError for what is more than an id or a word.
        """
        for payload in payloads:
            if not (_TOLD.fullmatch(channel) and _TOLD.fullmatch(payload)):
                raise ValueError("bells are rung with ids and words")
            self._transaction.bells[channel, payload] = None


@asynccontextmanager
async def unit_of_work(
    group_id: int, *, durable: bool = True, by_key: bool = False
) -> AsyncIterator[UnitOfWork]:
    """Open the one transaction of `group_id`; commits at the end, rolls back on any exception.

    `durable` false: the commit does not wait for the disk, so a crash of PostgreSQL may forget it (and
    only that). For what is found out again by itself, such as a lease; never for money, orders or intent.

    `by_key`: all that is asked here finds its rows by key, however many are asked for, so each statement is
    planned once a connection. The planner would rather plan anew for each list that it can count; and a group
    that its statistics do not know yet it takes for empty, and reads all of it for each row.

    Raises ValueError for anything but a positive int, RuntimeError inside another unit of work (or
    in a task started there): that would be a savepoint, and its SET LOCAL outlives it, so the outer
    one would go on as the inner one's group.
    """
    if type(group_id) is not int or not 1 <= group_id < 2**63:
        raise ValueError("a group id is a positive bigint")
    client = cast("AsyncpgDBClient", get_connection(ALIAS))
    if isinstance(client, TransactionWrapper):
        raise RuntimeError("a unit of work is open here already: pass it on")
    place = failpoints.place_of_caller()
    transaction = _Transaction(client, group_id, durable=durable, by_key=by_key)
    async with _TransactionContext(transaction, client._pool_init_lock):
        yield UnitOfWork(transaction, group_id)
        failpoints.reach(place, failpoints.Moment.COMMITTING)
    failpoints.reach(place, failpoints.Moment.COMMITTED)


@asynccontextmanager
async def platform_connection() -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection with no group set: sees no tenant row, only the narrow functions of the house
    (group of a code, groups with due work, partitions)."""
    async with get_connection(ALIAS).acquire_connection() as connection:
        yield cast("asyncpg.Connection[Any]", connection)


_FIRST_OF_A_DATABASE = 16_384  # FirstNormalObjectId: types below are the same in every database
_ARRAYS = (
    "SELECT $1::uuid[], $2::bigint[], $3::int[], $4::smallint[], $5::text[], $6::bool[],"
    " $7::date[], $8::timestamptz[], $9::jsonb[]"
)


class _Connection(asyncpg.Connection):
    """Notices when its server vanished; asks what an array of uuids is once a process, not once a connection
    and statement.

    The question costs PostgreSQL 20 ms and more. After a crash of it every process fills its whole pool
    at once; then these questions were most of its work. A private name of the pinned asyncpg:
    tests/integration/test_pool.py holds that it is asked.
    """

    _known: ClassVar[dict[frozenset[int], Any]] = {}

    def __init__(self, protocol: Any, transport: asyncio.BaseTransport, *args: Any) -> None:
        super().__init__(protocol, transport, *args)
        keep_alive(transport, _ALIVE)

    async def _introspect_types(self, typeoids: Iterable[int], within_s: float | None) -> Any:
        wanted = frozenset(typeoids)
        if wanted in self._known:
            return self._known[wanted]
        found = await super()._introspect_types(wanted, within_s)  # type: ignore[misc]  # unstubbed
        if max(wanted) < _FIRST_OF_A_DATABASE:
            self._known[wanted] = found
        return found


_JSONB = b"\x01"  # the version that PostgreSQL's binary jsonb begins with
_EMPTY = _JSONB + b"{}"  # what most commands have of settings


def _to_jsonb(value: Any) -> bytes:
    return _JSONB + canonical(value)


def _from_jsonb(held: bytes) -> Any:
    return {} if held == _EMPTY else json.loads(held[len(_JSONB) :])


async def _prepare_connection(connection: asyncpg.Connection[Any]) -> None:
    # Binary: of an array of texts both sides would quote, and read again, each letter.
    await connection.set_type_codec(
        "jsonb", encoder=_to_jsonb, decoder=_from_jsonb, schema="pg_catalog", format="binary"
    )
    await connection.prepare(_ARRAYS)


async def _leave_as_it_is(connection: asyncpg.Connection[Any]) -> None:
    """A connection comes back with nothing to clear away: whatever is set is SET LOCAL, whoever listens
    has a connection of his own (a house rule sees to it). asyncpg's own reset costs a round trip more; an
    open transaction it still rolls back before it asks this."""


async def connect(
    dsn: str, *, within_s: float = 60.0, name: str | None = None
) -> asyncpg.Connection[Any]:
    """A connection beside the pool, for who listens or holds a lock. That one side vanished the other notices
    within half a minute. `name`: how PostgreSQL shows it.

    Raises OSError, TimeoutError, asyncpg.PostgresError.
    """
    named = {} if name is None else {"application_name": name}
    return await asyncpg.connect(
        dsn, timeout=within_s, connection_class=_Connection, server_settings=_SESSION | named
    )


class Database:
    """The pool of this process: `await Database.open(dsn)` once at start, `close()` at the end."""

    @staticmethod
    async def open(dsn: str, *, pool_max: int = 10) -> None:
        """Connect as the application role. `dsn` is a postgresql:// URL."""
        await Tortoise.init(
            config=tortoise_config(dsn, pool_max=pool_max), _enable_global_fallback=True
        )

    @staticmethod
    async def answers(*, within_s: float = 60.0) -> None:
        """Return when PostgreSQL answers: it may be recovering, or start later than we.

        Raises what it said last, when time is up.
        """
        left = int(within_s / _ASK_EVERY_S)
        while True:
            try:
                async with platform_connection() as connection:
                    await connection.fetchval("SELECT 1")
                return
            except DATABASE_AWAY as error:
                if left <= 0:
                    raise
                fields = {"error": type(error).__name__}
                log.warning("the database does not answer yet", extra={"fields": fields})
            left -= 1
            await asyncio.sleep(_ASK_EVERY_S)

    @staticmethod
    async def close() -> None:
        """Close every connection of the pool."""
        await Tortoise.close_connections()


def tortoise_config(dsn: str, *, pool_max: int, migrations: str | None = None) -> dict[str, Any]:
    """Tortoise's configuration for one PostgreSQL address, with the house's jsonb codec."""
    parts = urlsplit(dsn)
    credentials = {
        "host": parts.hostname,
        "port": parts.port or 5432,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.lstrip("/"),
        "minsize": 1,
        "maxsize": pool_max,
        "connection_class": _Connection,
        "server_settings": _SESSION,
        "init": _prepare_connection,
        "reset": _leave_as_it_is,
    }
    app: dict[str, Any] = {"models": list(MODEL_MODULES), "default_connection": ALIAS}
    if migrations is not None:
        app["migrations"] = migrations
    return {
        "connections": {ALIAS: {"engine": "tortoise.backends.asyncpg", "credentials": credentials}},
        "apps": {"models": app},
    }


def dsn_with(dsn: str, *, user: str, password: str, database: str | None = None) -> str:
    """The same server address for another role (and database)."""
    parts = urlsplit(dsn)
    host = f"{parts.hostname}:{parts.port or 5432}"
    netloc = f"{quote(user)}:{quote(password)}@{host}"
    path = f"/{database}" if database else parts.path
    return parts._replace(netloc=netloc, path=path).geturl()
