"""Start an embedded PostgreSQL on 127.0.0.1 as a direct child (reference/stack.md section 3)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from .child import (
    choose_port,
    clean_environment,
    hold_lock,
    leashed,
)
from .errors import EmbeddedServerError
from .places import Slot, own, postgres_bin, secret_file
from .running import RunningServer

_SUPERUSER = "postgres"
_READY_S = 60.0  # crash recovery of a demo's data takes well under this
_PREDECESSOR_S = 30.0  # a server whose owner was killed needs a moment to write its checkpoint
_INITDB_S = 120.0
_BUILTIN_LOCALE_SINCE = 17
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "256MB",  # 2 cores and 8 GB carry the product (A27), the demo takes a part
    "max_connections": "200",
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "password_encryption": "scram-sha-256",
}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(slots=True)
class RunningPostgres(RunningServer):
    """An embedded PostgreSQL; `stop` is its fast shutdown, `kill` its immediate one."""

    NAME = "PostgreSQL"
    STOP = signal.SIGINT
    CRASH = signal.SIGQUIT
    PORT_LOST = "could not bind"

    _bin: Path
    _password: str = field(repr=False)
    _durable: bool

    @property
    def admin_dsn(self) -> str:
        """Address of the database `postgres` as superuser. Holds a password: never log it."""
        return self.dsn(_SUPERUSER, self._password, "postgres")

    def dsn(self, user: str, password: str, database: str) -> str:
        """A `postgresql://` address of this server."""
        where = f"127.0.0.1:{self.port}/{quote(database, safe='')}"
        return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{where}"

    def _launch(self) -> bool:
        """Start and wait until it takes connections; False when the port was lost to another."""
        options = _OPTIONS | {"port": str(self.port)} | ({} if self._durable else _FORGETFUL)
        command = [str(self._bin / "postgres"), "-D", str(self.slot.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        lock = _wait_predecessor(self.slot)
        # With the lock held no process of an earlier server lives, so a pid file is stale. It is removed
        # because its number may by now belong to a zombie or to another program.
        (self.slot.data / "postmaster.pid").unlink(missing_ok=True)
        child = self._spawn(command, lock=lock)
        return self._adopt(
            child,
            ready=lambda: _takes_connections(self.slot.data, child.pid),
            within_s=_READY_S,
        )


def start_postgres(
    *,
    data_dir: Path,
    port: int | None = None,
    durable: bool = True,
    preferred_port: int | None = None,
) -> RunningPostgres:
    """Start a server on `data_dir`, making the cluster when there is none; ready when it returns.

    `port` is taken or refused; `preferred_port` is taken when free; else any free port. Without
    `durable` nothing is forced to disk (tests). The superuser's password lies beside `data_dir`
    in a 0600 file. Raises AlreadyRunning when another process has this data open, and
    EmbeddedServerError with the log's end for all else.
    """
    slot = Slot.of(data_dir)
    bin_dir = postgres_bin(slot.user)
    lock = _wait_predecessor(slot)
    try:
        # Only now: a predecessor that was still ending has given its port back.
        chosen = choose_port(port=port, preferred=preferred_port, server="PostgreSQL")
        _ensure_cluster(slot, bin_dir, lock=lock, durable=durable)
    finally:
        os.close(lock)
    password = secret_file(slot.beside("password"))
    running = RunningPostgres(
        slot=slot, port=chosen, _bin=bin_dir, _password=password, _durable=durable
    )
    running.start(port=port)
    return running


def _wait_predecessor(slot: Slot) -> int:
    refusal = f"another PostgreSQL still runs on {slot.asked}; stop its owner first"
    return hold_lock(slot.beside("lock"), wait_s=_PREDECESSOR_S, refusal=refusal)


def _takes_connections(data: Path, pid: int) -> bool:
    """The postmaster's own word: line 1 of its pid file is its pid, line 8 its state."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _ensure_cluster(slot: Slot, bin_dir: Path, *, lock: int, durable: bool) -> None:
    """Make the cluster when there is none. Raises EmbeddedServerError for one we cannot use."""
    data, password_path = slot.data, slot.beside("password")
    major = _major(bin_dir)
    marker = data / "PG_VERSION"
    if marker.exists() and not password_path.exists():
        if not slot.relocated:
            raise EmbeddedServerError(
                f"{password_path} is missing; restore it, or remove {data} to start empty"
            )
        slot.erase()  # its owner's folder was removed by hand: what lies here is left over
    if marker.exists():
        there = int(marker.read_text().split(".")[0])
        if there != major:
            raise EmbeddedServerError(
                f"{data} was made by PostgreSQL {there}, the program is {major}; "
                "dump it with the old version or remove it"
            )
        return
    if data.exists() and any(data.iterdir()):
        raise EmbeddedServerError(f"{data} holds something that is not a PostgreSQL cluster")
    flags = [] if durable else ["--no-sync"]
    if major >= _BUILTIN_LOCALE_SINCE:  # the same order on every machine, whatever its C library
        flags += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    _initdb(slot, bin_dir, secret_file(password_path), flags=flags, lock=lock)


def _major(bin_dir: Path) -> int:
    """The major version: `postgres --version` says `postgres (PostgreSQL) 18.6 ...`."""
    answer = subprocess.run(
        [str(bin_dir / "postgres"), "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=_INITDB_S,
        env=clean_environment(),
        cwd="/",
    )
    return int(answer.stdout.split()[2].split(".")[0])


def _initdb(slot: Slot, bin_dir: Path, password: str, *, flags: list[str], lock: int) -> None:
    """Make a cluster beside its place and move it there, so that half a cluster is never used."""
    fresh = slot.data.with_name(slot.data.name + ".new")
    password_file = slot.data.with_name(slot.data.name + ".initdb")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    own(fresh, slot.user)
    command = [str(bin_dir / "initdb"), "-D", str(fresh), "-U", _SUPERUSER, "-k", "-E", "UTF8"]
    command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--locale=C", *flags]
    password_file.unlink(missing_ok=True)
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(password)
        own(password_file, slot.user)
        made = subprocess.run(
            leashed(command, death_signal=signal.SIGINT, user=slot.user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_INITDB_S,
            env=clean_environment(),
            cwd="/",
            pass_fds=(lock,),  # a next start waits for an initdb whose owner was killed
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedServerError(f"initdb did not end within {_INITDB_S:.0f} s") from error
    finally:
        password_file.unlink()
    if made.returncode != 0:
        raise EmbeddedServerError(f"initdb failed:\n{made.stdout[-1000:]}\n{made.stderr[-2000:]}")
    if slot.data.exists():
        slot.data.rmdir()
    fresh.rename(slot.data)
