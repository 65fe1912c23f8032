"""G1 and G2: what an exchange costs, and how full a bus can be kept.

G1: 500 connections ask a cheap responder (C, one epoll) for forty registers; exchanges per second of
client CPU, ours with lane, time-out, patience and whole decode, against pymodbus on uvloop, libmodbus
and a C epoll loop. G2: the responder holds each answer as long as a serial bus would; wall time until
the last answer is decoded against the ideal (`bus_free`: until the last bus is free), the same by the
C loop, and what silent meters cost. Client on core 0, responder on core 1; rounds are interleaved.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.sandbox.embedded.child import free_port

HERE = Path(__file__).parent
CONNECTIONS = 500
SILENT_FROM = 200
# Goals of the issue: (hold in ms, exchanges a gateway, most of wall / ideal).
HOLDS = ((100, 40, 1.03), (50, 80, 1.04), (25, 160, 1.07))


class NoCompiler(RuntimeError):
    """The C peers cannot be built here; the message says what to install."""


def build(folder: Path) -> dict[str, Path]:
    """Compile the C peers into `folder`. Raises NoCompiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NoCompiler("no C compiler: on Debian, apt install gcc")
    made = {}
    for name, libraries in (
        ("responder", []),
        ("epoll_client", []),
        ("libmodbus_client", ["-lmodbus"]),
    ):
        made[name] = folder / name
        source = HERE / "c" / f"{name}.c"
        line = [compiler, "-O2", "-Wall", "-o", str(made[name]), str(source), *libraries]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCompiler(
                f"{name} does not compile (libmodbus: apt install libmodbus-dev):\n{done.stderr}"
            )
    return made


def run(folder: Path, *, exchanges: int = 50_000, rounds: int = 5) -> dict[str, Any]:
    """The figures of G1 and G2 by their keys. Raises NoCompiler, subprocess.CalledProcessError."""
    made = build(folder)
    figures = _exchange_cost(made, exchanges=exchanges, rounds=rounds)
    figures |= _bus_use(made, rounds=min(rounds, 3))
    return figures


def _exchange_cost(made: dict[str, Path], *, exchanges: int, rounds: int) -> dict[str, Any]:
    spent: dict[str, list[float]] = {}
    peaks: list[int] = []
    with responder(made["responder"], hold_us=0, silent_from=0) as port:
        size = [str(port), str(CONNECTIONS), str(exchanges)]
        clients = {
            "c_epoll": [str(made["epoll_client"]), *size],
            "libmodbus": [str(made["libmodbus_client"]), *size],
            "pymodbus": _python("pymodbus", *size),
            "product": _python("product", *size),
        }
        for _ in range(rounds):
            for name, line in clients.items():
                figures = _client(line)
                spent.setdefault(name, []).append(figures["cpu_s"] / exchanges * 1e6)
                if name == "product":
                    peaks.append(figures["peak_mb"])
    cost = {name: statistics.median(each) for name, each in spent.items()}
    return {
        "g1.us_per_exchange": {name: round(each, 2) for name, each in cost.items()},
        "g1.vs_pymodbus": round(cost["pymodbus"] / cost["product"], 3),
        "g1.vs_libmodbus": round(cost["libmodbus"] / cost["product"], 3),
        "g1.vs_c_epoll": round(cost["c_epoll"] / cost["product"], 3),
        "g1.peak_mb": max(peaks),
        "g1.rounds_us": {name: [round(one, 1) for one in each] for name, each in spent.items()},
    }


def _bus_use(made: dict[str, Path], *, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for hold_ms, each, _ in HOLDS:
        ideal = each * hold_ms / 1000
        spent: dict[str, list[float]] = {"ratio": [], "bus_free": [], "c_epoll": []}
        for _ in range(rounds):
            with responder(made["responder"], hold_us=hold_ms * 1000, silent_from=0) as port:
                size = [str(port), str(CONNECTIONS), str(CONNECTIONS * each)]
                product = _client(_python("product", *size))
                spent["ratio"].append(product["wall_s"] / ideal)
                spent["bus_free"].append(product["ends_s"][-1] / ideal)
                # What is left of the ideal by the responder, the kernel and this machine.
                c_epoll = _client([str(made["epoll_client"]), *size])
                spent["c_epoll"].append(c_epoll["wall_s"] / ideal)
        found |= {
            f"g2.{name}_{hold_ms}ms": round(statistics.median(taken), 4)
            for name, taken in spent.items()
        }
    return found | _silent_meters(made, hold_ms=50, each=100)


def _silent_meters(made: dict[str, Path], *, hold_ms: int, each: int) -> dict[str, Any]:
    """Every second gateway has 2 % silent meters: what they cost their own gateway and the others."""
    with responder(made["responder"], hold_us=hold_ms * 1000, silent_from=SILENT_FROM) as port:
        size = [str(port), str(CONNECTIONS), str(CONNECTIONS * each), str(SILENT_FROM)]
        ends = _client(_python("product", *size))["ends_s"]
    healthy, ill = ends[: CONNECTIONS // 2], ends[CONNECTIONS // 2 :]
    silent = each // 50
    return {
        "g2.silent.ill_over_bound": round(
            max(ill) / ((each - silent) * hold_ms / 1000 + silent * 1.0), 4
        ),
        "g2.silent.healthy_over_ideal": round(max(healthy) / (each * hold_ms / 1000), 4),
    }


@contextmanager
def responder(binary: Path, *, hold_us: int, silent_from: int) -> Iterator[int]:
    """A responder on core 1; gives its port."""
    port = free_port()
    line = [*pinned(1), str(binary), str(port), str(hold_us), str(silent_from)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield port
        finally:
            process.kill()


def _client(line: list[str]) -> dict[str, Any]:
    done = subprocess.run([*pinned(0), *line], capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench.lane_client", *arguments]


def pinned(core: int) -> list[str]:
    """What keeps a command on one core, where there are two."""
    if shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        return []
    return ["taskset", "-c", str(core)]
