"""The process that owns the servers: one at a time, and none of them outlives it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.sandbox.embedded import AlreadyRunning, EmbeddedServices, start_postgres, start_valkey

PROJECT = Path(__file__).resolve().parents[3]

# Starts the servers, says where they are, then waits for a line on stdin that never comes.
_OWNER = """
import json, sys
from pathlib import Path
from backend.kernel.errors import DomainError
from backend.sandbox.embedded import EmbeddedServices
services = EmbeddedServices(Path(sys.argv[1]), durable=False)
try:
    services.start()
except DomainError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(json.dumps({
    "pids": [services.postgres.pid, services.valkey.pid, services.broker.pid],
    "ports": [services.postgres.port, services.valkey.port, services.broker.port],
}), flush=True)
sys.stdin.readline()
"""


@dataclass
class Owner:
    """A process that owns the servers."""

    process: subprocess.Popen[str]
    pids: list[int]
    ports: list[int]


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")


@pytest.fixture
def run_owner(tmp_path: Path) -> Iterator[Callable[[Path], Owner]]:
    """Start an owner process on a data directory, with an empty HOME and an unrelated cwd."""
    started: list[subprocess.Popen[str]] = []

    def run(place: Path) -> Owner:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", _OWNER, str(place)],
            env={**os.environ, "HOME": str(home), "PYTHONPATH": str(PROJECT), "PGPORT": "1"},
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            return Owner(process, [], [])
        told = json.loads(line)
        return Owner(process, told["pids"], told["ports"])

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _lives(pid: int) -> bool:
    """Whether the process runs; one that ended but was not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _all_end(pids: list[int], *, within_s: float) -> bool:
    pause = threading.Event()
    for _ in range(int(within_s / 0.05)):
        if not any(_lives(pid) for pid in pids):
            return True
        pause.wait(0.05)
    return False


@needs_linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_outlives_a_killed_owner_and_the_next_start_works(
    data_dir: Path, run_owner: Callable[[Path], Owner], how: signal.Signals
) -> None:
    owner = run_owner(data_dir)
    assert all(_lives(pid) for pid in owner.pids)
    owner.process.send_signal(how)
    owner.process.wait()
    # At once, while the orphans may still be writing their last checkpoint.
    with EmbeddedServices(data_dir, durable=False) as services:
        assert _all_end(owner.pids, within_s=20)
        servers = (services.postgres, services.valkey, services.broker)
        assert [server.port for server in servers] == owner.ports


@needs_linux
def test_every_server_ends_when_their_owner_is_killed_and_nobody_starts_again(
    data_dir: Path, run_owner: Callable[[Path], Owner]
) -> None:
    owner = run_owner(data_dir)
    owner.process.kill()
    owner.process.wait()
    assert _all_end(owner.pids, within_s=20)


def test_a_second_owner_of_the_same_data_is_refused_and_the_first_goes_on(
    data_dir: Path, run_owner: Callable[[Path], Owner]
) -> None:
    with EmbeddedServices(data_dir, durable=False) as services:
        with pytest.raises(AlreadyRunning, match="another process already runs on"):
            EmbeddedServices(data_dir).start()
        with pytest.raises(AlreadyRunning):
            EmbeddedServices.erase(data_dir)
        second = run_owner(data_dir)
        _, complaint = second.process.communicate(timeout=30)
        assert second.process.returncode == 1
        assert complaint.startswith("AlreadyRunning: another process already runs on")
        assert str(data_dir) in complaint
        assert _lives(services.postgres.pid)
        assert _lives(services.valkey.pid)
        assert _lives(services.broker.pid)


def test_nothing_is_written_to_home_or_to_the_current_directory(
    data_dir: Path, tmp_path: Path, run_owner: Callable[[Path], Owner]
) -> None:
    owner = run_owner(data_dir)
    assert len(owner.pids) == 3
    assert list((tmp_path / "home").iterdir()) == []


def test_a_stale_pid_file_that_names_a_living_stranger_does_not_stop_the_start(
    data_dir: Path,
) -> None:
    # A stranger of the server's own user: only then would the number alone stop PostgreSQL.
    stranger = start_valkey(data_dir=data_dir / "valkey")
    running = start_postgres(data_dir=data_dir / "postgres", durable=False)
    running.stop()
    stale = running.slot.data / "postmaster.pid"
    stale.write_text(
        f"{stranger.pid}\n{running.slot.data}\n0\n{running.port}\n\n127.0.0.1\n\nready\n"
    )
    running.restart()
    assert _lives(running.pid)
    assert _lives(stranger.pid)
    running.stop()
    stranger.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to drop to another user")
def test_as_root_a_closed_directory_stays_closed_and_the_servers_are_nobody(
    data_dir: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    with EmbeddedServices(data_dir, durable=False) as services:
        servers = (services.postgres, services.valkey, services.broker)
        for server in servers:
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        elsewhere = [server.slot.data for server in servers]
        assert not any(place.is_relative_to(tmp_path) for place in elsewhere)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    EmbeddedServices.erase(data_dir)
    assert not any(place.exists() for place in elsewhere)


def test_the_servers_start_without_any_environment(data_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from backend.sandbox.embedded import EmbeddedServices\n"
        "with EmbeddedServices(Path(sys.argv[1]), durable=False) as s: print(s.postgres.port)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data_dir)],
        env={"PYTHONPATH": str(PROJECT)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
