"""The embedded servers as their user sees them: data is kept, nobody else is let in or disturbed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from backend.sandbox.embedded import (
    EmbeddedServerError,
    EmbeddedServices,
    ensure_roles_and_database,
    start_broker,
    start_postgres,
    start_valkey,
)


def _listening_addresses(port: int) -> set[str]:
    """The local addresses, as the kernel writes them, of all listening sockets on `port`."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and int(address.split(":")[1], 16) == port:
                found.add(address.split(":")[0])
    return found


async def test_what_was_written_before_a_stop_is_there_after_the_next_start(data_dir: Path) -> None:
    services = EmbeddedServices(data_dir)
    with services:
        await services.prepare_database()
        first_ports = (services.postgres.port, services.valkey.port)
        connection = await asyncpg.connect(services.owner_dsn())
        await connection.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('水电')")
        await connection.close()
        with Redis.from_url(services.valkey.url) as client:
            client.set("kept", "yes")
    with EmbeddedServices(data_dir) as later:
        await later.prepare_database()
        connection = await asyncpg.connect(later.owner_dsn())
        assert await connection.fetchval("SELECT word FROM kept") == "水电"
        await connection.close()
        with Redis.from_url(later.valkey.url) as client:
            assert client.get("kept") == b"yes"
        assert (later.postgres.port, later.valkey.port) == first_ports


async def test_a_crash_loses_no_committed_row_and_restart_uses_the_same_port(
    data_dir: Path,
) -> None:
    with EmbeddedServices(data_dir) as services:
        postgres = services.postgres
        port, pid = postgres.port, postgres.pid
        connection = await asyncpg.connect(postgres.admin_dsn)
        await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
        postgres.kill()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.fetchval("SELECT 1")
        with pytest.raises(EmbeddedServerError, match="not running"):
            _ = postgres.pid
        postgres.restart()
        assert postgres.port == port
        assert postgres.pid != pid
        connection = await asyncpg.connect(postgres.admin_dsn)
        assert await connection.fetchval("SELECT n FROM kept") == 7
        await connection.close()
        services.valkey.kill()
        services.valkey.restart()
        with Redis.from_url(services.valkey.url) as client:
            assert client.ping()


async def test_the_servers_listen_on_loopback_only_and_ask_for_a_password(data_dir: Path) -> None:
    with EmbeddedServices(data_dir, durable=False) as services:
        for port in (services.postgres.port, services.valkey.port):
            assert _listening_addresses(port) == {"0100007F"}
            assert port not in (5432, 6379)
        admin = await asyncpg.connect(services.postgres.admin_dsn)
        assert await admin.fetchval("SHOW unix_socket_directories") == ""
        await admin.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(services.postgres.dsn("postgres", "wrong", "postgres"))
        with Redis(port=services.valkey.port) as client, pytest.raises(AuthenticationError):
            client.ping()


def test_no_password_is_readable_by_others_or_seen_on_a_command_line(data_dir: Path) -> None:
    with EmbeddedServices(data_dir, durable=False) as services:
        services.app_dsn()
        secrets = sorted(data_dir.glob("*.password"))
        assert [path.stem for path in secrets] == [
            "broker.cloud",
            "broker.gateway",
            "postgres",
            "shuidian_app",
            "valkey",
        ]
        for path in secrets:
            assert path.stat().st_mode & 0o777 == 0o600
            for server in (services.postgres, services.valkey, services.broker):
                command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
                assert path.read_text().encode() not in command
                assert path.read_text() not in repr(server)


@pytest.mark.parametrize("start", [start_broker, start_postgres, start_valkey])
def test_a_port_in_use_is_refused_and_its_owner_hears_nothing(
    data_dir: Path, start: Callable[..., object]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.setblocking(False)
        port = stranger.getsockname()[1]
        with pytest.raises(EmbeddedServerError, match=f"port {port} .* left alone"):
            start(data_dir=data_dir / "server", port=port)
        with pytest.raises(BlockingIOError):
            stranger.accept()


async def test_when_the_port_of_last_time_is_taken_another_one_is_used(data_dir: Path) -> None:
    with EmbeddedServices(data_dir, durable=False) as services:
        taken = services.postgres.port
    with (
        socket.create_server(("127.0.0.1", taken)),
        EmbeddedServices(data_dir, durable=False) as later,
    ):
        assert later.postgres.port != taken
        connection = await asyncpg.connect(later.postgres.admin_dsn)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_the_application_role_owns_nothing_and_cannot_bypass_row_security(
    data_dir: Path,
) -> None:
    with EmbeddedServices(data_dir, durable=False) as services:
        await services.prepare_database()
        await services.prepare_database()
        connection = await asyncpg.connect(services.app_dsn())
        rows = await connection.fetch(
            "SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole OR rolreplication AS strong"
            " FROM pg_roles WHERE rolname IN ('shuidian_app', 'shuidian_owner')"
        )
        assert [row["strong"] for row in rows] == [False, False]
        owner = await connection.fetchval(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        )
        assert owner == "shuidian_owner"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE mine (n int)")
        await connection.close()


async def test_a_weakened_role_and_an_old_password_are_put_right(data_dir: Path) -> None:
    with EmbeddedServices(data_dir, durable=False) as services:
        admin = services.postgres.admin_dsn
        passwords = {"own": "one'; DROP ROLE own; --", "use": "two"}
        await ensure_roles_and_database(
            admin, owner="own", app="use", passwords=passwords, database="d"
        )
        connection = await asyncpg.connect(admin)
        await connection.execute("ALTER ROLE use BYPASSRLS")
        await connection.close()
        passwords["use"] = "three"
        await ensure_roles_and_database(
            admin, owner="own", app="use", passwords=passwords, database="d"
        )
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(services.postgres.dsn("use", "two", "d"))
        connection = await asyncpg.connect(services.postgres.dsn("use", "three", "d"))
        assert not await connection.fetchval(
            "SELECT rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        await connection.close()
        connection = await asyncpg.connect(services.postgres.dsn("own", passwords["own"], "d"))
        await connection.close()
        with pytest.raises(ValueError, match="plain lower-case"):
            await ensure_roles_and_database(
                admin, owner='own"', app="use", passwords=passwords, database="d"
            )


async def test_the_server_outlives_the_thread_that_started_it(data_dir: Path) -> None:
    services = EmbeddedServices(data_dir, durable=False)
    thread = threading.Thread(target=services.start)
    thread.start()
    thread.join()
    try:
        connection = await asyncpg.connect(services.postgres.admin_dsn)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        services.stop()


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(data_dir: Path) -> None:
    running = start_postgres(data_dir=data_dir / "postgres", durable=False)
    running.stop()
    with (running.slot.data / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        start_postgres(data_dir=data_dir / "postgres", durable=False)
