"""The embedded servers on one data directory, for `make demo` and the tests."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from .broker import RunningBroker, start_broker
from .child import hold_lock
from .errors import EmbeddedServerError
from .places import Slot, secret_file
from .postgres import RunningPostgres, start_postgres
from .roles import ensure_roles_and_database
from .valkey import RunningValkey, start_valkey

OWNER = "shuidian_owner"
APP = "shuidian_app"
DATABASE = "shuidian"
_SERVERS = ("postgres", "valkey", "broker")
_ERASE_WAIT_S = 30.0


class EmbeddedServices:
    """PostgreSQL, Valkey and the MQTT broker under `data_dir`; a later start finds the same data,
    ports and passwords.

    Use it as a context or with `start` and `stop`. One process at a time may have a data directory.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.absolute()
        self._durable = durable
        self._lock: int | None = None
        self._postgres: RunningPostgres | None = None
        self._valkey: RunningValkey | None = None
        self._broker: RunningBroker | None = None

    def start(self) -> Self:
        """Start all; they take connections when this returns.

        Raises AlreadyRunning when another process uses the data directory, EmbeddedServerError
        when a server does not come up (then none runs).
        """
        if self._lock is not None:
            raise EmbeddedServerError("these services were started before; stop them first")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as undo:
            self._lock = _take(self.data_dir, wait_s=0)
            undo.callback(self.stop)
            ports = self._known_ports()
            self._postgres = start_postgres(
                data_dir=self.data_dir / "postgres",
                preferred_port=ports.get("postgres"),
                durable=self._durable,
            )
            self._valkey = start_valkey(
                data_dir=self.data_dir / "valkey", preferred_port=ports.get("valkey")
            )
            self._broker = start_broker(
                data_dir=self.data_dir / "broker", preferred_port=ports.get("broker")
            )
            self._remember_ports()
            undo.pop_all()
        return self

    def stop(self) -> None:
        """Stop all in order and free the data directory. Does nothing when stopped."""
        lock, postgres, valkey, broker = self._lock, self._postgres, self._valkey, self._broker
        self._lock = self._postgres = self._valkey = self._broker = None
        with ExitStack() as steps:  # each step is done even when one before it fails
            if lock is not None:
                steps.callback(os.close, lock)
            for server in (postgres, valkey, broker):
                if server is not None:
                    steps.callback(server.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def postgres(self) -> RunningPostgres:
        """The running PostgreSQL. Raises EmbeddedServerError before `start`."""
        if self._postgres is None:
            raise EmbeddedServerError("the embedded services are not started")
        return self._postgres

    @property
    def valkey(self) -> RunningValkey:
        """The running Valkey. Raises EmbeddedServerError before `start`."""
        if self._valkey is None:
            raise EmbeddedServerError("the embedded services are not started")
        return self._valkey

    @property
    def broker(self) -> RunningBroker:
        """The running MQTT broker. Raises EmbeddedServerError before `start`."""
        if self._broker is None:
            raise EmbeddedServerError("the embedded services are not started")
        return self._broker

    async def prepare_database(self, database: str = DATABASE) -> None:
        """Make the roles and `database` (idempotent); then `owner_dsn` and `app_dsn` work."""
        passwords = {role: self._password(role) for role in (OWNER, APP)}
        await ensure_roles_and_database(
            self.postgres.admin_dsn, owner=OWNER, app=APP, passwords=passwords, database=database
        )

    def owner_dsn(self, database: str = DATABASE) -> str:
        """Address for migrations: the role that owns the tables."""
        return self.postgres.dsn(OWNER, self._password(OWNER), database)

    def app_dsn(self, database: str = DATABASE) -> str:
        """Address for the application: the role that row-level security binds."""
        return self.postgres.dsn(APP, self._password(APP), database)

    @staticmethod
    def erase(data_dir: Path) -> None:
        """Remove all data of `data_dir`, also what lies elsewhere because root could not share it.

        Raises AlreadyRunning while a process uses it. Does nothing when there is none.
        """
        if not data_dir.exists():
            return
        lock = _take(data_dir, wait_s=0)
        try:
            for name in _SERVERS:
                ended = hold_lock(
                    data_dir / f"{name}.lock",
                    wait_s=_ERASE_WAIT_S,
                    refusal=f"a {name} still runs on {data_dir}; nothing was removed",
                )
                try:
                    Slot.of(data_dir / name).erase()
                finally:
                    os.close(ended)
            shutil.rmtree(data_dir)
        finally:
            os.close(lock)

    def _password(self, role: str) -> str:
        return secret_file(self.data_dir / f"{role}.password")

    def _known_ports(self) -> dict[str, int]:
        path = self.data_dir / "ports.json"
        if not path.exists():
            return {}
        ports: dict[str, int] = json.loads(path.read_text())
        return ports

    def _remember_ports(self) -> None:
        fresh = self.data_dir / "ports.json.new"
        servers = (self.postgres, self.valkey, self.broker)
        ports = {name: server.port for name, server in zip(_SERVERS, servers, strict=True)}
        fresh.write_text(json.dumps(ports))
        fresh.replace(self.data_dir / "ports.json")


def _take(data_dir: Path, *, wait_s: float) -> int:
    refusal = f"another process already runs on {data_dir.absolute()}; stop it first"
    return hold_lock(data_dir / "owner.lock", wait_s=wait_s, refusal=refusal)
